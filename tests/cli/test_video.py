"""``mien video`` as a person types it: a process of its own, real files, exit statuses."""

import csv
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from mien.assets import demo_photo
from mien.media.ffmpeg import PQ
from mien.media.video import open_video
from mien.results import record_from_dict
from tests.media.clips import damage, write_clip
from tests.support import mien, tiny_bundle


def portrait(size):
    with Image.open(demo_photo()) as photo:
        return np.asarray(photo.crop((100, 0, 356, 256)).resize((size, size)))


def walk(frames):
    """Yield frames of one face that walks to the right."""
    for i in range(frames):
        frame = np.full((160, 320, 3), 90, np.uint8)
        frame[10:138, 4 * i : 4 * i + 128] = portrait(128)
        yield frame


class Pipe:
    """A place to write to that cannot go back."""

    def __init__(self, file):
        self.write = file.write


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("video")
    tiny_bundle(folder / "tiny")
    write_clip(folder / "walk.mp4", walk(20), sound="aac")
    (folder / "shots").mkdir()
    for number in range(3):
        Image.new("RGB", (64, 48)).save(folder / "shots" / f"{number}.png")
    return folder


def test_everything_at_once(place):
    status, out, err = mien(
        "video", "walk.mp4", "--annotated", "a.mp4", "--output", "r.csv", "--timeline", "t.png", "--summary", "--model", "tiny", cwd=place
    )
    assert status == 0, err
    assert "20 frames" in err
    assert "1 person" in err
    rows = list(csv.DictReader((place / "r.csv").read_text().splitlines()))
    assert {row["track_id"] for row in rows} == {"1"}
    assert [float(row["time_s"]) for row in rows] == pytest.approx([i / 25 for i in range(20)])
    assert float(rows[-1]["x0"]) == pytest.approx(float(rows[0]["x0"]) + 4 * 19, abs=6)
    with open_video(place / "a.mp4") as clip:
        drawn = list(clip.frames())
        assert clip.has_sound
    assert len(drawn) == 20
    assert drawn[0].frame_rgb.shape == (160, 320, 3)
    with Image.open(place / "t.png") as picture:
        assert picture.width == 1280
    assert "#1" in out
    assert "0.8" in out
    assert not [name for name in os.listdir(place) if name.startswith(".")]


def test_who_is_seen_too_briefly_is_not_counted_and_the_output_says_so(place, tmp_path):
    empty = np.full((160, 320, 3), 90, np.uint8)
    write_clip(tmp_path / "brief.mp4", [*walk(5), *[empty] * 20])
    status, out, err = mien("video", "brief.mp4", "--summary", "--model", place / "tiny", cwd=tmp_path)
    assert status == 0, err
    assert ", 0 people" in err
    assert "not counted: 1 track seen for less than 0.5 s" in err
    assert "nobody was seen" in out
    assert "not counted: 1 track" in out
    status, out, err = mien("video", "brief.mp4", "--summary", "--min-seen", "0", "--model", place / "tiny", cwd=tmp_path)
    assert ", 1 person" in err
    assert "#1" in out
    assert "not counted" not in out + err


def test_records_go_to_stdout_when_nothing_else_is_asked(place):
    status, out, _ = mien("video", "walk.mp4", "--model", "tiny", "--every", "0.2", cwd=place)
    records = [record_from_dict(json.loads(line)) for line in out.splitlines()]
    assert status == 0
    assert [(r.frame_index, r.time_s) for r in records] == [(0, 0.0), (5, 0.2), (10, 0.4), (15, 0.6)]
    assert all(r.faces[0].track_id == 1 and r.faces[0].smoothed for r in records)


def test_parquet_has_the_same_rows(place):
    status, out, err = mien("video", "walk.mp4", "--model", "tiny", "-o", "r.parquet", "--detect-every", "1", cwd=place)
    assert (status, out) == (0, ""), err
    table = parquet.read_table(place / "r.parquet").to_pydict()
    assert table["frame_index"] == list(range(20))
    assert set(table["track_id"]) == {1}
    assert sum(table[label][0] for label in ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")) == pytest.approx(1)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text here")
