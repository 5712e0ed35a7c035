import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mien.errors import UsageError
from mien.media.video import open_video
from mien.media.video_writer import VideoWriter
from tests.media.clips import LEFT_UP, close_to, corner_colours, corners, noise, read, write_clip


def copy(source, target, sound=True, frames=None):
    with open_video(source) as clip, VideoWriter(target, rate=clip.rate, sound_from=str(source) if sound else None) as writer:
        for frame in clip.frames():
            if frames is not None and frame.index >= frames:
                break
            writer.write(frame.time_s, frame.frame_rgb)
    return target


def tracks(path):
    with av.open(str(path)) as container:
        return {stream.type: (stream.codec_context.name, float(stream.duration * stream.time_base)) for stream in container.streams} | {
            "pixels": container.streams.video[0].codec_context.pix_fmt,
            **({"sound from": float(track.start_time * track.time_base)} if (track := next(iter(container.streams.audio), None)) else {}),
        }


def test_what_is_written_plays_in_browsers(tmp_path):
    out = copy(write_clip(tmp_path / "a.mkv", 25), tmp_path / "out.mp4")
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert tracks(out) == {"video": ("h264", pytest.approx(1, abs=0.05)), "pixels": "yuv420p"}
    assert sorted(os.listdir(tmp_path)) == ["a.mkv", "out.mp4"]


@pytest.mark.parametrize(
    ("name", "sound", "options", "kept_as"),
    [
        pytest.param("a.mp4", "aac", {}, "aac", id="as it is"),
        pytest.param("a.mkv", "libopus", {}, "opus", id="opus"),
        pytest.param("a.mov", "pcm_s16le", {}, "aac", id="what MP4 cannot hold"),
        pytest.param("a.mov", "pcm_s16le", {"sound_rate": 192_000}, "aac", id="more samples than AAC takes"),
        pytest.param("a.ts", "mp2", {"start_s": 10}, "aac", id="a file that starts at 10 s"),
        pytest.param("a.ts", "aac", {}, "aac", id="a broadcast's"),
        pytest.param("a.wmv", "wmav2", {"codec": "wmv2"}, "aac", id="windows media"),
        pytest.param("a.asf", "wmav1", {"codec": "wmv1"}, "aac", id="older windows media"),
        pytest.param("a.avi", "adpcm_ms", {"codec": "mpeg4", "time_base": Fraction(1, 25)}, "aac", id="a camera's adpcm"),
        pytest.param("a.avi", "pcm_u8", {"codec": "mpeg4", "time_base": Fraction(1, 25)}, "aac", id="eight bits"),
        pytest.param("a.mkv", "flac", {}, "flac", id="flac"),
        pytest.param("a.mkv", "ac3", {}, "ac3", id="ac3"),
        pytest.param("a.mov", "alac", {}, "aac", id="apple's lossless"),
        pytest.param("a.avi", "libmp3lame", {"codec": "mpeg4", "time_base": Fraction(1, 25)}, "mp3float", id="mp3"),
    ],
)
def test_the_sound_stays_and_in_step(tmp_path, name, sound, options, kept_as):
    out = tracks(copy(write_clip(tmp_path / name, 50, sound=sound, **options), tmp_path / "out.mp4"))
    assert out["sound from"] == pytest.approx(0, abs=0.08)
    assert out["audio"] == (kept_as, pytest.approx(1.96, abs=0.1))
    assert out["video"][1] == pytest.approx(2, abs=0.05)
    with av.open(str(tmp_path / "out.mp4")) as container:
        samples = np.concatenate([frame.to_ndarray().astype(float).ravel()[::7] for frame in container.decode(audio=0)])
    assert samples.std() > 0, "a tone is heard"


@pytest.mark.parametrize(
    ("name", "sound", "options"),
    [
        pytest.param("a.ts", "aac", {}, id="copied"),
        pytest.param("a.ts", "mp2", {}, id="re-encoded"),
        pytest.param("a.vob", "ac3", {"codec": "mpeg2video", "time_base": Fraction(1, 25)}, id="a DVD's"),
    ],
)
def test_a_joined_recording_is_copied_whole_and_in_step(tmp_path, name, sound, options):
    part = write_clip(tmp_path / name, noise(50), sound=sound, **options)
    (tmp_path / f"both-{name}").write_bytes(part.read_bytes() * 2)
    out = copy(tmp_path / f"both-{name}", tmp_path / "out.mp4")
    assert tracks(out)["video"][1] == pytest.approx(4, abs=0.1)
    assert tracks(out)["audio"][1] == pytest.approx(3.96, abs=0.15)
    assert np.diff([f.time_s for f in read(out)]).min() > 0
    with av.open(str(out)) as container:
        starts = [float(packet.pts * packet.time_base) for packet in container.demux(audio=0) if packet.size]
    assert np.diff(starts).max() < 0.1, "no hole at the seam"


