"""Texts for people: a result in words, and text that is safe to print."""

from __future__ import annotations

from mien.results import Face


def in_words(face: Face) -> str:
    """Return the result in words: the label, or that it is not sure.

    The smoothed probabilities are used if there are any.
    """
    emotions = face.smoothed or face.emotions
    if not face.uncertain:
        return emotions.top
    (first, _), (second, _) = emotions.ranked()[:2]
    return f"not sure ({first} or {second})"


def printable(text: str) -> str:
    """Return ``text`` with escapes for control characters and for bytes that are not text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
