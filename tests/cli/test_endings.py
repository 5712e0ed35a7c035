"""However a command is ended, what it has done stays: whole records under their name, an annotated video that plays, a sentence."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from pyarrow import parquet

from mien.assets import demo_photo
from mien.media.video import open_video
from mien.results import record_from_dict
from tests.media.clips import write_clip
from tests.support import mien, tiny_bundle

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send to one process, and no limit on a file's size")
SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"]
PHOTOS = 400


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("endings")
    tiny_bundle(folder / "tiny")
    (folder / "photos").mkdir()
    for number in range(PHOTOS):
        (folder / "photos" / f"{number:03d}.jpg").symlink_to(demo_photo())
    return folder


def ended(arguments, cwd, number, ready):
    """Run the command, send it a signal when ``ready()`` says so, and return (status, stdout, stderr)."""
    command = [sys.executable, "-m", "mien", *map(str, arguments)]
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 120
        while process.poll() is None and not ready() and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def limited(arguments, cwd, size):
    """Run the command where no file may become larger than ``size`` bytes, as on a full disk."""
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size})); from mien.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def sources(path):
    """Return the sources of a file of records, which has to be whole."""
    if path.suffix == ".jsonl":
        return [record_from_dict(json.loads(line)).source for line in path.read_text().splitlines()]
    if path.suffix == ".csv":
        rows = list(csv.DictReader(path.read_text().splitlines()))
        assert all(row["model_name"] == "tiny" for row in rows)
        return [row["source"] for row in rows]
    return parquet.read_table(path)["source"].to_pylist()


@pytest.mark.parametrize(("number", "name"), [*((number, "r.jsonl") for number in SIGNALS), ("SIGTERM", "r.csv"), ("SIGTERM", "r.parquet")])
def test_photos_that_were_done_are_kept(place, tmp_path, number, name):
    drawn = tmp_path / "drawn"
    arguments = ["analyze", place / "photos", "-o", name, "--annotate", "drawn", "--model", place / "tiny", "--threads", "1"]
    status, _, err = ended(arguments, tmp_path, getattr(signal, number), lambda: drawn.is_dir() and len(os.listdir(drawn)) > 4)
    assert status == 130  # as shells have it for Ctrl-C
    assert f"stopped; {name} holds what was written until then" in err
    assert "Traceback" not in err
    assert sorted(os.listdir(tmp_path)) == ["drawn", name]
    done = sources(tmp_path / name)
    assert done == [str(place / "photos" / f"{i:03d}.jpg") for i in range(len(done))]
    assert 4 < len(done) < PHOTOS


def test_a_signal_that_is_ignored_stays_so(place, tmp_path):
    """As under nohup."""
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); from mien.cli import main; main()"
    arguments = ["analyze", str(demo_photo()), "-o", "r.jsonl", "--model", str(place / "tiny")]
    with subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=tmp_path) as process:
        while process.poll() is None and not (tmp_path / ".r.jsonl.part").exists():
            time.sleep(0.005)
        process.send_signal(signal.SIGHUP)
        assert process.wait(120) == 0
    assert len(sources(tmp_path / "r.jsonl")) == 1


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_video_that_was_stopped_plays(place, tmp_path, number):
    write_clip(place / "long.mp4", 4000)
    part = tmp_path / ".r.jsonl.part"
    arguments = ["video", place / "long.mp4", "-o", "r.jsonl", "--annotated", "a.mp4", "--timeline", "t.png", "--model", place / "tiny"]
    status, _, err = ended(arguments, tmp_path, getattr(signal, number), lambda: part.exists() and part.stat().st_size > 20_000)
    assert (status, "stopped" in err) == (1, True)
    with open_video(tmp_path / "a.mp4") as clip:
        assert len(list(clip.frames())) == len(sources(tmp_path / "r.jsonl")) < 4000
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "r.jsonl", "t.png"]


@pytest.mark.parametrize("number", ["SIGTERM"])
def test_the_camera_ends_with_a_whole_line(place, tmp_path, number):
    write_clip(tmp_path / "a.mp4", 50)
    began = time.monotonic()
    arguments = ["webcam", "--device", "a.mp4", "--model", place / "tiny"]
    with subprocess.Popen(
        [sys.executable, "-m", "mien", *map(str, arguments)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(getattr(signal, number))
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert b"stopped" in err
    assert all(json.loads(line) for line in [*lines, *out.splitlines(keepends=True)])
    assert out.endswith(b"\n") or not out
    assert time.monotonic() - began < 60


def test_a_job_that_was_stopped_goes_on(place, tmp_path):
    arguments = ["batch", place / "photos", "-o", "job", "--model", place / "tiny", "--shard", "8", "--workers", "1", "--format", "jsonl"]
    manifest = tmp_path / "job" / "manifest.jsonl"
    status, _, err = ended(arguments, tmp_path, signal.SIGTERM, manifest.exists)
    assert status == 1
    assert "the same command goes on from there" in err
    kept = len(os.listdir(tmp_path / "job" / "records"))
    assert 0 < kept < PHOTOS / 8
    status, _, err = mien(*arguments, cwd=tmp_path)
    assert status == 0, err
    assert f"{PHOTOS // 8 - kept} of {PHOTOS // 8} shards to do" in err


@pytest.mark.parametrize(("name", "size"), [("r.jsonl", 8192), ("r.csv", 4096)])
def test_a_full_disk_keeps_the_photos_that_were_written(place, tmp_path, name, size):
    photos = [place / "photos" / f"{i:03d}.jpg" for i in range(12)]
    done = limited(["analyze", *photos, "-o", name, "--model", place / "tiny"], tmp_path, size)
    assert done.returncode == 1
    assert f"stopped; {name} holds what was written until then" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == [name]
    kept = sources(tmp_path / name)
    assert kept == [str(photo) for photo in photos[: len(kept)]]
    assert 0 < len(kept) < 12


def test_a_full_disk_keeps_what_was_there(place, tmp_path):
    (tmp_path / "r.jsonl").write_text("of yesterday")
    photos = [place / "photos" / f"{i:03d}.jpg" for i in range(12)]
    done = limited(["analyze", *photos, "-o", "r.jsonl", "--overwrite", "--model", place / "tiny"], tmp_path, 8192)
    assert "stopped; r.jsonl.part holds" in done.stderr
    assert (tmp_path / "r.jsonl").read_text() == "of yesterday"
    assert 0 < len((tmp_path / "r.jsonl.part").read_text().splitlines()) < 12


def test_a_full_disk_keeps_a_videos_records_and_the_part_of_its_copy_that_fitted(place, tmp_path):
    from tests.media.clips import noise

    write_clip(tmp_path / "long.mp4", noise(150, (128, 128)))
    arguments = ["video", "long.mp4", "-o", "r.jsonl", "--annotated", "a.mp4", "--timeline", "t.png", "--model", place / "tiny"]
    done = limited(arguments, tmp_path, 700_000)
    assert done.returncode == 1
    assert "expected room for what is written" in done.stderr
    assert "stopped; r.jsonl holds what was written until then" in done.stderr
    with open_video(tmp_path / "a.mp4") as clip:
        shown = len(list(clip.frames()))
    assert 0 < shown < 150
    assert shown <= len(sources(tmp_path / "r.jsonl")) <= 150
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "long.mp4", "r.jsonl", "t.png"]


ROWS = """
import os, signal, sys
import numpy as np
from pathlib import Path
from mien.cli.output import text_output
from mien.results import Emotions, Face, FrameResult, ModelRef
from mien.sinks import open_sink