def test_sound_ends_with_the_last_frame_of_a_copy_that_was_stopped(tmp_path):
    out = tracks(copy(write_clip(tmp_path / "a.mp4", 100, sound="aac"), tmp_path / "out.mp4", frames=25))
    assert out["audio"][1] == pytest.approx(1, abs=0.1)


def test_variable_times_and_odd_sides_survive_writing(tmp_path):
    times = [0, 0.04, 0.5, 1.75]
    with VideoWriter(tmp_path / "out.mp4") as writer:
        for time_s in times:
            writer.write(time_s, corners(97, 63))
    frames = read(tmp_path / "out.mp4")
    assert [f.time_s for f in frames] == pytest.approx(times, abs=1e-4)
    assert frames[0].frame_rgb.shape == (64, 98, 3)
    assert corner_colours(frames[0].frame_rgb)[0] == close_to(LEFT_UP)


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path):
    with VideoWriter(tmp_path / "out.mp4") as writer:
        writer.write(0, corners(96, 64))
        writer.write(0.1, corners(48, 32))
    assert [f.frame_rgb.shape for f in read(tmp_path / "out.mp4")] == [(64, 96, 3)] * 2


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt], ids=["a bug", "a full disk elsewhere", "Ctrl-C"])
def test_what_was_written_plays_however_it_ends(tmp_path, error):
    def write():
        with VideoWriter(tmp_path / "out.mp4") as writer:
            for i in range(5):
                writer.write(i / 25, corners(96, 64))
            raise error

    with pytest.raises(error):
        write()
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert len(read(tmp_path / "out.mp4")) == 5


def test_no_frame_no_file(tmp_path):
    with VideoWriter(tmp_path / "out.mp4"):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on a file's size to stand in for a full disk")
@pytest.mark.parametrize(
    ("room", "some"),
    [
        pytest.param(20_000, False, id="less than a fragment"),
        pytest.param(600_000, True, id="some fragments"),
    ],
)
def test_a_full_disk_leaves_the_frames_that_fitted(tmp_path, room, some):
    """A limit on the size of files stands in for the disk."""
    code = f"""
import resource, signal, numpy as np
from pathlib import Path
from mien.media.video_writer import VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
rng = np.random.default_rng(0)
with VideoWriter(Path({str(tmp_path / "out.mp4")!r})) as writer:
    for i in range(150):
        writer.write(i / 25, rng.integers(0, 255, (128, 128, 3), dtype=np.uint8))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, "Error" in done.stderr) == (1, True), done.stderr
    assert os.listdir(tmp_path) == (["out.mp4"] if some else [])
    if some:
        assert len(read(tmp_path / "out.mp4")) in range(49, 151)


@pytest.mark.parametrize("name", ["out.avi", "missing/out.mp4"], ids=["not mp4", "no such folder"])
def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path, name):
    with pytest.raises(UsageError):
        VideoWriter(tmp_path / name)


def test_sound_that_cannot_be_read_costs_the_sound_alone(tmp_path):
    (tmp_path / "noise.mp4").write_bytes(b"no sound at all")
    with VideoWriter(tmp_path / "out.mp4", sound_from=str(tmp_path / "noise.mp4")) as writer:
        writer.write(0, corners(96, 64))
        writer.write_rest_of_sound()
        assert "Invalid data" in writer.sound_lost
    assert len(read(tmp_path / "out.mp4")) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no colon in names")
def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 3, sound="aac").rename(tmp_path / "12:30.mp4")
    with VideoWriter(Path("12:31.mp4"), sound_from="12:30.mp4") as writer:
        for frame in read("12:30.mp4"):
            writer.write(frame.time_s, frame.frame_rgb)
    with open_video("12:31.mp4") as clip:
        assert (len(list(clip.frames())), clip.has_sound) == (3, True)


def test_the_sound_of_strangers_comes_from_their_own_file_too(tmp_path):
    write_clip(tmp_path / "own.mp4", 12, sound="aac")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile own.mp4\n")
    for untrusted in (False, True):  # FFmpeg opens what the list names, unless it is told not to
        with VideoWriter(tmp_path / "out.mp4", sound_from=str(tmp_path / "list.mp4"), untrusted=untrusted) as writer:
            assert bool(writer.sound_lost) == untrusted
