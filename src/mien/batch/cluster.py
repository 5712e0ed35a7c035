"""The Ray engine: runs the same shards with the same workers on one machine or a cluster. Each actor of a Ray Data pool has one worker.

Nodes receive lines of the plan and return finished parts. So they need no shared file system for the job's folder, and the object store
holds only a few parts at a time. If a node dies, nothing is lost: its shards run again on another node, with the same bytes as a result.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import tempfile
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mien.batch.settings import Settings
from mien.batch.tally import Tally
from mien.batch.workers import Done, Task, Worker
from mien.errors import JobError, MienError, MissingExtraError, UsageError

CONNECT_WITHIN_S = 10.0
STARTS = 3  # a busy machine may take longer than the 30 s that Ray gives its own processes
OBJECT_STORE_BYTES = 200_000_000  # for a cluster that is started here; parts in transit use 1 % of it

NO_PROXY_ANSWERS = {"http_proxy": "http://127.0.0.1:9", "grpc_proxy": "", "no_grpc_proxy": "*"}  # port 9 is "discard"


class RayEngine:
    """Actors of Ray Data: one per core, or one per GPU if the providers need a GPU; at most ``workers`` of them."""

    name = "ray"

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        """Store the address and the size of the pool.

        Args:
            address: address of a running cluster; None starts a new one on this machine only.
            workers: maximum number of actors; if None, as many as the cluster has resources for.

        Raises:
            UsageError: ``workers`` is below 1.
            MissingExtraError: Ray is not installed.
        """
        if workers is not None and workers < 1:
            raise UsageError(f"expected 1 worker or more, got {workers}")
        self._address, self._workers = address, workers
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send nothing out of this machine without a request by the user
        try:
            import ray.data  # noqa: F401
        except ModuleNotFoundError:
            raise MissingExtraError("ray", "ray") from None

    def run(self, tasks: Iterable[Task], settings: Settings, scratch: Path, tell: object) -> Generator[Done]:  # noqa: ARG002
        """Yield shards when they are finished; see :class:`mien.batch.job.Engine`. Progress within a shard is not reported.

        Raises:
            JobError: the cluster cannot be reached, has lost its last node, or a worker had to stop.
        """
        import ray
        from ray.data import DataContext

        self._connect()
        try:
            context = DataContext.get_current()
            context.enable_progress_bars = False
            context.print_on_execution_start = False
            rows = [{"shard": task.shard, "lines": zlib.compress(task.lines)} for task in tasks]
            finished = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                _ShardActor,
                fn_constructor_args=(settings.to_dict(),),
                batch_size=1,
                batch_format="numpy",
                num_cpus=1,
                num_gpus=1 if _wants_gpu(settings) else None,
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(self._workers or len(rows), len(rows))),
            )
            for row in finished.iter_rows():
                yield _done(row)
        except ray.exceptions.RayError as error:
            raise JobError(f"the cluster gave up ({_last_line(error)}); the same command goes on with what is left") from None
        finally:
            ray.shutdown()

    def _connect(self) -> None:
        import ray

        where: dict[str, Any] = {"address": self._address}
        if self._address is not None:
            _check_answers(self._address)
        if self._address is None:
            cores = self._workers or os.cpu_count()
            where = {"address": "local", "num_cpus": cores, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
        for tries_left in reversed(range(STARTS)):
            try:
                with _without_questions():
                    ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
                return
            except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError, TimeoutError, and Exception itself
                ray.shutdown()
                if not tries_left:
                    raise JobError(f"expected a Ray cluster at {self._address or 'this machine'}, got none ({_last_line(error)})") from None


@contextmanager
def _without_questions() -> Iterator[None]:
    """Start Ray's head process with a proxy that never answers.

    Even without usage statistics, this process looks up the metadata server of a cloud, for a report that is never sent. Ray has no
    setting to prevent it. Nothing else in that process uses http, and the processes that read inputs do not inherit the proxy.
    """
    from ray._private import services

    start = services.start_api_server

    def start_head(*arguments: Any, **options: Any) -> Any:
        before = {name: os.environ.get(name) for name in NO_PROXY_ANSWERS}
        os.environ.update(NO_PROXY_ANSWERS)
        try:
            return start(*arguments, **options)
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    services.start_api_server = start_head
    try:
        yield
    finally:
        services.start_api_server = start


class _ShardActor:
    """One actor: a worker process that runs the shards given to it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._worker = Worker(Settings.from_dict(settings))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Return the result of the one shard in the batch. A deliberate error is returned as text, so that Ray does not retry."""
        task = Task(int(batch["shard"][0]), zlib.decompress(batch["lines"][0]))
        with tempfile.TemporaryDirectory(prefix="mien-batch-") as scratch:
            part = Path(scratch) / "part"
            try:
                done = self._worker.run(task, part)
            except MienError as error:
                return {"shard": [task.shard], "tally": [""], "sha256": [""], "content": [b""], "error": [str(error)]}
            content = part.read_bytes()
        return {
            "shard": [done.shard],
            "tally": [json.dumps(done.tally.to_dict())],
            "sha256": [done.sha256],
            "content": [content],
            "error": [""],
        }


def _done(row: dict[str, Any]) -> Done:
    if row["error"]:
        raise JobError(row["error"])
    return Done(int(row["shard"]), Tally.from_dict(json.loads(row["tally"])), row["sha256"], len(row["content"]), content=row["content"])


def _check_answers(address: str) -> None:
    """Raise JobError if no server listens at the address. Ray would end the whole process after some time."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # a word that Ray resolves, such as auto
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_WITHIN_S).close()
    except OSError as error:
        raise JobError(
            f"expected a Ray cluster at {address}, got none ({error.strerror or error}); start one or check the address"
        ) from None


def _wants_gpu(settings: Settings) -> bool:
    return any("CUDA" in provider or "Tensorrt" in provider or "ROCM" in provider for provider in settings.providers)


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
