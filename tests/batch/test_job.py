"""A job from its sources to its parts: complete, resumable, and never written over another one."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.batch.folder import JobFolder
from mien.batch.job import dry_run, read_progress
from mien.batch.settings import Settings
from mien.errors import JobError, UsageError
from mien.media.video import open_video
from mien.pipeline import Pipeline
from mien.results import record_from_dict
from tests.batch.support import contents, face, folder_of_faces, manifest_lines, rows, run
from tests.batch.test_listing import pack_tar
from tests.media.clips import damage, noise, write_clip
from tests.support import tiny_bundle


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with ``in``: 18 portraits, a picture without a face, and words that call themselves a photo."""
    monkeypatch.chdir(tmp_path)
    folder_of_faces(tmp_path / "in", 18)
    Image.new("RGB", (80, 60), "navy").save(tmp_path / "in" / "none.png")
    return tmp_path


def records(out):
    return [record_from_dict(json.loads(line)) for part in contents(out).values() for line in part.splitlines()]


def test_every_input_has_the_record_that_the_pipeline_gives(place):
    clip = write_clip(place / "in" / "clip.mp4", 6, size_wh=(96, 64))
    outcome = run(place / "out", "in")
    found = {}
    for record in records(place / "out"):
        found.setdefault(record.source, []).append(record)
    assert sorted(found) == sorted(f"in/{file.name}" for file in (place / "in").iterdir())
    pipeline = Pipeline(threads=1)
    photos = sorted(name for name in found if not name.endswith("mp4"))
    expected = {record.source: record for record in pipeline.analyze_many(photos)}
    for name in photos:
        (got,) = found[name]
        assert getattr(got, "code", None) == getattr(expected[name], "code", None)
        if not hasattr(got, "code"):
            assert [face.box_xyxy for face in got.faces] == [face.box_xyxy for face in expected[name].faces]
            for mine, its in zip(got.faces, expected[name].faces, strict=True):
                assert mine.emotions.probabilities == pytest.approx(its.emotions.probabilities, abs=1e-5)
    with open_video(clip) as video:
        assert found["in/clip.mp4"] == list(pipeline.stream(video.frames(), source="in/clip.mp4"))
    tally = outcome.tally
    assert (tally.inputs, tally.photos, tally.videos, tally.frames) == (21, 19, 1, 6)
    assert (tally.records, tally.errors, tally.faces) == (26, {"unsupported_media": 1}, 18)
    assert sum(tally.confidence) == sum(tally.top.values()) == 18


def test_parquet_has_a_row_a_face_and_the_same_numbers(place):
    outcome = run(place / "out", "in", format="parquet")
    table = rows(place / "out")
    assert len(table) == outcome.tally.rows == 20
    assert {row["source"] for row in table} == {f"in/{file.name}" for file in (place / "in").iterdir()}
    assert {row["schema"] for row in table} == {"mien/1"}
    assert sum(row["face_index"] is not None for row in table) == outcome.tally.faces
    (error,) = (row for row in table if row["error_code"])
    assert (error["source"], error["error_code"]) == ("in/broken-000.jpg", "unsupported_media")


def test_the_same_command_does_nothing_again_and_keeps_every_byte(place):
    first = run(place / "out", "in")
    before, times = contents(place / "out"), [part.stat().st_mtime_ns for part in (place / "out" / "records").iterdir()]
    again = run(place / "out", "in")
    assert (first.shards_now, again.shards_now) == (3, 0)
    assert again.tally == first.tally
    assert contents(place / "out") == before
    assert [part.stat().st_mtime_ns for part in (place / "out" / "records").iterdir()] == times


def test_one_and_three_workers_give_the_same_bytes(place):
    run(place / "one", "in", workers=1)
    run(place / "three", "in", workers=3)
    assert contents(place / "one") == contents(place / "three")


