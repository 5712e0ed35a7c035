"""Installing, talking to adapters in two languages, counting, and the page; the peers are made up, the way is real."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.peers.__main__ import PAGE, RESULT, measure, with_earlier
from benchmarks.peers.environments import Environment, PeerError, environment
from benchmarks.peers.inputs import Inputs, PhotoSet, photo, photo_set
from benchmarks.peers.report import in_scenes, main_table, on_photos, picture, quality, short_table, tables, when
from benchmarks.peers.roster import PEERS, Peer, mien
from benchmarks.peers.runs import cost, look, predict
from benchmarks.scenes import Pasted, Scene
from mien.contract import LABELS
from tools.readme import rewritten

ADAPTERS = Path(__file__).parents[2] / "benchmarks" / "peers" / "adapters"
FER2013_ORDER = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
# A peer that reads its answer off the picture: the class is the brightness over 30, in FER2013's order; a photo's face is its left half.
TOLD = """
import sys
from pathlib import Path
import numpy as np
from protocol import run

class Told:
    labels = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    gives_probabilities = True
    def __init__(self, options):
        with open(options["log"], "a") as log:
            log.write("x")
    def classify(self, crops):
        return np.eye(7)[crops[:, 0, 0] // 30] * 0.8 + 0.2 / 7
    def prepare(self, frame_rgb):
        return frame_rgb
    def analyze(self, photo):
        return list(self.faces(photo))
    def faces(self, photo):
        yield (0, 0, photo.shape[1] / 2, photo.shape[0]), self.classify(photo[None, :, :, 0])[0]

run(Told)
"""
TOLD_CJS = """
const fs = require('node:fs');
const { run } = require('PROTOCOL');
run(async () => {
  const classify = async (crops) => crops.map(({ data }) => LABELS.map((_, i) => (i === Math.trunc(data[0] / 30) ? 0.8 : 0) + 0.2 / 7));
  const LABELS = ['angry', 'disgust', 'fear', 'happy', 'sad', 'surprise', 'neutral'];
  const faces = async ({ data, shape }) => [{ box_xyxy: [0, 0, shape[1] / 2, shape[0]], scores: (await classify([{ data }]))[0] }];
  return { labels: LABELS, classify, prepare: (frame) => ({ ...frame, dispose() {} }), analyze: faces, faces };
});
"""


@pytest.fixture
def here(tmp_path: Path) -> Environment:
    """This very environment in the place of a peer's."""
    return Environment("here", sys.prefix, str(tmp_path), {"told": "1.0"}, 1.0)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Peer:
    monkeypatch.setenv("PYTHONPATH", str(ADAPTERS))
    return _peer(tmp_path / "with_told.py", TOLD, {"log": str(tmp_path / "log")})


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """Seven crops, one a label, and two pictures whose face is the left half; the last crop is a copy of a training image."""
    order = [FER2013_ORDER.index(label) for label in LABELS]
    crops = np.broadcast_to(np.array(order, np.uint8)[:, None, None] * 30, (7, 48, 48))
    frames = np.full((2, 480, 640, 3), 90, np.uint8)  # happy
    entries = {}
    for name, array in {"crops": crops, "photos": frames, "scenes": frames}.items():
        np.ascontiguousarray(array).tofile(tmp_path / f"{name}.u8")
        entries[name] = {"file": str(tmp_path / f"{name}.u8"), "shape": list(array.shape)}
    made = (_scene(0, 0), _scene(0, 400))
    return Inputs(np.arange(7), np.array([True] * 6 + [False]), made, (1, 1), entries, "stamp")


@pytest.fixture
def photos(tmp_path: Path) -> PhotoSet:
    """A happy photo of 60x40, an angry one of 30x50 whose label is sad, and a file that is none; TOLD reads the class off the pixels."""
    folder = tmp_path / "photos"
    for name, size, brightness in (("happy/a.png", (60, 40), 90), ("sad/b.png", (30, 50), 0)):
        (folder / name).parent.mkdir(parents=True)
        Image.new("RGB", size, (brightness,) * 3).save(folder / name)
    (folder / "sad" / "c.jpg").write_bytes(b"no photo")
    return photo_set(folder, tmp_path / "cache")


def test_whole_photos_keep_their_size_and_unreadable_files_their_label(photos):
    assert photos.entry["shapes"] == [[40, 60, 3], [50, 30, 3]]
    assert [LABELS[i] for i in photos.labels] == ["happy", "sad"]
    assert [LABELS[i] for i in photos.unreadable] == ["sad"]
    assert Path(photos.entry["file"]).read_bytes() == bytes([90]) * 40 * 60 * 3 + bytes([0]) * 50 * 30 * 3


def test_every_nth_photo_is_taken(tmp_path):
    for i in range(5):
        Image.new("L", (8 + i, 8)).save(_folder(tmp_path / "photos" / "happy") / f"{i}.png")
    taken = photo_set(tmp_path / "photos", tmp_path / "cache", every=2)
    assert [shape[1] for shape in taken.entry["shapes"]] == [8, 10, 12]


def test_a_peer_looks_at_whole_photos_once(told, here, photos, tmp_path):
    for _ in range(2):
        happy, angry = look(told, here, photos, tmp_path / "cache")
    assert Path(told.options["log"]).read_text() == "x"
    assert happy[0]["box_xyxy"] == [0, 0, 30, 40], "the left half of a photo of 60x40"
    assert [LABELS[int(np.argmax(faces[0]["scores"]))] for faces in (happy, angry)] == ["happy", "angry"]
    figures = on_photos([happy, angry], photos)
    assert (figures["n"], figures["unreadable"]) == (3, 1)
    assert figures["accuracy"]["value"] == pytest.approx(1 / 3)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not on this machine")
def test_both_languages_look_at_the_same_photos(told, here, photos, tmp_path):
    script = _peer(tmp_path / "with_told.cjs", TOLD_CJS.replace("PROTOCOL", str(ADAPTERS / "protocol.cjs")), {})
    ours, theirs = (look(peer, here, photos, tmp_path / "cache") for peer in (told, script))
    assert [[face["box_xyxy"] for face in faces] for faces in theirs] == [[face["box_xyxy"] for face in faces] for faces in ours]


@pytest.mark.parametrize(
    "language", ["py", pytest.param("cjs", marks=pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js"))]
)
def test_a_photo_on_which_a_peer_fails_is_a_wrong_answer(told, here, photos, tmp_path, language):
    if language == "py":
        source = TOLD.replace("        yield", "        if photo.shape[1] == 30: raise ValueError('too narrow')\n        yield")
        peer = _peer(tmp_path / "with_told.py", source, told.options)
    else:
        source = TOLD_CJS.replace("=> [{ box_xyxy", "=> shape[1] === 30 ? [].none.one : [{ box_xyxy")
        peer = _peer(tmp_path / "with_told.cjs", source.replace("PROTOCOL", str(ADAPTERS / "protocol.cjs")), {})
    answers = look(peer, here, photos, tmp_path / "cache")
    assert isinstance(answers[1], str)
    figures = on_photos(answers, photos)
    assert (figures["failed"], figures["no_face"], figures["accuracy"]["value"]) == (1, 0, pytest.approx(1 / 3))


@pytest.mark.parametrize(
    ("faces", "right"),
    [
        pytest.param([([0, 0, 9, 9], "happy")], 1, id="one"),
        pytest.param([([0, 0, 9, 9], "sad"), ([5, 5, 30, 30], "happy")], 1, id="the largest is right"),
        pytest.param([([0, 0, 9, 9], "happy"), ([5, 5, 30, 30], "sad")], 0, id="a small one is right"),
        pytest.param([], 0, id="no face"),
        pytest.param([([0, 0, 9, 9], None)], 0, id="a face without scores"),
    ],
)
def test_the_largest_face_counts_and_no_answer_is_wrong(faces, right):
    eye = dict(zip(LABELS, np.eye(7).tolist(), strict=True)) | {None: [0.0] * 7}
    answers = [[{"box_xyxy": box, "scores": eye[label]} for box, label in faces], [{"box_xyxy": [0, 0, 1, 1], "scores": eye["angry"]}]]
    figures = on_photos(answers, _photos(["happy", "angry"]))
    assert figures["accuracy"]["value"] == (right + 1) / 2
    assert figures["recall"]["happy"] == right


def test_the_mean_recall_is_over_the_labels_that_have_ninety_photos_in_the_whole_folder():
    labels = ["happy"] * 45 + ["sad"] * 44 + ["neutral"] * 46
    answers = [[{"box_xyxy": [0, 0, 1, 1], "scores": np.eye(7)[LABELS.index("happy")].tolist()}] for _ in labels]
    figures = on_photos(answers, _photos(labels, every=2))
    assert figures["mean_recall"]["labels"] == ["happy", "neutral"], "every second photo: 45 stand for 90, 44 for fewer"
    assert figures["mean_recall"]["value"] == 0.5


def test_a_peer_without_an_answer_for_any_photo_keeps_its_other_figures(told, here, inputs, photos, tmp_path, monkeypatch):
    Path(told.adapter).write_text(TOLD.replace("        yield", "        if photo.shape[1] < 100: return\n        yield"))
    (tmp_path / "weights.bin").write_bytes(b"12")
    monkeypatch.setattr("benchmarks.peers.__main__.environment", lambda *_, **__: here)
    peer = Peer(name="told", adapter=told.adapter, requirements=("told==1.0",), weights=("weights.bin",), how="", options=told.options)
    row = measure(peer, inputs, tmp_path / "cache", photos=photos, fresh=False, seconds=None)
    assert row["quality"]["accuracy"]["value"] == 1
    assert "cost" not in row
    assert row["whole_photos"] == {"failure": "answered none of 2 whole photos"}
    assert "answered none of 2 whole photos" in tables({"machine": "here", "rows": [row]})
    assert short_table([row]).splitlines()[2] == "| told 1.0 | - | - | - | 100.0 | - | 1 |"


def test_what_is_kept_says_which_run_it_is_from():
    figures = {row["name"]: row for row in json.loads(RESULT.read_text(encoding="utf-8"))["rows"]}
    fer, human = ({**figures[name], "version": "1"} for name in ("fer", "human"))
    for row in (fer, human):
        row.pop("kept", None)
        row["whole_photos"] = {"failure": "old"}
    earlier = {"machine": "old machine", "date": "2020-02-02", "rows": [fer, human]}
    first_run = {"date": "2020-02-02", "machine": "old machine", "version": "1"}
    now = {key: value for key, value in fer.items() if key not in {"cost", "quality"}} | {
        "version": "3",
        "whole_photos": {"failure": "new"},
    }
    row, left_out = with_earlier([dict(now)], earlier)
    assert (row["cost"], row["quality"], row["whole_photos"], row["version"]) == (fer["cost"], fer["quality"], {"failure": "new"}, "3")
    assert row["kept"] == {"quality": first_run, "cost": first_run}
    assert left_out["name"] == "human", "a row that is not measured now stays"
    told = when({"machine": "new machine", "date": "2021-01-01", "rows": [row, left_out]})
    assert told.startswith("new machine, 2021-01-01. Kept from the run of old machine, 2020-02-02,")
    assert "times and memory of fer 1, human 1" in told
    assert "Kept" not in when({**earlier, "rows": [row, left_out]}), "a second command on one day is one run"
    again, _ = with_earlier([dict(now)], {"machine": "newer machine", "date": "2021-01-01", "rows": [row, left_out]})
    assert again["kept"]["cost"] == first_run, "figures that are kept twice keep the name of their run"


def test_a_row_that_never_saw_the_crops_says_so():
    (row,) = with_earlier([{"name": "new", "version": "1", "whole_photos": {}}], {"machine": "here", "rows": []})
    assert "add --data" in row["failure"]


def test_photos_come_first_in_the_table():
    row = next(row for row in json.loads(RESULT.read_text(encoding="utf-8"))["rows"] if "n" in row.get("whole_photos", {}))
    head, _, cells = main_table([row]).splitlines()
    assert [cell.strip() for cell in head.split("|")[3:6]] == [
        "photos, % (95 % interval)",
        "mean recall of 5 labels, %",
        "recall of neutral, %",
    ]
    assert cells.split("|")[3].strip().startswith(f"{100 * row['whole_photos']['accuracy']['value']:.1f} (")


def test_scores_come_back_in_miens_order_of_labels(told, here, inputs, tmp_path):
    prediction = predict(told, here, inputs, tmp_path / "cache")
    assert prediction.scores.argmax(1).tolist() == list(range(7))
    (face,) = prediction.photos[0]
    assert LABELS[int(np.argmax(face["scores"]))] == "happy"
    assert face["box_xyxy"] == [0, 0, 320, 480]


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not on this machine")
def test_both_languages_say_the_same(told, here, inputs, tmp_path):
    script = _peer(tmp_path / "with_told.cjs", TOLD_CJS.replace("PROTOCOL", str(ADAPTERS / "protocol.cjs")), {})
    ours, theirs = (predict(peer, here, inputs, tmp_path / "cache") for peer in (told, script))
    np.testing.assert_allclose(theirs.scores, ours.scores, atol=1e-6)
    assert [face["box_xyxy"] for faces in theirs.scenes for face in faces] == [face["box_xyxy"] for faces in ours.scenes for face in faces]
    figures = cost(script, here, inputs, tmp_path / "cache", seconds=0)
    assert set(figures["face_ms"]) == {"1"}, "a batch of 8 needs 8 crops"
    assert len(figures["photo_ms"]) == 2
    assert figures["peak_mb"] > 10


def test_predictions_are_kept_and_costs_are_measured_anew(told, here, inputs, tmp_path):
    log = Path(told.options["log"])
    for _ in range(2):
        predict(told, here, inputs, tmp_path / "cache")
    assert log.read_text() == "x"
    predict(told, here, inputs, tmp_path / "cache", fresh=True)
    assert log.read_text() == "xx"
    cost(told, here, inputs, tmp_path / "cache", seconds=0)
    assert log.read_text() == "xxxx", "one process for the times, one for the memory"


def test_mien_runs_like_any_peer(here, inputs, tmp_path):
    prediction = predict(mien("default"), here, inputs, tmp_path / "cache")
    np.testing.assert_allclose(prediction.scores.sum(1), 1, atol=1e-6)
    assert prediction.photos == [[], []], "a grey page has no face"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("raise RuntimeError('no weights')", "RuntimeError: no weights", id="crash"),
        pytest.param(TOLD.replace('"neutral")', '"bored")'), "expected the labels angry, .* bored", id="other labels"),
        pytest.param(TOLD.replace("* 0.8", "* np.nan"), "finite scores", id="not finite"),
    ],
)
def test_a_peer_that_fails_says_why_in_its_row(told, here, inputs, tmp_path, source, message):
    Path(told.adapter).write_text(source)
    with pytest.raises(PeerError, match=message):
        predict(told, here, inputs, tmp_path / "cache")


def test_a_failed_install_is_a_row_and_not_the_end(inputs, tmp_path, capsys):
    peer = Peer(name="gone", adapter="with_told.py", requirements=(str(tmp_path / "gone"),), weights=(), how="")
    row = measure(peer, inputs, tmp_path / "cache", fresh=False, seconds=0)
    assert row["failure"]
    assert "gone" in tables({"machine": "here", "rows": [row]})
    assert "installing" in capsys.readouterr().err


def test_an_environment_knows_its_versions_and_sizes(tmp_path):
    wheel = tmp_path / "told-1.2.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("told/weights.bin", bytes(2_000_000))
        archive.writestr("told-1.2.3.dist-info/METADATA", "Metadata-Version: 2.1\nName: told\nVersion: 1.2.3\n")
        archive.writestr("told-1.2.3.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("told-1.2.3.dist-info/RECORD", "")
    peer = Peer(name="told", adapter="with_told.py", requirements=(f"told @ {wheel.as_uri()}",), weights=("told/*.bin",), how="")
    made = environment(peer, tmp_path / "cache")
    assert made.versions[peer.package] == "1.2.3"
    assert made.weights_mb(peer) == 2.0
    assert made.installed_mb == pytest.approx(2.0, abs=0.05)
    wheel.unlink()
    assert environment(peer, tmp_path / "cache") == made, "a second run does not install again"


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param([0, 0, 96, 96], {"faces": 1, "found": 1, "right": 1, "false": 0}, id="found"),
        pytest.param([400, 300, 496, 396], {"faces": 1, "found": 0, "right": 0, "false": 1}, id="elsewhere"),
        pytest.param(None, {"faces": 1, "found": 0, "right": 0, "false": 0}, id="nothing"),
    ],
)
def test_faces_in_scenes_are_counted(box, expected):
    answers = [] if box is None else [{"box_xyxy": box, "scores": np.eye(7)[3].tolist()}]
    assert in_scenes([_scene(0, 0)], [answers], np.array([3])) == expected


