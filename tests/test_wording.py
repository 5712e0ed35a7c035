"""Answers in words, and text that is safe to print."""

import os

import pytest

from mien.results import Emotions, Face
from mien.wording import in_words, printable

LABELS = ("happy", "sad", "neutral")


def face(probabilities, *, uncertain, smoothed=None):
    emotions = Emotions(LABELS, probabilities)
    return Face((1.5, 2.0, 30.0, 40.0), 0.9, ((1.0, 2.0),) * 5, emotions, uncertain, smoothed=smoothed and Emotions(LABELS, smoothed))


def test_a_sure_answer_is_its_label_and_an_unsure_one_names_two():
    assert in_words(face((0.8, 0.1, 0.1), uncertain=False)) == "happy"
    assert in_words(face((0.3, 0.5, 0.2), uncertain=True)) == "not sure (sad or happy)"


def test_the_smoothed_probabilities_speak_where_there_are_any():
    assert in_words(face((0.8, 0.1, 0.1), uncertain=False, smoothed=(0.1, 0.8, 0.1))) == "sad"
    assert in_words(face((0.8, 0.1, 0.1), uncertain=True, smoothed=(0.1, 0.4, 0.5))) == "not sure (neutral or sad)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("plain é.jpg", "plain é.jpg", id="text"),
        pytest.param("a\nb\x1b[31m", "a\\nb\\x1b[31m", id="control-characters"),
        pytest.param(os.fsdecode(b"caf\xe9"), "caf\\udce9", id="not-utf-8"),
    ],
)
def test_printable(text, expected):
    assert printable(text) == expected