rng = np.random.default_rng(0)
labels = ("happy", "sad")

def record(i):
    p = float(rng.random())
    face = Face((1.5, 2.0, 30.0, 40.0), 0.9, ((1.0, 2.0),) * 5, Emotions(labels, (p, 1 - p)), uncertain=False)
    return FrameResult(f"{i}.jpg", 64, 48, (face,), ModelRef("tiny", "1.0"))

with text_output(Path(sys.argv[1]), False) as out, open_sink(Path(sys.argv[1]).suffix[1:], out, labels) as sink:
    for i in range(10_000):
        sink.write(record(i))
    END
"""


def rows(path, end, *, size=None):
    """Write 10,000 rows in a process of its own, which then does ``end``."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))" if size else ""
    code = limit + ROWS.replace("END", end)
    return subprocess.run([sys.executable, "-c", code, path.name], cwd=path.parent, capture_output=True, text=True, check=False)


def test_a_kill_leaves_parquet_that_can_be_read_up_to_the_last_group_of_rows(tmp_path):
    assert rows(tmp_path / "r.parquet", "os.kill(os.getpid(), signal.SIGKILL)").returncode == -signal.SIGKILL
    table = parquet.read_table(tmp_path / "r.parquet.groups")
    assert table["source"].to_pylist() == [f"{i}.jpg" for i in range(8192)]
    again = rows(tmp_path / "r.parquet", "pass")
    assert again.returncode == 0, again.stderr
    assert parquet.read_table(tmp_path / "r.parquet")["source"].to_pylist() == [f"{i}.jpg" for i in range(10_000)]
    assert "r.parquet.groups" in os.listdir(tmp_path), "what an earlier run left is not taken away"
    assert "r.parquet.groups-2" not in os.listdir(tmp_path)


def test_a_kill_leaves_lines_that_can_be_read(tmp_path):
    assert rows(tmp_path / "r.jsonl", "os.kill(os.getpid(), signal.SIGKILL)").returncode == -signal.SIGKILL
    lines = (tmp_path / ".r.jsonl.part").read_text().splitlines()
    assert [json.loads(line)["source"] for line in lines] == [f"{i}.jpg" for i in range(10_000)]


def test_parquet_that_ends_early_is_one_file(tmp_path):
    done = rows(tmp_path / "r.parquet", "raise KeyboardInterrupt")
    assert "stopped; r.parquet holds" in done.stderr
    assert os.listdir(tmp_path) == ["r.parquet"]
    assert parquet.read_table(tmp_path / "r.parquet").num_rows == 10_000


def test_a_full_disk_leaves_the_groups_of_parquet_under_its_name(tmp_path):
    """There is no room for one file of all of them: the name is that of a folder, which reads as one table."""
    assert rows(tmp_path / "whole.parquet", "pass").returncode == 0
    size = (tmp_path / "whole.parquet").stat().st_size * 6 // 10
    os.unlink(tmp_path / "whole.parquet")  # noqa: PTH108
    done = rows(tmp_path / "r.parquet", "pass", size=size)
    assert (done.returncode, "stopped; r.parquet holds" in done.stderr) == (1, True), done.stderr
    assert os.listdir(tmp_path) == ["r.parquet"]
    assert parquet.read_table(tmp_path / "r.parquet")["source"].to_pylist() == [f"{i}.jpg" for i in range(8192)]


def test_nothing_done_leaves_nothing(place, tmp_path):
    shutil.copy(demo_photo(), tmp_path / "a.jpg")
    status, _, err = mien("analyze", "a.jpg", "-o", "r.jsonl", "--model", "gone", cwd=tmp_path)
    assert (status, "stopped" in err) == (1, False)
    assert os.listdir(tmp_path) == ["a.jpg"]
