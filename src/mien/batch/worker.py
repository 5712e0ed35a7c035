"""A process that runs shards. It reads orders as lines of JSON from stdin and writes answers as lines of JSON to stdout.

When stdin ends, the process ends at once, even during work, so that it never outlives its parent. Output of libraries goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from mien.batch.files import sha256_of
from mien.batch.inputs import Input
from mien.batch.settings import Settings
from mien.batch.shard import ShardRunner
from mien.errors import MienError

TELL_EVERY_S = 0.5


def main() -> None:
    """Process orders until stdin ends.

    The first order is the settings; the answer is ``ready``. The next orders are ``{"run": shard, "inputs": [line, ...], "part": path,
    "crashed": {i: why}}``, with the answer ``done`` and the tally, or ``{"probe": line}``, with the answer ``alive``. The answer ``failed``
    contains the error that was raised.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="ascii", buffering=1)
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")

    orders = _orders()
    settings = Settings.from_dict(next(orders))
    try:
        runner = ShardRunner(settings)
    except MienError as error:
        answer(failed=str(error), code=error.code)
        return
    answer(ready=settings.identity())
    for order in orders:
        try:
            _serve(runner, order, answer)
        except MienError as error:
            answer(failed=str(error), code=error.code)


def _serve(runner: ShardRunner, order: dict[str, Any], answer: Callable[..., None]) -> None:
    if "probe" in order:
        runner.probe(Input.from_line(order["probe"]))
        answer(alive=True)
        return
    inputs = [Input.from_line(line) for line in order["inputs"]]
    part = Path(order["part"])
    crashed = {int(position): why for position, why in order["crashed"].items()}
    tally = runner.run(inputs, part, _now_and_then(lambda done: answer(progress=done)), crashed)
    answer(done=order["run"], tally=tally.to_dict(), sha256=sha256_of(part), bytes=part.stat().st_size)


def _now_and_then(tell: Callable[[int], None]) -> Callable[[int], None]:
    last = time.monotonic()

    def maybe(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= TELL_EVERY_S:
            last = time.monotonic()
            tell(done)

    return maybe


def _orders() -> Iterator[dict[str, Any]]:
    """Yield the orders from stdin. A thread watches stdin and ends the process when stdin ends, even during work."""
    lines: SimpleQueue[bytes] = SimpleQueue()

    def watch() -> None:
        for line in sys.stdin.buffer:
            lines.put(line)
        os._exit(0)

    Thread(target=watch, name="mien-orders", daemon=True).start()
    while True:
        yield json.loads(lines.get())


if __name__ == "__main__":
    try:
        main()
    except Exception:
        traceback.print_exc()
        os._exit(1)  # at once: a normal exit would wait for the thread on stdin, and crash with another message
