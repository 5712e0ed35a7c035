"""Draws a bar chart of the expressions in a folder of photos, as sums of probabilities. Needs matplotlib.

    python examples/folder_chart.py holiday/ chart.png

Sums of probabilities lose less information than counts of labels: a face that is half sad and half neutral counts half for each label.
"""

import sys
from collections import Counter

from matplotlib.figure import Figure

import mien
from mien.media.sources import expand

if len(sys.argv) < 3:
    sys.exit(__doc__)
folder, target = sys.argv[1:3]
pipeline = mien.Pipeline()
share, faces = Counter(dict.fromkeys(pipeline.labels, 0.0)), 0
for record in pipeline.analyze_many(expand([folder])):
    if isinstance(record, mien.ErrorResult):
        print(f"{record.source}: {record.message}", file=sys.stderr)
        continue
    for face in record.faces:
        share.update(face.emotions.to_dict())
        faces += 1

figure = Figure(figsize=(6, 3), layout="constrained")
axes = figure.subplots()
axes.barh(list(share), [total / max(faces, 1) for total in share.values()])
axes.set(xlabel=f"mean probability over {faces} faces", xlim=(0, 1))
figure.savefig(target)
print(f"{faces} faces: {target}")