@pytest.mark.parametrize("harm", ["missing", "cut", "replaced"])
def test_a_part_that_is_damaged_is_found_and_made_again(place, harm):
    run(place / "out", "in")
    before = contents(place / "out")
    part = place / "out" / "records" / "part-000001.jsonl"
    if harm == "missing":
        part.unlink()
    elif harm == "cut":
        part.write_bytes(before[part.name][:-1])
    else:
        part.write_bytes(before[part.name].replace(b"happy", b"angry"))
        with pytest.raises(JobError, match=r"1 of 3 parts .* same command again"):
            run(place / "out", "in")
    assert run(place / "out", "in").shards_now == 1
    assert contents(place / "out") == before


def test_a_manifest_line_that_a_kill_has_cut_does_not_count(place):
    run(place / "out", "in")
    before = contents(place / "out")
    manifest = place / "out" / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    assert run(place / "out", "in").shards_now == 1
    assert manifest_lines(place / "out") == 3
    assert contents(place / "out") == before
    assert sorted(JobFolder(place / "out").entries()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"min_face": 30}, "min_face", id="settings"),
        pytest.param({"format": "parquet"}, "format", id="format"),
        pytest.param({"model": "other"}, "model", id="model"),
        pytest.param({"sources": ["in", "more"]}, "sources", id="sources"),
        pytest.param({"column": "b"}, "column", id="column"),
    ],
)
def test_a_folder_of_another_job_is_left_alone(place, change, words):
    tiny_bundle(place / "other")
    folder_of_faces(place / "more", 1)
    run(place / "out", "in")
    before = contents(place / "out")
    sources = change.pop("sources", ["in"])
    with pytest.raises(UsageError, match=rf"holds another job \({words}"):
        run(place / "out", *sources, **change)
    assert contents(place / "out") == before


@pytest.mark.parametrize("name", ["thesis.txt", "plan.pdf", "scratch/thesis.txt", "records/thesis.txt"])
def test_a_folder_of_something_else_is_left_alone(place, name):
    thesis = place / "out" / name
    thesis.parent.mkdir(parents=True)
    thesis.write_text("words")
    with pytest.raises(UsageError, match=f"which holds {name.partition('/')[0]};"):
        run(place / "out", "in")
    assert [file for file in (place / "out").rglob("*") if file.is_file()] == [thesis]


def test_a_folder_whose_planning_was_stopped_is_used_again(place):
    for name in ("lock", "plan.draft", ".plan.jsonl.part", "plan.jsonl.part", "records/", "scratch/"):
        path = place / "out" / name
        path.mkdir(parents=True) if name.endswith("/") else (path.parent.mkdir(exist_ok=True), path.touch())
    assert run(place / "out", "in").tally.inputs == 20
    with pytest.raises(UsageError, match="got the file"):
        run(place / "in" / "none.png", "in")


def test_modules_that_lie_beside_the_photos_are_not_run(place):
    (place / "queue.py").write_text("raise SystemExit('this is not the standard library')")
    assert run(place / "out", "in").tally.inputs == 20


def test_two_processes_do_not_work_on_one_folder(place):
    folder = JobFolder(place / "out")
    with folder.locked(), pytest.raises(JobError, match="another process"):
        run(place / "out", "in")
    assert run(place / "out", "in").shards_now == 3


def test_a_wrong_source_leaves_no_folder_behind(place):
    with pytest.raises(UsageError):
        run(place / "out", "in", "missing")
    assert not (place / "out").exists()


def test_files_that_change_or_vanish_in_between_are_told(place):
    (place / "in" / "list.txt").write_text("".join(f"face-{n:03d}.jpg\n" for n in range(18)))
    source = place / "in" / "list.txt"
    checked = Settings(shard=8, format="jsonl").checked()
    folder = JobFolder(place / "out")
    with pytest.raises(KeyboardInterrupt):  # planned, and stopped before anything was done
        _stopped_after_planning(place / "out", source, checked)
    face(place / "in" / "face-003.jpg", seed=5)
    (place / "in" / "face-004.jpg").unlink()
    assert folder.identity()
    outcome = run(place / "out", source)
    assert outcome.tally.errors == {"changed": 1, "not_found": 1}
    assert (outcome.tally.inputs, outcome.tally.photos) == (18, 16)


def _stopped_after_planning(out, source, settings):
    from mien.batch.job import run_job
    from mien.batch.local import LocalEngine

    def stop(*_):
        raise KeyboardInterrupt

    run_job(out, [str(source)], settings, LocalEngine(1), on_plan=stop)


