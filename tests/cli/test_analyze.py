"""The command as a person types it: a process of its own, real files, exit statuses, stdout kept apart from stderr."""

import base64
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.assets import demo_photo
from mien.cli.console import say
from mien.cli.output import text_output
from mien.contract import LABELS
from mien.results import record_from_dict
from tests.support import mien, tiny_bundle

REPOSITORY = Path(__file__).parent.parent.parent
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="cameras have other names here")


@pytest.fixture
def folder(tmp_path):
    """Two faces in two photos, one photo without, and something that is no photo."""
    shutil.copy(demo_photo(), tmp_path / "one.jpg")
    (tmp_path / "sub").mkdir()
    shutil.copy(demo_photo(), tmp_path / "sub" / "one.jpg")
    Image.new("RGB", (200, 150), "navy").save(tmp_path / "none.png")
    (tmp_path / "broken.jpg").write_bytes(b"these are words, not pixels")
    return tmp_path


def test_a_folder_gives_a_record_an_input_and_names_the_failure(folder):
    status, out, err = mien("analyze", ".", cwd=folder)
    records = [record_from_dict(json.loads(line)) for line in out.splitlines()]
    assert status == 1
    by_name = {r.source.removeprefix("./"): r for r in records}
    assert len(records) == 4
    assert by_name["broken.jpg"].code in ("unsupported_media", "corrupt_media")
    assert by_name["none.png"].faces == ()
    for name in ("one.jpg", "sub/one.jpg"):
        (face,) = by_name[name].faces
        assert set(face.emotions.labels) == set(LABELS)
        assert sum(face.emotions.probabilities) == pytest.approx(1)
        assert face.top == "happy"
        assert len(face.landmarks) == 5
    assert "broken.jpg" in err
    assert "3 photos, 2 faces, 1 without a face, 1 error\n" in err


