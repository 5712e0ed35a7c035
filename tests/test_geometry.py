import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.geometry import clip_boxes, grown, invert, iou, similarity, transform

number = st.floats(-1e4, 1e4, allow_nan=False)
box = st.tuples(number, number, st.floats(0, 1e4), st.floats(0, 1e4)).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param((0, 0, 2, 2), (0, 0, 2, 2), 1.0, id="equal"),
        pytest.param((0, 0, 2, 2), (2, 0, 4, 2), 0.0, id="touching-edges-share-no-area"),
        pytest.param((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7, id="corner"),
        pytest.param((0, 0, 4, 4), (1, 1, 2, 2), 1 / 16, id="inside"),
        pytest.param((0, 0, 0.5, 0.5), (0.25, 0, 0.75, 0.5), 1 / 3, id="smaller-than-a-pixel"),
        pytest.param((0, 0, 0, 0), (0, 0, 0, 0), 0.0, id="zero-area-is-not-a-match"),
        pytest.param((2, 2, 0, 0), (0, 0, 2, 2), 0.0, id="inside-out"),
        pytest.param((2, 0, 0, 3), (0, 0, 1, 1), 0.0, id="one-side-inside-out"),
    ],
)
def test_iou(a, b, expected):
    assert iou([a], [b])[0, 0] == pytest.approx(expected)


def test_iou_of_nothing_keeps_its_shape():
    assert iou(np.zeros((0, 4)), [[0, 0, 1, 1]]).shape == (0, 1)


@given(box, box)
def test_iou_is_symmetric_and_bounded(a, b):
    forward = iou([a], [b])[0, 0]
    assert 0 <= forward <= 1
    assert forward == pytest.approx(iou([b], [a])[0, 0])


def test_clip_cuts_each_side_by_itself():
    clipped = clip_boxes([(-3, 2, 50, 90), (4, -6, 7, 8)], width=40, height=30)
    assert clipped.tolist() == [[0, 2, 40, 30], [4, 0, 7, 8]]
    assert clipped.dtype == np.float64


def test_clip_keeps_boxes_in_the_frame_and_leaves_its_input_alone():
    boxes = np.array([[-5.0, -5, 5, 5], [90, 90, 200, 200]])
    assert clip_boxes(boxes, 100, 50).tolist() == [[0, 0, 5, 5], [90, 50, 100, 50]]
    assert boxes[0, 0] == -5


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param((10.6, 10.6, 20.2, 30.2), (9, 8, 22, 33), id="outwards-to-whole-pixels"),
        pytest.param((0.5, 0.5, 10.5, 20.5), (0, 0, 12, 23), id="cut-left-and-above"),
        pytest.param((90, 40, 100, 50), (89, 39, 100, 50), id="cut-right-and-below"),
    ],
)
def test_grown_boxes_hold_whole_pixels_of_the_frame(box, expected):
    assert grown(box, margin=0.1, width=100, height=50) == expected


@given(
    angle=st.floats(-np.pi, np.pi),
    scale=st.floats(0.01, 100),
    shift=st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)),
)
def test_similarity_finds_the_transform_that_made_the_points(angle, scale, shift):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    made = np.column_stack([turn, shift])
    points = np.array([(14.3, 17.8), (32.7, 18.0), (22.9, 27.8), (15.9, 36.3), (30.9, 36.6)])
    assert similarity(points, transform(made, points)) == pytest.approx(made, abs=1e-6 * max(1, scale) * 100)


def test_two_points_far_from_the_origin_are_enough():
    matrix = similarity([[4000, 3000], [4001, 3000]], [[0, 0], [0, 2]])
    assert matrix == pytest.approx(np.array([[0, -2, 6000], [2, 0, -8000]]), abs=1e-6)


def test_similarity_shares_the_error_between_points_that_do_not_fit():
    """Three corners of a square and a fourth pulled out: the best fit is a little larger and a little off, and not the exact square."""
    matrix = similarity([(0, 0), (2, 0), (0, 2), (2, 2)], [(0, 0), (2, 0), (0, 2), (4, 4)])
    assert matrix == pytest.approx(np.array([[1.5, 0, 0], [0, 1.5, 0]]))


def test_similarity_never_mirrors():
    points = np.array([(0, 0), (10, 0), (5, 5), (1, 9), (8, 9)], float)
    matrix = similarity(points, points * (-1, 1))
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        pytest.param([[1, 1]] * 5, [[1, 1]] * 5, "coincide", id="one-point-five-times"),
        pytest.param([[np.nan, 0], [1, 1]], [[0, 0], [1, 1]], "finite", id="nan"),
        pytest.param([[0, 0], [1, 1]], [[0, 0], [np.inf, 1]], "finite", id="infinite-target"),
        pytest.param([[1e6, 1e6], [1e6 + 1e-4, 1e6]], [[0, 0], [1, 1]], "coincide", id="one-point-but-for-rounding"),
        pytest.param([[0, 0], [1, 1]], [[0, 0]], "equal", id="different-counts"),
        pytest.param([[0, 0]], [[0, 0]], "at least two", id="one-point"),
        pytest.param([[0, 0, 0], [1, 1, 1]], [[0, 0, 0], [1, 1, 1]], "two", id="three-dimensions"),
    ],
)
def test_similarity_refuses(source, target, message):
    with pytest.raises(ValueError, match=message):
        similarity(source, target)


@given(angle=st.floats(-3, 3), scale=st.floats(0.05, 20), x=st.floats(-500, 500), y=st.floats(-500, 500))
def test_invert_undoes_transform(angle, scale, x, y):
    matrix = [[scale * np.cos(angle), -scale * np.sin(angle), 3], [scale * np.sin(angle), scale * np.cos(angle), -7]]
    assert transform(invert(matrix), transform(matrix, [(x, y)])) == pytest.approx(np.array([(x, y)]), abs=1e-6)
