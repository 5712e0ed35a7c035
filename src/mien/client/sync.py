"""The client for programs without ``async``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx
from websockets.sync.client import connect

from mien.client import flows
from mien.client.flows import Answer, Call, Flow, Pause, Photo, T
from mien.client.transport import ADDRESS, answer_of, failure_of, headers_of, open_files, reaching, saving, timeout_of
from mien.results import FrameResult, Record


class Client:
    """A service's pipeline as if it were here. Safe to share between threads; close it, or use it in a ``with`` block."""

    def __init__(self, base_url: str = ADDRESS, *, api_key: str | None = None, timeout_s: float = 60, retries: int = 4) -> None:
        """Connect when first used.

        Args:
            base_url: where the service is.
            api_key: the key that opens it, if it has one.
            timeout_s: how long one request may stall.
            retries: how often a request is repeated when the service is full or away; the pauses grow.
        """
        self._base_url, self._key, self._retries, self._timeout_s = base_url, api_key, retries, timeout_s
        self._http = httpx.Client(base_url=base_url, headers=headers_of(api_key), timeout=timeout_of(timeout_s))

    def analyze(self, photo: Photo, *, max_faces: int | None = None) -> FrameResult:
        """Return the faces of one photo, a path or an encoded picture's bytes.

        Raises:
            ServiceError: the service refuses the photo, fails, or does not answer.
            MediaError: the file cannot be read here.
        """
        return self._do(flows.analyze(photo, {"max_faces": max_faces}, self._retries))

    def analyze_many(self, photos: Sequence[Photo], *, max_faces: int | None = None) -> list[Record]:
        """Return one record per photo, in their order. A photo that is missing, too large or unreadable gives an error record.

        Photos that are too many or too large together for one request are sent in smaller ones. Raises as :meth:`analyze` where the
        service itself fails or does not answer.
        """
        return self._do(flows.analyze_many(photos, {"max_faces": max_faces}, self._retries))

    def video(
        self,
        path: str | Path,
        *,
        every_s: float | None = None,
        annotated: str | Path | None = None,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> list[FrameResult]:
        """Return one record per frame of a video file. The service keeps nothing of it.

        Args:
            path: the video.
            every_s: analyse one frame every so many seconds; all if None.
            annotated: where a copy with boxes and labels goes, an ``.mp4`` file.
            on_progress: told the job's state now and then.

        Raises:
            ServiceError: the video was refused or broke, or the service does not answer.
            NotFoundError: no such file.
            UsageError: no folder for the annotated copy.
        """
        copy = Path(annotated) if annotated else None
        address = self._do(flows.hand_in(Path(path), every_s, copy, self._retries))
        try:
            return self._do(flows.outcome(address, copy, on_progress, self._retries))
        finally:
            self._do(flows.remove(address))

    def models(self) -> list[dict[str, Any]]:
        """Return the models that answer there, as ``/v1/models`` lists them."""
        return self._do(flows.models(self._retries))

    def stream(self, frames: Iterable[bytes], *, max_faces: int | None = None, smoothing_s: float | None = None) -> Iterator[Record]:
        """Yield one record per frame, with track ids. The next encoded frame is taken after the answer to the frame before.

        Raises:
            ServiceError: the service ends the stream, or is not there.
        """
        with ExitStack() as stack:
            with reaching():
                socket = stack.enter_context(connect(flows.live_address(self._base_url), compression=None, max_size=None))
                socket.send(flows.live_options(self._key, max_faces, smoothing_s))
            for frame in frames:
                with reaching():
                    socket.send(frame)
                    while (record := flows.live_record(json.loads(socket.recv(self._timeout_s)))) is None:
                        pass
                yield record

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, flow: Flow[T]) -> T:
        reply: Answer | None = None
        while True:
            try:
                step = flow.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                reply = None
            else:
                reply = self._call(step)

    def _call(self, call: Call) -> Answer:
        try:
            with ExitStack() as stack:
                files = open_files(call, stack)
                request = self._http.build_request(call.method, call.path, params=call.params, content=call.body, files=files)
                response = self._http.send(request, stream=True)
                stack.callback(response.close)
                if call.save_to and response.is_success:
                    with saving(call.save_to) as out:
                        for chunk in response.iter_bytes():
                            out.write(chunk)
                    return answer_of(response, b"")
                return answer_of(response, response.read())
        except httpx.TransportError as error:
            return failure_of(error)
