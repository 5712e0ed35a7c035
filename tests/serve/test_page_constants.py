"""The page's private mode runs the steps of the library in JavaScript; the numbers that it copies are the library's."""

import re
from importlib import import_module
from pathlib import Path

import pytest

import mien.serve

PAGE = Path(mien.serve.__file__).parent / "page"
# JavaScript file -> Python modules that hold its constants, and the constants that belong to the page alone.
FILES = [
    ("private/track.js", ("mien.track",), set()),
    ("private/detect.js", ("mien.detect.base", "mien.detect.yunet"), {"THRESHOLD"}),
    ("private/explain.js", ("mien.explain",), set()),
    ("private/contract.js", ("mien.contract",), set()),
    ("private/engine.js", ("mien.results",), {"MAX_THREADS"}),
    ("private/worker.js", ("mien.classify",), {"RUNTIME", "DETECTOR", "VERBS"}),
    ("heat.js", ("mien.explain",), set()),
    ("save.js", ("mien.sinks",), set()),
]
ONE = re.compile(r"^(?:export )?const ([A-Z][A-Z_]*) = (.+?);", re.MULTILINE)
SEVERAL = re.compile(r"^(?:export )?const \[([A-Z][A-Z_, ]*)\] = (\[.+?\]);", re.MULTILINE)


def constants(file):
    """Return name -> text of the value of every constant in upper case."""
    text = (PAGE / file).read_text(encoding="utf-8")
    found = dict(ONE.findall(text))
    for names, values in SEVERAL.findall(text):
        found |= dict(zip(names.split(", "), plain(eval(values)), strict=True))
    return found


def plain(value):
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize(("file", "modules", "alone"), FILES, ids=[file for file, *_ in FILES])
def test_every_number_that_the_page_copies_is_the_librarys(file, modules, alone):
    library = {name: value for module in modules for name, value in vars(import_module(module)).items()}
    ours = {name: value for name, value in constants(file).items() if name not in alone}
    assert ours, f"no constant found in {file}"
    assert set(ours) <= set(library), f"{file} has a constant that {' and '.join(modules)} lack; name it as they do"
    for name, value in ours.items():
        assert (eval(value) if isinstance(value, str) else value) == plain(library[name]), name


def test_the_browsers_tracker_has_the_constants_of_the_librarys():
    assert {"HIGH_SCORE", "MAX_LOST_S", "MIN_IOU", "MARGIN", "MARGIN_PER_S", "MAX_MARGIN"} <= set(constants("private/track.js"))
