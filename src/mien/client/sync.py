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
    """Calls a service as if its pipeline were local. Threads may share a client. Close it, or use it in a ``with`` block."""

    def __init__(self, base_url: str = ADDRESS, *, api_key: str | None = None, timeout_s: float = 60, retries: int = 4) -> None:
        """Create a client that connects at its first call.

        Args:
            base_url: address of the service.
            api_key: API key of the service, if it needs one.
            timeout_s: longest time without progress in one request, in seconds.
            retries: how often a request is repeated if the service is busy or not reachable. The pauses become longer.
        """
        self._base_url, self._key, self._retries, self._timeout_s = base_url, api_key, retries, timeout_s
        self._http = httpx.Client(base_url=base_url, headers=headers_of(api_key), timeout=timeout_of(timeout_s))

    def analyze(self, photo: Photo, *, max_faces: int | None = None) -> FrameResult:
        """Return the faces of one photo, given as a path or as the bytes of an encoded picture.

        Raises:
            ServiceError: the service refuses the photo, fails, or does not answer.
            MediaError: the file cannot be read on this machine.
        """
        return self._do(flows.analyze(photo, {"max_faces": max_faces}, self._retries))

    def analyze_many(self, photos: Sequence[Photo], *, max_faces: int | None = None) -> list[Record]:
        """Return one record per photo, in order. A photo that is missing, too large or unreadable gives an error record.

        If the photos are too many or too large for one request, they are sent in several. If the service fails or does not answer, the
        errors are those of :meth:`analyze`.
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
        """Return one record per frame of a video file. Afterwards the service deletes the video and its results.

        Args:
            path: path of the video.
            every_s: seconds between analysed frames; every frame if None.
            annotated: path of an ``.mp4`` file for a copy with boxes and labels.
            on_progress: called with the state of the job from time to time.

        Raises:
            ServiceError: the service refuses the video or does not answer, or the job fails.
            NotFoundError: the file does not exist.
            UsageError: the folder for the annotated copy does not exist.
        """
        copy = Path(annotated) if annotated else None
        address = self._do(flows.hand_in(Path(path), every_s, copy, self._retries))
        try:
            return self._do(flows.outcome(address, copy, on_progress, self._retries))
        finally:
            self._do(flows.remove(address))

    def models(self) -> list[dict[str, Any]]:
        """Return the models of the service, as ``/v1/models`` lists them."""
        return self._do(flows.models(self._retries))

    def stream(self, frames: Iterable[bytes], *, max_faces: int | None = None, smoothing_s: float | None = None) -> Iterator[Record]:
        """Yield one record per frame, with track ids. The next encoded frame is taken after the answer to the previous frame.

        Raises:
            ServiceError: the service ends the stream, or cannot be reached.
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
        """Close the connections."""
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
