"""How answers and names are written for people: an answer in words, and text that is safe to print."""

from __future__ import annotations

from mien.results import Face


def in_words(face: Face) -> str:
    """Return the answer as a person would say it: the label, or that it is not sure.

    The smoothed probabilities speak where there are any.
    """
    emotions = face.smoothed or face.emotions
    if not face.uncertain:
        return emotions.top
    (first, _), (second, _) = emotions.ranked()[:2]
    return f"not sure ({first} or {second})"


def printable(text: str) -> str:
    """Return ``text`` with control characters and bytes that are not text written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
