"""The local engine: one worker process per core. Each has its own thread here that sends it shards."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread

from mien.batch.settings import Settings
from mien.batch.workers import Done, Task, Worker
from mien.errors import UsageError

Tell = Callable[[int, int], None]


class LocalEngine:
    """Worker processes on this machine; one per core if ``workers`` is None."""

    name = "local"

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise UsageError(f"expected 1 worker or more, got {workers}")
        self.workers = workers or os.cpu_count() or 1

    def run(self, tasks: Iterable[Task], settings: Settings, scratch: Path, tell: Tell) -> Generator[Done]:
        """Yield shards when they are finished; see :class:`mien.batch.job.Engine`.

        Raises:
            JobError: see :meth:`mien.batch.workers.Worker.run`.
        """
        shared = _Shared(iter(tasks))
        crew = [Worker(settings) for _ in range(self.workers)]
        threads = [Thread(target=_work, args=(worker, shared, scratch, tell), name="mien-batch", daemon=True) for worker in crew]
        for thread in threads:
            thread.start()
        idle = 0
        try:
            while idle < len(crew):
                done = shared.done.get()
                if isinstance(done, BaseException):
                    raise done
                if done is None:
                    idle += 1
                else:
                    yield done
        finally:
            shared.stopped.set()
            for worker in crew:
                worker.stop()
            for thread in threads:
                thread.join()


class _Shared:
    """The state that the threads share."""

    def __init__(self, tasks: Iterator[Task]) -> None:
        self._tasks, self._lock = tasks, Lock()
        self.done: SimpleQueue[Done | BaseException | None] = SimpleQueue()
        self.stopped = Event()

    def next_task(self) -> Task | None:
        with self._lock:
            return None if self.stopped.is_set() else next(self._tasks, None)


def _work(worker: Worker, shared: _Shared, scratch: Path, tell: Tell) -> None:
    try:
        while (task := shared.next_task()) is not None:
            shared.done.put(worker.run(task, scratch / f"shard-{task.shard:06d}.part", partial(tell, task.shard)))
    except BaseException as error:  # raised again in the thread that waits for the shards
        shared.done.put(error)
    else:
        shared.done.put(None)
    finally:
        worker.close()
