from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest
from hypothesis import settings

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # for the tests that load onnxruntime before Mien does

# A busy machine is not a failure; how long things take is measured in benchmarks/.
settings.register_profile("mien", deadline=None)
settings.load_profile("mien")


@pytest.fixture(scope="session", autouse=True)
def signals_as_in_a_terminal() -> None:
    """Undo ``nohup`` and the like: a process that ignores a signal starts programs that ignore it, too, as Mien's verbs then should."""
    for number in (signal.SIGINT, getattr(signal, "SIGHUP", None)):
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            with suppress(ValueError):  # not the main thread
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