def test_parquet_holds_the_rows_of_csv(folder):
    pq = pytest.importorskip("pyarrow.parquet", reason="pip install '.[video]' brings pyarrow")
    for name in ("faces.csv", "faces.parquet"):
        assert mien("analyze", "one.jpg", "none.png", "-o", name, cwd=folder)[0] == 0
    with (folder / "faces.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(folder / "faces.parquet").to_pylist()
    assert [row["source"] for row in table] == [row["source"] for row in rows] == ["one.jpg", "none.png"]
    assert table[0]["happy"] == pytest.approx(float(rows[0]["happy"]))
    status, out, err = mien("analyze", "one.jpg", "--format", "parquet", cwd=folder)
    assert (status, out) == (2, "")
    assert "--output FILE.parquet" in err


def test_all_well_is_status_0_and_says_nothing_for_one_photo(folder):
    status, out, err = mien("analyze", "one.jpg", cwd=folder)
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 1


def test_stdin_is_a_dash(folder):
    status, out, _ = mien("analyze", "-", cwd=folder, stdin=demo_photo().read_bytes())
    assert status == 0
    assert len(record_from_dict(json.loads(out)).faces) == 1


def test_csv_has_a_row_a_face_and_a_row_for_none(folder):
    status, out, _ = mien("analyze", "one.jpg", "none.png", "broken.jpg", "--format", "csv", cwd=folder)
    rows = {row["source"]: row for row in csv.DictReader(io.StringIO(out))}
    assert status == 1
    assert rows["one.jpg"]["top"] == "happy"
    assert sum(float(rows["one.jpg"][label]) for label in LABELS) == pytest.approx(1)
    assert (rows["none.png"]["face_count"], rows["none.png"]["top"]) == ("0", "")
    assert rows["broken.jpg"]["error_code"]


def test_the_table_says_no_face_and_error_in_words(folder):
    status, out, _ = mien("analyze", "one.jpg", "none.png", "broken.jpg", "--format", "table", cwd=folder)
    assert status == 1
    assert "happy" in out
    assert "no face found" in out
    assert "error" in out


def test_a_caller_that_closed_its_input_gets_its_records(folder):
    command = f"'{sys.executable}' -m mien analyze one.jpg - <&-"
    done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert [record_from_dict(json.loads(line)).source for line in done.stdout.splitlines()] == ["one.jpg", "-"], done.stderr
    assert "no input at all" in done.stderr


@pytest.mark.parametrize("stream", [">&-", "2>&-"])
def test_a_caller_that_closed_its_output_gets_its_exit_status(folder, stream):
    command = f"'{sys.executable}' -m mien analyze one.jpg {stream}"
    done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert bool(done.stdout) == (stream == "2>&-")


def test_annotated_copies_keep_their_photos_names(folder):
    for name in ("Müller.jpg", "张三.jpg"):
        shutil.copy(demo_photo(), folder / name)
    assert mien("analyze", "Müller.jpg", "张三.jpg", "--annotate", "out", cwd=folder)[0] == 0
    assert {p.name for p in (folder / "out").iterdir()} == {"Müller.annotated.jpg", "张三.annotated.jpg"}


def test_annotated_copies_do_not_overwrite_each_other_or_older_ones(folder):
    _, _, err = mien("analyze", "one.jpg", "sub/one.jpg", "--annotate", "out", cwd=folder)
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["one-2.annotated.jpg", "one.annotated.jpg"], err
    with Image.open(folder / "out" / "one.annotated.jpg") as drawn, Image.open(demo_photo()) as plain:
        assert drawn.size == plain.size
        assert np.abs(np.asarray(drawn, int) - np.asarray(plain, int)).max() > 100
    before = (folder / "out" / "one.annotated.jpg").stat().st_mtime_ns
    status, out, err = mien("analyze", "one.jpg", "--annotate", "out", cwd=folder)
    assert status == 1
    assert "--overwrite" in err
    assert "1 annotated picture not written" in err
    assert len(out.splitlines()) == 1, "the record is still given"
    assert (folder / "out" / "one.annotated.jpg").stat().st_mtime_ns == before
    assert mien("analyze", "one.jpg", "--annotate", "out", "--overwrite", cwd=folder)[0] == 0


def test_output_files_are_whole_and_never_replaced_unasked(folder):
    assert mien("analyze", "one.jpg", "-o", "r.csv", cwd=folder)[0] == 0
    first = (folder / "r.csv").read_text()
    assert first.startswith("schema,source")
    status, _, err = mien("analyze", "none.png", "-o", "r.csv", cwd=folder)
    assert status == 2
    assert "--overwrite" in err
    assert (folder / "r.csv").read_text() == first
    assert mien("analyze", "none.png", "-o", "r.csv", "--overwrite", cwd=folder)[0] == 0
    assert "one.jpg" not in (folder / "r.csv").read_text()


def test_another_model_brings_its_own_labels(folder, tmp_path_factory):
    bundle = tmp_path_factory.mktemp("bundle")
    tiny_bundle(bundle, ("calm", "not calm"))
    status, out, err = mien("analyze", "one.jpg", "--model", bundle, cwd=folder)
    assert status == 0, err
    record = record_from_dict(json.loads(out))
    assert record.model.name == "tiny"
    assert record.faces[0].emotions.labels == ("calm", "not calm")


@pytest.mark.parametrize(("older", "kept"), [(False, "faces.csv"), (True, "faces.csv.part")], ids=["a new name", "an older file"])
def test_an_interruption_keeps_what_was_written_and_what_was_there(tmp_path, capsys, older, kept):
    if older:
        (tmp_path / "faces.csv").write_text("yesterday")

    def interrupted():
        with text_output(tmp_path / "faces.csv", True) as out:
            out.write("today")
            out.flush()  # as a sink does after each record
            out.write("half a rec")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / kept).read_text() == "today"
    assert not older or (tmp_path / "faces.csv").read_text() == "yesterday"
    assert kept in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_named_pipe_stays_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", "pipe"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as reader:
        with text_output(tmp_path / "pipe", False) as out:
            out.write("records")
        assert reader.communicate()[0] == "records"
    assert (tmp_path / "pipe").is_fifo()