def test_quality_counts_copies_apart_and_leaves_out_an_error_nobody_states(told, here, inputs, tmp_path):
    prediction = predict(told, here, inputs, tmp_path / "cache")
    figures = quality(prediction, inputs)
    assert (figures["n"], figures["clean_n"]) == (7, 6)
    assert figures["accuracy"]["value"] == figures["macro_f1"] == 1
    assert figures["ece"] == pytest.approx(0.2 - 0.2 / 7, abs=1e-6)
    silent = type(prediction)(prediction.scores, False, prediction.photos, prediction.scenes)
    assert quality(silent, inputs)["ece"] is None


def test_a_photo_keeps_its_proportions():
    page = photo(np.full((100, 100, 3), 255, np.uint8))
    assert page.shape == (480, 640, 3)
    assert (page[:, 80:560] == 255).all()
    assert (page[:, :80] == 120).all()


def test_names_and_packages():
    assert [peer.package for peer in PEERS][2:4] == ["@vladmandic/human", "@vladmandic/face-api"]
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    assert mien("default").package == "mien"
    assert mien("fer2013").weights == mien("default").weights, "two heads of one file"


def test_the_page_has_the_figures_of_the_result(tmp_path):
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    assert rewritten(page) == page, "run: python -m benchmarks.peers --report"
    assert result["page"] == tables(result), "run: python -m benchmarks.peers --report"
    picture(result, tmp_path / "peers.png")
    assert (tmp_path / "peers.png").stat().st_size > 10_000


def _peer(adapter: Path, source: str, options: dict[str, str]) -> Peer:
    adapter.write_text(source)
    return Peer(name="told", adapter=str(adapter), requirements=("told==1.0",), weights=(), how="", options=options)


def _folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _photos(labels: list[str], every: int = 1) -> PhotoSet:
    return PhotoSet(np.array([LABELS.index(label) for label in labels]), np.array([], np.int64), every, {}, "stamp")


def _scene(row: int, x: float) -> Scene:
    return Scene(np.zeros((480, 640, 3), np.uint8), (Pasted(row, 2.0, np.array([[2.0, 0, x], [0, 2.0, 0]]), 48),))
