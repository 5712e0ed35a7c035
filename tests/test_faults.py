"""Do the tests notice? Each row breaks one line of the contract, the geometry or the tracker, and the tests that mirror it must fail."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FAULTS = {
    "contract.py": (
        ('"sad", "surprise")', '"surprise", "sad")'),  # labels in another order
        ("((14.3, 17.8), ", "((14.8, 17.8), "),  # a template half a pixel off
        (
            'np.asarray(255, spec.input_dtype) if spec.input_range == "0..1"',
            'np.asarray(256, spec.input_dtype) if spec.input_range == "0..1"',
        ),
        (".astype(spec.input_dtype)", ".astype(spec.input_dtype) + 1"),
        ("chips.dtype != np.uint8 or ", ""),
        ("0 < self.temperature < 100", "0 <= self.temperature < 100"),
        ("self.contract_version != CONTRACT_VERSION", "False"),
        ("if unknown := sorted", "if unknown := [] and sorted"),
    ),
    "geometry.py": (
        ("area_a + area_b - inner", "area_a + area_b"),
        ("where=union > 0", "where=union > 1"),
        ("clip(0, height)", "clip(0, width)"),
        ("np.array(boxes, np.float64)", "np.asarray(boxes, np.float64)"),  # changes the caller's boxes
        ("[[cosine, -sine], [sine, cosine]]", "[[cosine, sine], [-sine, cosine]]"),
        ("dst_mean - turn @ src_mean", "dst_mean - src_mean"),
        ("-turn @ m[:, 2]", "turn @ m[:, 2]"),
        ("m[:, :2].T + m[:, 2]", "m[:, :2] + m[:, 2]"),
    ),
    "track.py": (
        ("self._next_id += 1", "self._next_id += 0"),
        ("MAX_LOST_S = 2.0", "MAX_LOST_S = 0.5"),
        ("if score >= self._high_score", "if score >= 0"),  # an unsure detection starts a track
        ("self._place + self._speed * dt", "self._place"),
        ("self._speed[:2] += gain[1] * surprise[:2]", "self._speed[:2] -= gain[1] * surprise[:2]"),
        ("if not time_s >= self._time_s", "if time_s < self._time_s"),  # lets NaN through
        ("track.shift(jump)", "track.shift(0 * jump)"),
        ("before + (1 - math.exp(", "before + (0.3 + 0 * math.exp("),  # counts frames instead of seconds
        ("MIN_PROBABILITY = 0.005", "MIN_PROBABILITY = 1e-9"),
        ("odds / odds.sum()", "odds"),
    ),
}
ROWS = [(file, old, new) for file, faults in FAULTS.items() for old, new in faults]
# Gives the exit status of a test file for each wording of the source file that it mirrors. The file itself stays as it is: a child
# process a wording reads it otherwise. What all of them need is imported once.
RUN = """
import json, os, sys
from importlib.machinery import SourceFileLoader

import hypothesis, numpy, pytest, scipy.optimize

file, tests, wordings = sys.argv[1], sys.argv[2], json.load(sys.stdin)
as_it_is = SourceFileLoader.get_code

def run(old, new):
    def get_code(loader, name):
        if loader.path != file:
            return as_it_is(loader, name)
        return compile(loader.get_data(file).decode().replace(old, new), file, "exec")

    SourceFileLoader.get_code = get_code
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return pytest.main(["-n0", "-x", "-q", "--assert=plain", "-p", "no:cacheprovider", tests])

statuses = []
for old, new in wordings:
    child = os.fork()
    if child == 0:
        os._exit(int(run(old, new)))
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(statuses))
"""
AS_IT_IS = ("", "")


@pytest.mark.slow  # half a minute
def test_every_fault_is_noticed() -> None:
    with ThreadPoolExecutor(2) as pool:
        statuses = dict(zip(FAULTS, pool.map(lambda file: exit_statuses(file, [AS_IT_IS, *FAULTS[file]]), FAULTS), strict=True))
    assert {file: first for file, (first, *_) in statuses.items()} == dict.fromkeys(FAULTS, pytest.ExitCode.OK)
    unnoticed = [
        (file, fault)
        for file, (_, *found) in statuses.items()
        for fault, status in zip(FAULTS[file], found, strict=True)
        if status != pytest.ExitCode.TESTS_FAILED
    ]
    assert unnoticed == []


@pytest.mark.parametrize(("file", "old", "new"), ROWS)
def test_the_line_is_still_there(file: str, old: str, new: str) -> None:
    assert old != new
    assert (ROOT / "src/mien" / file).read_text(encoding="utf-8").count(old) == 1


def exit_statuses(file: str, wordings: Sequence[tuple[str, str]]) -> list[int]:
    """Return pytest's exit status of the mirrored tests for each (old, new) wording of a source file."""
    source, tests = ROOT / "src/mien" / file, ROOT / "tests" / f"test_{file}"
    done = subprocess.run(
        [sys.executable, "-c", RUN, source, tests], cwd=ROOT, input=json.dumps(wordings), capture_output=True, text=True, check=True
    )
    statuses: list[int] = json.loads(done.stdout)
    return statuses