def test_pictures_of_an_earlier_run_are_not_analysed_again(folder):
    for seen in ("3 photos", "3 photos"):
        status, out, err = mien("analyze", ".", "--annotate", "marked", "--overwrite", "--format", "jsonl", cwd=folder)
        assert seen in err
        assert "annotated" not in out, status


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        pytest.param(["analyze"], 2, "Missing argument", id="nothing-to-do"),
        pytest.param(["analyze", "one.jpg", "--format", "xml"], 2, "table, jsonl, csv", id="unknown-format"),
        pytest.param(["analyze", "one.jpg", "--min-face", "0"], 2, "min_face", id="no-face-size"),
        pytest.param(["analyze", "one.jpg", "--min-face", "nan"], 2, "min_face", id="a face size that is no number"),
        pytest.param(["analyze", "one.jpg", "--min-face", "inf"], 2, "min_face", id="an endless face"),
        pytest.param(["analyze", "one.jpg", "-o", "/proc/faces.jsonl"], 1, "/proc/", id="an output where no file can be"),
        pytest.param(["analyze", "one.jpg", "--threads", "0"], 2, "threads", id="no-threads"),
        pytest.param(["analyze", "one.jpg", "-o", "faces.xlsx"], 2, ".jsonl, .csv, .txt, .parquet, got faces.xlsx", id="unknown-ending"),
        pytest.param(["analyze", "one.jpg", "-o", "f.jsonl", "--format", "csv"], 2, "change one", id="a format and another's ending"),
        pytest.param(["analyze", ".", "-o", "one.jpg", "--format", "csv", "--overwrite"], 2, "over itself", id="onto a photo"),
        pytest.param(["analyze", "one.jpg", "--threads", "99999999"], 2, "1 to 1,024", id="endless-threads"),
        pytest.param(["explain", "one.jpg", "-o", "one.jpg", "--overwrite"], 2, "over itself", id="an explanation onto its photo"),
        pytest.param(["explain", "one.jpg", "-o", "map.xyz"], 2, ".png or .jpg", id="an explanation that is no picture"),
        pytest.param(["demo", "-o", "demo.csv"], 2, ".png or .jpg", id="a demo that is no picture"),
        pytest.param(["webcam", "--device", "nope"], 2, "camera's number", id="no camera", marks=LINUX),
        pytest.param(["webcam", "--frames", "0"], 2, "1 or more", id="no frames"),
        pytest.param(["analyze", "one.jpg", "-o", "missing/r.csv"], 2, "missing is not a folder", id="no-such-output-folder"),
        pytest.param(["analyze", "one.jpg", "--model", "nope"], 1, "shipped models: default", id="unknown-model"),
        pytest.param(["analyze", "one.jpg", "--model", "sub"], 1, "no spec.json", id="folder-that-is-no-bundle"),
        pytest.param(["analyze", "one.jpg", "--detector", "nope"], 1, "expected auto, or the path", id="unknown-detector"),
        pytest.param(["analyze", "missing.jpg"], 1, "not_found", id="missing-file"),
        pytest.param(["analyze", "*.gif"], 1, "not_found", id="glob-without-match"),
        pytest.param(["frobnicate"], 2, "No such command", id="unknown-verb"),
    ],
)
def test_wrong_calls_say_what_to_do(folder, arguments, status, words):
    got, _, err = mien(*arguments, cwd=folder)
    assert got == status, err
    assert words in err
    assert "Traceback" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
@pytest.mark.parametrize("arguments", [["analyze", "one.jpg"], ["--help"]], ids=" ".join)
def test_an_output_that_cannot_be_written_is_a_line_and_not_a_traceback(folder, arguments):
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "mien", *arguments]
        done = subprocess.run(command, cwd=folder, stdout=full, stderr=subprocess.PIPE, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stderr.decode() == "mien: the output: No space left on device; the work is not complete\n"


def test_names_that_are_not_text_go_through(folder):
    name = os.fsdecode(b"caf\xe9\n.jpg")
    try:
        shutil.copy(demo_photo(), folder / name)
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    for kind in ("jsonl", "csv", "table"):
        status, out, err = mien("analyze", str(folder / name), "--format", kind, cwd=folder)
        assert status == 0, err
        assert "happy" in out


def test_demo_prints_seven_and_draws_and_never_overwrites(tmp_path):
    for expected in ("mien-demo.jpg", "mien-demo-2.jpg"):
        status, out, err = mien("demo", cwd=tmp_path)
        assert status == 0, err
        assert all(label in out for label in LABELS)
        assert str(tmp_path / expected) in out.replace("\n", "")
        with Image.open(tmp_path / expected) as picture:
            assert picture.size == (512, 512)


def test_version_is_the_package_version(tmp_path):
    import mien as package

    assert mien("--version", cwd=tmp_path)[1].strip() == f"mien {package.__version__}"


def test_an_explanation_shows_every_face_on_the_photo_and_enlarged_below(folder):
    status, out, err = mien("explain", "one.jpg", "-o", "why.jpg", cwd=folder)
    assert (status, len(out.splitlines())) == (0, 1), err
    assert out.startswith("face 1: happy")
    with Image.open(folder / "why.jpg") as drawn, Image.open(demo_photo()) as plain:
        assert drawn.width == plain.width
        assert drawn.height > plain.height + 150
    assert mien("explain", "none.png", "-o", "none.jpg", cwd=folder)[0] == 0
    with Image.open(folder / "none.jpg") as drawn:
        assert drawn.size == (200, 150)


def test_a_password_and_a_long_data_uri_are_in_no_output(folder):
    login = "http://ann:hunter2@127.0.0.1:9/a.jpg"
    status, out, err = mien("analyze", login, "data:image/png;base64," + "A" * 100_000, cwd=folder)
    assert status == 1
    assert "hunter2" not in out + err
    first, second = map(json.loads, out.splitlines())
    assert first["source"] == "http://***@127.0.0.1:9/a.jpg"
    assert len(second["source"]) < 200
    assert len(out + err) < 4000


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("video", "LOGIN/v.mp4"), id="video"),
        pytest.param(("explain", "LOGIN/a.jpg"), id="explain"),
        pytest.param(("batch", "LOGIN/a.jpg", "-o", "job", "--dry-run"), id="batch"),
        pytest.param(("batch", "LOGIN/list.txt", "-o", "job"), id="a list"),
        pytest.param(("batch", "LOGIN/all.zip", "-o", "job"), id="an archive"),
        pytest.param(("analyze", "ftp://bob:hunter2@127.0.0.1/a.jpg"), id="another scheme"),
    ],
)
def test_no_verb_shows_a_password(folder, arguments):
    _, out, err = mien(*(word.replace("LOGIN", "http://bob:hunter2@127.0.0.1:9") for word in arguments), cwd=folder)
    assert "hunter2" not in out + err