def test_a_name_that_is_no_text_is_written_as_escapes(place, tmp_path):
    write_clip(tmp_path / "x.mp4", walk(3)).rename(tmp_path / os.fsdecode(b"caf\xe9.mp4"))
    status, _, err = mien("video", os.fsdecode(b"caf\xe9.mp4"), "-o", "r.parquet", "--model", place / "tiny", cwd=tmp_path)
    assert status == 0, err
    assert set(parquet.read_table(tmp_path / "r.parquet")["source"].to_pylist()) == {r"caf\udce9.mp4"}


def test_a_cut_video_gives_its_records_then_an_error_with_its_time(place, tmp_path):
    cut = write_clip(tmp_path / "cut.mkv", np.random.default_rng(0).integers(0, 255, (40, 64, 96, 3), dtype=np.uint8))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
    status, out, err = mien("video", cut, "--model", place / "tiny", cwd=tmp_path)
    *frames, last = (record_from_dict(json.loads(line)) for line in out.splitlines())
    assert status == 1
    assert len(frames) > 10
    assert (last.code, last.time_s) == ("corrupt_media", frames[-1].time_s)
    assert "cut" in err


def test_a_broken_picture_of_a_sequence_costs_its_own_frame_only(place, tmp_path):
    for number, frame in enumerate(walk(6)):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"no picture")
    status, out, err = mien("video", tmp_path, "--model", place / "tiny", cwd=tmp_path)
    records = [record_from_dict(json.loads(line)) for line in out.splitlines()]
    assert status == 1
    assert [record.frame_index for record in records] == list(range(6))
    assert (records[3].code, records[3].time_s) == ("unsupported_media", 0.12)
    assert "\n5 frames in" in err
    assert "1 picture could not be read" in err


def test_nobody_was_seen_is_not_said_of_a_video_that_cannot_be_read(place, tmp_path):
    (tmp_path / "cut.mp4").write_bytes((place / "walk.mp4").read_bytes()[:200])
    status, out, err = mien("video", "cut.mp4", "--summary", "--model", place / "tiny", cwd=tmp_path)
    assert (status, out) == (1, "")
    assert "no frame could be read" in err


