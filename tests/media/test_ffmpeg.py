import subprocess
import sys

import numpy as np

from mien.media import ffmpeg


def test_hdr_greys_become_brighter_and_white_stays_white():
    for transfer in (ffmpeg.PQ, ffmpeg.HLG):
        table = ffmpeg.hdr_table(transfer).astype(int)
        assert table[0] == 0
        assert table[255] == 255
        assert (np.diff(table) >= 0).all()
    diffuse_white = round(0.58 * 255)  # PQ code of 203 cd/m2
    assert 150 < ffmpeg.hdr_table(ffmpeg.PQ)[diffuse_white] < 230


def test_without_pyav_the_message_says_what_to_install():
    code = "import sys; sys.modules['av'] = None\nfrom mien.media.video import open_video\nopen_video('a.mp4')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'mien[video]'" in done.stderr
