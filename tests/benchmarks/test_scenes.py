"""The benchmark on faces that a test can have: the astronaut's, under a model whose answer is the chip's brightness."""

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from benchmarks.scenes import HEIGHT, WIDTH, Outcome, background, by_score, landmark_error, match, measure, paste, scenes, summary
from mien.classify import Classifier
from mien.contract import FER2013_TEMPLATE, LABELS
from mien.detect import Detection, find_detector
from mien.geometry import similarity, transform
from mien.pipeline import Pipeline
from tests.support import ToldDetector, tiny_bundle


@pytest.fixture(scope="module")
def crops():
    """Twelve chips of one face in FER2013's framing, uint8 (12, 48, 48)."""
    eyes_nose_mouth = ((202, 102), (247, 103), (221, 125), (200, 142), (240, 144))
    x0, y0 = transform(similarity(FER2013_TEMPLATE, eyes_nose_mouth), [(0, 0)])[0]
    face = Image.fromarray(astronaut()).convert("L").crop((int(x0), int(y0), int(x0) + 118, int(y0) + 118))
    return np.stack([np.asarray(face.resize((48, 48), Image.Resampling.LANCZOS))] * 12)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return Classifier(tiny_bundle(tmp_path_factory.mktemp("tiny")), threads=1)


def test_the_pipeline_finds_and_aligns_pasted_faces(crops, classifier):
    pipeline = Pipeline(classifier=classifier, detector=find_detector(threads=1), threads=1)
    labels = [LABELS[index] for index in classifier.probabilities(crops).argmax(1)]
    outcomes, count, _ = measure(pipeline, classifier, crops, labels, scenes(crops, seed=1))
    assert sorted(outcome.row for outcome in outcomes) == list(range(12)), "every face is used once"
    assert 2 <= count <= 12
    found = [outcome for outcome in outcomes if outcome.found]
    assert len(found) >= 11
    assert np.mean([outcome.landmark_error for outcome in found]) < 4, "a mirrored or shifted alignment is 10 px off"


def test_a_detector_that_sees_nothing_finds_nothing(crops, classifier):
    pipeline = Pipeline(classifier=classifier, detector=ToldDetector(), threads=1)
    outcomes, count, false = measure(pipeline, classifier, crops, ["happy"] * 12, scenes(crops, count=2))
    assert (count, false) == (2, [])
    assert not any(outcome.found for outcome in outcomes)


def test_scenes_are_the_same_for_the_same_seed(crops):
    (one,), (same,), (other,) = (tuple(scenes(crops, count=1, seed=seed)) for seed in (3, 3, 4))
    assert (one.frame_rgb == same.frame_rgb).all()
    assert not np.array_equal(one.frame_rgb, other.frame_rgb)


def test_faces_lie_in_the_frame_and_apart(crops):
    for scene in scenes(crops, count=6, seed=5):
        covered = np.zeros((HEIGHT, WIDTH), int)
        for face in scene.faces:
            corners = transform(face.to_scene, [(0, 0), (48, 0), (0, 48), (48, 48)])
            assert (corners >= 0).all()
            assert (corners <= (WIDTH, HEIGHT)).all()
            (x0, y0), (x1, y1) = corners.min(0).round().astype(int), corners.max(0).round().astype(int)
            covered[y0:y1, x0:x1] += 1
        assert covered.max() == 1


def test_a_pasted_crop_comes_back_through_its_matrix(crops):
    to_scene = np.array([[3.0, 0, 100], [0, 3, 50]])
    frame = paste(background(np.random.default_rng(0)), crops[0], to_scene)
    back = frame[50 + 1 : 50 + 144 : 3, 100 + 1 : 100 + 144 : 3, 0].astype(int)
    inner = (slice(4, -4), slice(4, -4))
    assert np.abs(back - crops[0])[inner].mean() < 3


def test_landmarks_on_the_template_have_no_error_and_match(crops, classifier):
    (scene,) = scenes(crops, count=1, seed=2)
    face = scene.faces[0]
    told = ToldDetector((_told(face),))
    (seen,) = Pipeline(classifier=classifier, detector=told, threads=1).analyze(scene.frame_rgb).faces
    assert landmark_error(face, seen) == pytest.approx(0, abs=1e-9)
    assert match(scene.faces, [seen])[0] is seen


def test_the_summary_states_found_and_difference(crops, classifier):
    (scene,) = scenes(crops, count=1, seed=2)
    told = ToldDetector(tuple(_told(face) for face in scene.faces))
    outcomes, _, false = measure(
        Pipeline(classifier=classifier, detector=told, threads=1), classifier, crops, ["happy"] * 12, iter([scene])
    )
    figures = summary(outcomes)
    assert false == []
    assert figures["found, %"].startswith("100.00 (")
    assert figures["faces"] == len(scene.faces)


def test_boxes_are_counted_by_their_score():
    read = [Outcome(0, 3.0, True, right, True, 1.0, score) for right, score in ((True, 0.65), (False, 0.65), (True, 0.95))]
    rows = by_score([*read, Outcome(3, 3.0, found=False)], [0.31, 0.69, 0.69])
    assert rows == [("0 to 0.5", 1, 1, "0.0"), ("0.6 to 0.7", 4, 2, "25.0"), ("0.9 to 1", 1, 0, "100.0")]


def _told(pasted):
    points = transform(pasted.to_scene, FER2013_TEMPLATE)
    return Detection(tuple(pasted.box_xyxy.tolist()), 0.9, tuple((x, y) for x, y in points.tolist()))
