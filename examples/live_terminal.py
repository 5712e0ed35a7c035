"""Shows a live view in the terminal, one line per person, from a camera or a video file. Needs the extra video.

python examples/live_terminal.py 0            # a camera's number, or an address
python examples/live_terminal.py talk.mp4
"""

import sys
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

import mien
from mien.media.camera import camera_frames
from mien.media.video import open_video

BAR = 30


def view(result: mien.FrameResult) -> Text:
    lines = Text(f"{result.time_s:7.2f} s\n")
    for face in result.faces:
        emotions = face.smoothed or face.emotions
        name = "not sure" if face.uncertain else emotions.top
        lines.append(f"person {face.track_id}  {name:<9} {'█' * round(BAR * emotions.confidence)}\n")
    return lines


if len(sys.argv) < 2:
    sys.exit(__doc__)
source = sys.argv[1]
is_file = Path(source).is_file()
frames = open_video(source).frames() if is_file else camera_frames(source, tell=Console(stderr=True).print)
with closing(mien.Pipeline().stream(frames, source=source, live=not is_file)) as results, Live() as screen:
    for result in results:
        screen.update(view(result))
