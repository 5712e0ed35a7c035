"""The gate counts the requests with photos, and refuses one too many."""

import pytest

from mien.serve.guard.gate import Gate
from mien.serve.refusals import Refusal


def test_a_full_gate_refuses_and_says_when_to_come_back():
    gate = Gate(2)
    with gate.slot(), gate.slot():
        with pytest.raises(Refusal, match="all 2 places are taken") as refused, gate.slot():
            pass
        assert (refused.value.status, refused.value.code, refused.value.headers) == (503, "busy", {"Retry-After": "1"})
    with gate.slot(), gate.slot():
        pass  # both places are free again


def test_a_request_that_fails_frees_its_place():
    gate = Gate(1)
    with pytest.raises(ZeroDivisionError), gate.slot():
        raise ZeroDivisionError
    with gate.slot():
        pass