def test_words_for_people_hold_no_password(capsys):
    say("no picture from the camera rtsp://bob:hunter2@door/x; waiting for it")
    assert capsys.readouterr().err == "no picture from the camera rtsp://***@door/x; waiting for it\n"


def test_a_photo_in_a_data_uri_is_analysed(folder):
    photo = base64.b64encode(next(folder.rglob("*.jpg")).read_bytes()).decode()
    status, out, _ = mien("analyze", f"data:image/jpeg;base64,{photo}", cwd=folder)
    assert status == 0
    assert "faces" in json.loads(out)


@pytest.mark.parametrize("verb", ["analyze", "batch", "explain"])
def test_messages_about_a_photo_name_options_that_the_verb_has(verb):
    """ "Raise max_pixels" is no help where nothing is called so."""
    sources = [*(REPOSITORY / "src/mien/media").glob("*.py"), REPOSITORY / "src/mien/batch/remote.py"]
    named = {option for file in sources for option in re.findall(r"with (--[a-z-]+)", file.read_text(encoding="utf-8"))}
    assert named >= {"--max-bytes", "--max-pixels"}
    status, out, _ = mien(verb, "--help", cwd=REPOSITORY)
    assert (status, [option for option in named if option not in out]) == (0, [])


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        pytest.param("--max-pixels", 1000, "0.001 megapixels", id="pixels"),
        pytest.param("--max-bytes", 1000, "at most 1,000 bytes", id="bytes"),
        pytest.param("--timeout-s", 0, "timeout_s must be above zero", id="seconds"),
    ],
)
def test_limits_are_options(folder, option, value, words):
    status, _, err = mien("analyze", "one.jpg", option, value, cwd=folder)
    assert status
    assert words in err


def test_a_number_in_min_face_finds_what_auto_leaves_out_and_says(tmp_path):
    frame = np.full((1500, 4000, 3), 110, np.uint8)
    with Image.open(demo_photo()) as photo:
        head = np.asarray(photo.convert("RGB").crop((110, 0, 340, 240)).resize((68, 71)))
    for x in range(100, 3800, 900):
        frame[700:771, x : x + 68] = head
    Image.fromarray(frame).save(tmp_path / "crowd.png")
    automatic, given = (json.loads(mien("analyze", "crowd.png", *more, cwd=tmp_path)[1]) for more in ((), ("--min-face", "20")))
    assert (len(automatic["faces"]), len(given["faces"])) == (0, 5)
    assert automatic["notes"] == ["faces smaller than 42 px are left out in a picture of this size; min_face 20 searches all of it closely"]
    assert given["notes"] == []


@pytest.mark.parametrize(
    ("verb", "more"), [("analyze", ()), ("explain", ("-o", "why.jpg")), ("batch", ("-o", "job", "--format", "jsonl"))], ids=lambda v: str(v)
)
def test_what_a_message_about_a_large_picture_names_can_be_said(tmp_path, verb, more):
    Image.new("RGB", (300, 200)).save(tmp_path / "one.png")
    for option, limit, enough in (("--max-pixels", 59_999, 60_000), ("--max-bytes", 50, 100_000)):
        _, out, err = mien(verb, "one.png", option, limit, *more, cwd=tmp_path)
        told = out + err + "".join(path.read_text() for path in tmp_path.glob("job/records/*.jsonl"))
        assert f"allow more with {option}" in told
        shutil.rmtree(tmp_path / "job", ignore_errors=True)
        assert mien(verb, "one.png", option, enough, *more, cwd=tmp_path)[0] == 0
        for made in ("job", "why.jpg"):
            path = tmp_path / made
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
