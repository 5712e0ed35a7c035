"""Turns docstrings into Markdown for the Python reference: roles become names, doctests become code. Griffe calls this module."""

from __future__ import annotations

import re

import griffe

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([^`]+)`")
DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class Markdown(griffe.Extension):
    """Rewrites every docstring once, after Griffe has read its object."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrite the docstring of ``obj``."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(docstring: str) -> str:
    """Return a docstring with roles as code and doctests as fenced blocks."""
    return DOCTEST.sub(lambda match: f"```pycon\n{match[0]}\n```", ROLE.sub(r"`\1`", docstring))
