"""Who showed what, and when: seconds, the picture, and the running graphs."""

import time

import numpy as np
import pytest

from mien.errors import UsageError
from mien.results import Emotions, Face, FrameResult, ModelRef
from mien.timeline import Timeline

LABELS = ("dark", "bright")


def result_at(time_s, *faces):
    """Return a frame with (track id, P(dark)) faces in 40 px boxes side by side."""
    made = tuple(
        Face((60.0 * n, 10.0, 60.0 * n + 40, 50.0), 0.9, (), Emotions(LABELS, (p, 1 - p)), False, track_id, Emotions(LABELS, (p, 1 - p)))
        for n, (track_id, p) in enumerate(faces)
    )
    return FrameResult("clip", 200, 100, made, ModelRef("m", "1"), 0, time_s)


def timeline(*results):
    story = Timeline(LABELS)
    for result in results:
        story.add(result)
    return story


def test_seconds_count_from_a_frame_to_the_next_at_any_rate():
    story = timeline(result_at(0, (1, 0.9)), result_at(0.5, (1, 0.9), (2, 0.2)), result_at(2, (2, 0.2)), result_at(2.25, (1, 0.1)))
    first, second = story.presences()
    assert first.seconds_by_label == pytest.approx({"dark": 2.0, "bright": 0.25})
    assert second.seconds_by_label == pytest.approx({"dark": 0, "bright": 1.75})
    assert (first.first_s, first.last_s, first.seconds) == pytest.approx((0, 2.5, 2.25))


@pytest.mark.parametrize("results", [[], [result_at(0)], [result_at(0, (None, 0.5))]], ids=["no frame", "no face", "no id"])
def test_a_timeline_of_nobody_says_so(results):
    story = timeline(*results)
    assert story.presences() == []
    assert story.picture().shape == (188, 1280, 3)


def test_the_picture_shows_shares_and_gaps():
    """Half dark, half bright for two seconds; away for two; then all bright."""
    frames = [result_at(t / 10, *([(1, 0.5)] if t < 20 else [] if t < 40 else [(1, 0.0)])) for t in range(60)]
    picture = timeline(*frames).picture("clip.mp4").astype(int)
    column = {name: picture[56:128, x] for name, x in (("half", 300), ("away", 700), ("bright", 1100))}
    assert len(np.unique(column["half"], axis=0)) == 2
    assert len(np.unique(column["away"], axis=0)) == len(np.unique(column["bright"], axis=0)) == 1
    assert (column["half"][0] == column["bright"][0]).all()
    assert (column["half"][35] == column["half"][0]).all()
    assert (column["half"][36] != column["half"][35]).any()


def test_many_people_do_not_make_an_endless_picture():
    picture = timeline(*(result_at(t, *((n, 0.5) for n in range(1, 60))) for t in range(3))).picture()
    assert picture.shape[0] < 2300


def test_running_graphs_leave_faces_and_the_given_frame_alone():
    story = timeline(*(result_at(t / 10, (1, 0.5), (2, 1.0)) for t in range(30)))
    frame = np.zeros((100, 200, 3), np.uint8)
    drawn = story.draw_graphs(frame, result_at(2.9, (1, 0.5), (2, 1.0)))
    assert not frame.any()
    assert drawn[53:67, 0:40].any()
    assert drawn[53:67, 60:100].any()
    assert not drawn[:53].any()


FIVE_POINTS = ((1.0, 1.0),) * 5


def crowd(time_s, *ids):
    emotions = Emotions(("happy", "sad"), (0.75, 0.25))
    faces = tuple(Face((0, 0, 9, 9), 0.9, FIVE_POINTS, emotions, False, track_id=number) for number in ids)
    return FrameResult("crowd", 20, 20, faces, ModelRef("tiny", "0"), time_s=time_s)


def seconds_of(story, start, count):
    results = [crowd((start + step) / 25, start + step) for step in range(count)]
    began = time.process_time()
    for result in results:
        story.add(result)
    return time.process_time() - began


def test_a_step_costs_no_more_after_thousands_of_people():
    story = Timeline(("happy", "sad"))
    first = seconds_of(story, 0, 1000)
    seconds_of(story, 1000, 20_000)
    assert seconds_of(story, 21_000, 1000) < 5 * first + 0.05


def test_a_face_counts_from_its_frame_to_the_next():
    story = Timeline(("happy", "sad"))
    for time_s, ids in ((0.0, (1, 2)), (1.0, (1,)), (3.0, (1,)), (4.0, ())):
        story.add(crowd(time_s, *ids))
    assert {one.track_id: (one.first_s, one.last_s, one.seconds) for one in story.presences()} == {1: (0.0, 4.0, 4.0), 2: (0.0, 1.0, 1.0)}


def ghosts(min_seen_s=None):
    """Return the timeline of two seconds at 25 frames/s: one person throughout, one for a second, a ghost for a frame and one for ten."""
    story = Timeline(LABELS) if min_seen_s is None else Timeline(LABELS, min_seen_s=min_seen_s)
    for step in range(50):
        story.add(
            result_at(
                step / 25,
                (1, 0.5),
                *([(2, 0.5)] if step < 25 else []),
                *([(3, 0.5)] if step == 30 else []),
                *([(4, 0.5)] if 10 <= step < 20 else []),
            )
        )
    return story


@pytest.mark.parametrize(
    ("min_seen_s", "people"),
    [
        pytest.param(None, [1, 2], id="the default"),
        pytest.param(0, [1, 2, 3, 4], id="everybody"),
        pytest.param(0.04, [1, 2, 3, 4], id="one frame"),
        pytest.param(0.4, [1, 2, 4], id="just as long"),
        pytest.param(9, [1], id="longer than the video"),
    ],
)
def test_who_is_seen_too_briefly_is_nobody(min_seen_s, people):
    story = ghosts(min_seen_s)
    assert [one.track_id for one in story.presences()] == people
    assert story.too_short == 4 - len(people)
    assert story.picture().shape[0] == ghosts(0).picture().shape[0] - 88 * story.too_short


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_an_impossible_least_time_is_refused(seconds):
    with pytest.raises(UsageError, match="0 s or more"):
        Timeline(LABELS, min_seen_s=seconds)
