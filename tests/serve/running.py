"""A real service on a free loopback port: in a thread of this process, or as the command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mien.pipeline import Pipeline
from mien.serve.app import create_app
from mien.serve.server import Server, address_of, listen
from mien.serve.settings import Settings

START_S = 60


@contextmanager
def running(pipeline: Pipeline | None = None, **settings: Any) -> Iterator[str]:
    """Give the address of a service that runs in a thread, and stop it gracefully."""
    chosen = Settings(**{"port": 0, **settings})
    app = create_app(chosen, pipeline)
    ready = threading.Event()
    server = Server(app, chosen, on_start=ready.set)
    listener = listen(chosen)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        assert ready.wait(START_S), "the service did not start"
        yield address_of(listener)
    finally:
        server.handle_exit(15, None)
        thread.join(START_S)
        listener.close()
        assert not thread.is_alive(), "the service did not stop"


class Process:
    """``mien serve`` as a person starts it."""

    def __init__(self, *arguments: object, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mien", "serve", "--port", "0", *map(str, arguments)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.log: list[str] = []
        self.address = self._address()
        self._reader = threading.Thread(target=lambda: self.log.extend(self._stderr()), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 60) -> int:
        status = self._process.wait(timeout_s)
        self._reader.join()
        self._stderr().close()
        return status

    def _address(self) -> str:
        for line in self._stderr():
            self.log.append(line)
            if line.startswith("Mien is at "):
                return line.split()[3]
        raise AssertionError(f"the service did not start: {self.log}")

    def _stderr(self) -> Any:
        return self._process.stderr


@contextmanager
def process(*arguments: object, **environment: str) -> Iterator[Process]:
    """Give a service in a process of its own; it is killed at the end if it still runs."""
    started = Process(*arguments, **environment)
    try:
        yield started
    finally:
        if started._process.poll() is None:
            started.signal(9)
            started.wait()