def test_a_phones_hdr_clip_of_ten_bits_shows_its_face(place, tmp_path):
    write_clip(tmp_path / "hdr.mp4", walk(4), pix_fmt="yuv420p10le", transfer=PQ)
    status, _, err = mien("video", "hdr.mp4", "--model", place / "tiny", "--annotated", "a.mp4", "-o", "r.jsonl", cwd=tmp_path)
    assert status == 0, err
    records = [record_from_dict(json.loads(line)) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [len(r.faces) for r in records] == [1] * 4
    with open_video(tmp_path / "hdr.mp4") as hdr, open_video(tmp_path / "a.mp4") as drawn:
        expected, shown = (next(clip.frames()).frame_rgb[:8].mean() for clip in (hdr, drawn))
    assert shown == pytest.approx(expected, abs=3)  # what was analysed is what is shown


@pytest.mark.slow  # ten seconds of silence are what ends it
def test_an_address_that_stalls_gives_its_records_then_an_error(place, tmp_path):
    clip = write_clip(tmp_path / "long.mkv", np.random.default_rng(0).integers(0, 255, (40, 64, 96, 3), dtype=np.uint8)).read_bytes()
    done = threading.Event()

    class Stalling(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(clip)))
            self.end_headers()
            self.wfile.write(clip[: len(clip) * 6 // 10])
            self.wfile.flush()
            done.wait(60)

        def log_message(self, *_):
            """Keep stderr for the tests' own words."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Stalling) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            status, out, err = mien(
                "video", f"http://127.0.0.1:{server.server_port}/long.mkv", "-o", "r.jsonl", "--model", place / "tiny", cwd=tmp_path
            )
        finally:
            done.set()
            server.shutdown()
    assert (status, out) == (1, "")
    assert "check the address and the network" in err
    *frames, last = (record_from_dict(json.loads(line)) for line in (tmp_path / "r.jsonl").read_text().splitlines())
    assert len(frames) > 10
    assert (last.code, last.time_s) == ("fetch_failed", frames[-1].time_s)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on a file's size to stand in for a full disk")
@pytest.mark.parametrize(
    ("outputs", "size", "left"),
    [
        pytest.param(["-o", "r.jsonl"], 4096, ["r.jsonl"], id="lines"),
        pytest.param(["-o", "r.parquet"], 4096, [], id="parquet, of which nothing fits"),
        pytest.param(["--annotated", "a.mp4"], 2048, [], id="a copy, of which nothing fits"),
        pytest.param(["--timeline", "t.png"], 4096, [], id="a picture"),
    ],
)
def test_a_full_disk_is_said_and_leaves_nothing_half_written(place, tmp_path, outputs, size, left):
    limited = f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size})); from mien.cli import main; main()"
    command = [sys.executable, "-c", limited, "video", str(place / "walk.mp4"), "--model", str(place / "tiny"), *outputs]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "expected room for what is written" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == left
    for name in left:
        assert all(json.loads(line) for line in (tmp_path / name).read_text().splitlines())


def test_a_video_on_standard_input_is_read_as_a_file(place, tmp_path):
    """Its index is at the end, and its sound is read a second time."""
    data = (place / "walk.mp4").read_bytes()
    assert data.index(b"mdat") < data.index(b"moov")
    arguments = ["video", "-", "-o", "r.jsonl", "--annotated", "a.mp4", "--model", place / "tiny"]
    status, _, err = mien(*arguments, cwd=tmp_path, stdin=data)
    assert status == 0, err
    records = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    _, out, _ = mien("video", place / "walk.mp4", "--model", place / "tiny", cwd=tmp_path)
    assert [{**json.loads(line), "source": "-"} for line in out.splitlines()] == records
    with open_video(tmp_path / "a.mp4") as clip:
        assert clip.has_sound


@pytest.mark.parametrize(
    ("data", "code"), [(b"words, not pictures", "unsupported_media"), (b"", "corrupt_media")], ids=["words", "nothing"]
)
def test_standard_input_that_is_no_video_says_so(place, tmp_path, data, code):
    status, out, err = mien("video", "-", "--model", place / "tiny", cwd=tmp_path, stdin=data)
    record = json.loads(out)
    assert (status, record["source"], record["error"]["code"] if "error" in record else record["code"]) == (1, "-", code)
    assert "got -, " in err
    assert "mien-stdin" not in out + err


def test_a_damaged_place_has_its_record_and_the_rest_goes_on(place, tmp_path):
    path = damage(write_clip(tmp_path / "a.mov", walk(20), codec="mjpeg", pix_fmt="yuvj420p"), 8, 2)
    status, out, err = mien("video", path, "--model", place / "tiny", cwd=tmp_path)
    records = [record_from_dict(json.loads(line)) for line in out.splitlines()]
    assert (status, "1 damaged place could not be read" in err) == (1, True)
    assert [r.frame_index for r in records] == [*range(9), *range(10, 20)]
    assert (records[8].code, records[8].time_s) == ("corrupt_media", pytest.approx(0.32))


def test_the_note_of_a_clock_that_starts_again_is_in_the_record(place, tmp_path):
    part = write_clip(tmp_path / "a.ts", [*walk(20), *walk(20)], sound="aac")
    (tmp_path / "b.ts").write_bytes(part.read_bytes() * 2)
    status, out, err = mien("video", "b.ts", "--model", place / "tiny", cwd=tmp_path)
    assert status == 0, err
    notes = [record_from_dict(json.loads(line)).notes for line in out.splitlines()]
    assert [i for i, note in enumerate(notes) if any("starts again" in line for line in note)] == [40]


def test_a_recording_without_a_length_keeps_its_sound(place, tmp_path):
    """As browsers write it to a pipe."""
    with (tmp_path / "whole.webm").open("wb") as file:
        write_clip(Pipe(file), walk(20), codec="libvpx", sound="libopus", container="webm")
    with av.open(str(tmp_path / "whole.webm")) as container:
        assert container.duration is None
    status, _, err = mien("video", "whole.webm", "--annotated", "a.mp4", "--model", place / "tiny", cwd=tmp_path)
    assert status == 0, err
    with open_video(tmp_path / "a.mp4") as clip:
        assert clip.has_sound


def test_windows_media_gives_its_records_and_a_copy_with_sound(place, tmp_path):
    write_clip(tmp_path / "a.wmv", walk(20), codec="wmv2", sound="wmav2")
    status, _, err = mien("video", "a.wmv", "--annotated", "a.mp4", "-o", "r.jsonl", "--model", place / "tiny", cwd=tmp_path)
    assert status == 0, err
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 20
    with open_video(tmp_path / "a.mp4") as clip:
        assert clip.has_sound


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        pytest.param(["gone.mp4"], 1, "does not exist", id="no such file"),
        pytest.param([""], 1, "empty argument", id="an unset variable"),
        pytest.param(["walk.mp4", "-o", "r.txt"], 2, ".jsonl or .csv or .parquet", id="unknown ending"),
        pytest.param(["walk.mp4", "--annotated", "a.avi"], 2, ".mp4", id="not mp4"),
        pytest.param(["walk.mp4", "--timeline", "walk.mp4"], 2, ".png", id="timeline that is no picture"),
        pytest.param(["walk.mp4", "--annotated", "walk.mp4"], 2, "--overwrite", id="taken name"),
        pytest.param(["walk.mp4", "--annotated", "walk.mp4", "--overwrite"], 2, "itself", id="onto itself"),
        pytest.param(["shots", "--timeline", "shots/1.png", "--overwrite"], 2, "itself", id="onto a picture of the folder"),
        pytest.param(["shots/*.png", "--timeline", "shots/1.png", "--overwrite"], 2, "itself", id="onto a picture of the glob"),
        pytest.param(["walk.mp4", "--every", "0"], 2, "above 0", id="step of nothing"),
        pytest.param(["walk.mp4", "--every", "inf"], 2, "above 0", id="endless step"),
        pytest.param(["walk.mp4", "--detect-every", "0"], 2, "1 or more", id="never looking"),
    ],
)
def test_wrong_calls_say_what_to_do_and_write_nothing(place, arguments, status, words):
    before = sorted(os.listdir(place))
    returned, out, err = mien("video", *arguments, "--model", "tiny", cwd=place)
    assert returned == status
    assert words in out + err
    assert sorted(os.listdir(place)) == before


def test_where_nothing_can_be_read_the_old_files_stay(place, tmp_path):
    for name in ("t.png", "a.mp4"):
        (tmp_path / name).write_bytes(b"of last week")
    arguments = [tmp_path / "missing.mp4", "--timeline", "t.png", "--annotated", "a.mp4", "--overwrite", "--model", place / "tiny"]
    returned, _, err = mien("video", *map(str, arguments), cwd=tmp_path)
    assert (returned, "no frame could be read" in err) == (1, True)
    assert [(tmp_path / name).read_bytes() for name in ("t.png", "a.mp4")] == [b"of last week"] * 2


def test_the_camera_gives_lines_to_a_pipe_and_says_when_it_stops(place):
    done = subprocess.run(
        [sys.executable, "-m", "mien", "webcam", "--device", "walk.mp4", "--model", "tiny", "--frames", "3"],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    records = [record_from_dict(json.loads(line)) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert len(records) == 3
    assert records[0].source == "walk.mp4"
    assert [r.frame_index for r in records] == sorted({r.frame_index for r in records})
