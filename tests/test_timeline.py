"""A timeline's step costs what is in the frame, however many people were there before."""

import time

from mien.results import Emotions, Face, FrameResult, ModelRef
from mien.timeline import Timeline

POINTS = ((1.0, 1.0),) * 5


def frame(time_s, *ids):
    emotions = Emotions(("happy", "sad"), (0.75, 0.25))
    faces = tuple(Face((0, 0, 9, 9), 0.9, POINTS, emotions, False, track_id=number) for number in ids)
    return FrameResult("crowd", 20, 20, faces, ModelRef("tiny", "0"), time_s=time_s)


def seconds_of(story, start, count):
    results = [frame((start + step) / 25, start + step) for step in range(count)]
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
        story.add(frame(time_s, *ids))
    assert {one.track_id: (one.first_s, one.last_s, one.seconds) for one in story.presences()} == {1: (0.0, 4.0, 4.0), 2: (0.0, 1.0, 1.0)}
