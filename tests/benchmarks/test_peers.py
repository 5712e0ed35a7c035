"""Installing, talking to adapters in two languages, counting, and the page; the peers are made up, the way is real."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.__main__ import PAGE, RESULT, measure
from benchmarks.peers.environments import Environment, PeerError, environment
from benchmarks.peers.inputs import Inputs, photo
from benchmarks.peers.report import in_scenes, picture, quality, tables
from benchmarks.peers.roster import PEERS, Peer, mien
from benchmarks.peers.runs import cost, predict
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


def _scene(row: int, x: float) -> Scene:
    return Scene(np.zeros((480, 640, 3), np.uint8), (Pasted(row, 2.0, np.array([[2.0, 0, x], [0, 2.0, 0]]), 48),))