def test_errors_that_may_pass_are_tried_again_when_asked(place):
    (place / "list.txt").write_text("in/face-001.jpg\nin/later.jpg\nin/broken-000.jpg\n")
    later = place / "in" / "later.jpg"
    later.symlink_to(later)  # a circle, which the system refuses to read
    first = run(place / "out", "list.txt")
    assert first.tally.errors == {"unreadable": 1, "unsupported_media": 1}
    assert first.may_pass == 1
    later.unlink()
    shutil.copy(place / "in" / "face-000.jpg", later)
    assert run(place / "out", "list.txt").shards_now == 0
    again = run(place / "out", "list.txt", retry_errors=True)
    assert again.shards_now == 1
    assert (again.tally.inputs, again.tally.errors) == (3, {"unsupported_media": 1})


def test_a_damaged_place_of_a_video_has_its_record_and_the_rest_goes_on(place):
    damage(write_clip(place / "in" / "a.mov", noise(20), codec="mjpeg", pix_fmt="yuvj420p"), 8, 2)
    outcome = run(place / "job", "in/a.mov")
    found = records(place / "job")
    assert [record.frame_index for record in found] == [*range(9), *range(10, 20)]
    assert (found[8].source, found[8].code) == ("in/a.mov", "corrupt_media")
    assert str(place) not in found[8].message
    assert (outcome.tally.frames, outcome.tally.errors) == (18, {"corrupt_media": 1})


def test_dry_run_and_status_say_what_is_and_write_nothing(place):
    checked = Settings(shard=8, format="jsonl").checked()
    planned, done = dry_run(place / "out", ["in"], checked)
    assert (planned.inputs, planned.shards, done) == (20, 3, 0)
    assert not (place / "out").exists()
    with pytest.raises(JobError, match="holds none"):
        read_progress(place / "out")
    run(place / "out", "in")
    assert dry_run(place / "out", ["in"], checked)[1] == 3
    progress, tally, planned, running = read_progress(place / "out")
    assert (tally.inputs, planned.inputs, running) == (20, 20, False)
    assert progress.done == 20


def test_records_do_not_tell_where_the_folder_lies(place, monkeypatch):
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / "in").symlink_to(place / "in")
    (place / "list.txt").write_text("in/broken-000.jpg\nin/missing.jpg\nin/missing.mp4\n")
    shutil.copy(place / "list.txt", place / "elsewhere")
    run(place / "one", "in", "list.txt")
    monkeypatch.chdir(place / "elsewhere")
    run(place / "two", "in", "list.txt")
    assert contents(place / "one") == contents(place / "two")
    assert not any(str(place).encode() in part for part in contents(place / "one").values())


def test_names_that_are_no_text_reach_the_parts(place):
    strange = os.fsdecode(b"caf\xe9\n.jpg")
    try:
        face(place / "odd" / "a.jpg").rename(place / "odd" / strange)
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    for kind in ("parquet", "jsonl"):
        assert run(place / kind, "odd", format=kind).tally.faces == 1
    (row,) = rows(place / "parquet")
    assert row["source"] == r"odd/caf\udce9" + "\n.jpg"


def test_a_broken_video_of_an_archive_is_named_as_in_the_archive_and_not_by_its_copy_here(tmp_path):
    whole = write_clip(tmp_path / "whole.mp4", np.random.default_rng(0).integers(0, 255, (40, 64, 96, 3), dtype=np.uint8)).read_bytes()
    cut = write_clip(tmp_path / "cut.mkv", np.random.default_rng(0).integers(0, 255, (40, 64, 96, 3), dtype=np.uint8)).read_bytes()
    pack_tar(tmp_path / "in.tar", {"head.mp4": whole[:300], "tail.mkv": cut[: len(cut) * 6 // 10]})
    run(tmp_path / "out", tmp_path / "in.tar")
    errors = [record for record in records(tmp_path / "out") if hasattr(record, "code")]
    assert len(errors) == 2
    assert all("mien-batch-" not in error.message for error in errors), errors
    assert all(Path(error.source).name in error.message for error in errors), errors
