"""Prints the expression of each face in a photo, and writes the annotated picture.

python examples/one_photo.py photo.jpg marked.jpg
"""

import sys

from PIL import Image

import mien
from mien.draw import annotate
from mien.media.images import read_photo

if len(sys.argv) < 3:
    sys.exit(__doc__)
source, target = sys.argv[1:3]
frame_rgb = read_photo(source).frame_rgb
result = mien.analyze(frame_rgb)
for number, face in enumerate(result.faces, 1):
    likely = ", ".join(f"{label} {p:.2f}" for label, p in face.emotions.ranked()[:3])
    print(f"face {number}: {'not sure: ' if face.uncertain else ''}{likely}")
if not result.faces:
    print("no face")
Image.fromarray(annotate(frame_rgb, result)).save(target)
