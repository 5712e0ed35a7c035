"""A clock that starts again, where no small file can show it."""

import pytest

from mien.media.clock import MAX_GAP_S, Clock


@pytest.mark.parametrize(
    ("times_s", "expected", "jumps"),
    [
        pytest.param([0, 1, 2], [0, 1, 2], [], id="a clock"),
        pytest.param([0, 1, 0.5, 2], [0, 1, 1, 2], [], id="a little back is held"),
        pytest.param([0, 9, 0, 1], [0, 9, 9.5, 10.5], [2], id="far back goes on"),
        pytest.param([0, 9, 0, 9, 0], [0, 9, 9.5, 18.5, 19], [2, 4], id="twice"),
        pytest.param([0, 600, 601], [0, 600, 601], [], id="a gap is true"),
        pytest.param([0, 90_000, 90_001], [0, 0.5, 1.5], [1], id="another recording's clock"),
        pytest.param([0, None, 1], [0, 0.5, 1], [], id="no time of its own"),
        pytest.param([-1, 0], [0, 0], [], id="before the start"),
    ],
)
def test_time_goes_on(times_s, expected, jumps):
    clock = Clock(0, max_gap_s=MAX_GAP_S)
    given = [clock.at(time_s, 0.5) for time_s in times_s]
    assert [time_s for time_s, _ in given] == expected
    assert [i for i, (_, jumped) in enumerate(given) if jumped] == jumps
