"""One pass over one video: yields one record per frame and writes the annotated copy. The CLI, the service and batch jobs use it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event

from mien.draw import annotate
from mien.errors import MediaError, TooLargeError
from mien.face_tracker import DETECT_EVERY
from mien.media.video import Clip
from mien.media.video_writer import VideoWriter
from mien.pipeline import Pipeline
from mien.results import ErrorResult, Record
from mien.timeline import Timeline

OTHER_RATE = 25.0  # frames per second of a copy if the source gives no rate


def video_records(
    pipeline: Pipeline,
    open_clip: Callable[[], Clip],
    *,
    name: str,
    every_s: float | None = None,
    detect_every: int = DETECT_EVERY,
    max_faces: int | None = None,
    max_s: float | None = None,
    annotated: Path | None = None,
    untrusted: bool = False,
    timeline: Timeline | None = None,
    stopped: Event | None = None,
    on_open: Callable[[float | None], None] | None = None,
    on_sound_lost: Callable[[str], None] | None = None,
) -> Generator[Record]:
    """Yield one record per frame of a video, in order, and an error record for each picture of a sequence that cannot be read.

    If the generator is closed early, or ``stopped`` ends it, the annotated copy has the frames so far.

    Args:
        pipeline: analyses the frames.
        open_clip: opens the video; its errors count as errors of the video.
        name: the name of the video in records and errors, instead of its path on this machine.
        every_s: seconds between analysed frames; every frame if None.
        detect_every: see :meth:`mien.pipeline.Pipeline.stream`.
        max_faces: maximum number of faces reported per frame, largest first; all if None.
        max_s: maximum accepted length of the video, in seconds; no limit if None.
        annotated: write a copy with boxes, labels and running graphs here, an ``.mp4`` file with the sound of the source.
        untrusted: read the sound with the limits of :class:`mien.media.video.Video` for untrusted files.
        timeline: receives every record; a new one is used for the graphs of the copy if None.
        stopped: an event; when it is set, the generator ends after the current frame.
        on_open: receives the length of the video in seconds, None if it is unknown.
        on_sound_lost: receives the reason why the copy has no sound, or less than the source.

    Raises:
        MediaError: the video cannot be read, or breaks off. The last record reports the same error. The copy has the frames before it.
        UsageError: ``annotated`` has another ending, or its folder cannot be written.
    """
    broken: MediaError | None = None
    clip: Clip | None = None
    time_s: float | None = None
    with ExitStack() as stack:
        try:
            clip = stack.enter_context(closing(open_clip()))
            left_out = _left_out(clip)
            if on_open:
                on_open(clip.duration_s)
            writer = stack.enter_context(_copy(annotated, clip, every_s, untrusted)) if annotated else None
            graphs = timeline or Timeline(pipeline.labels)
            stream = pipeline.stream_with_frames(clip.frames(every_s), source=name, detect_every=detect_every, max_faces=max_faces)
            for record, frame_rgb in stack.enter_context(closing(stream)):
                time_s = record.time_s
                check_length(time_s, max_s, name)
                if timeline or writer:
                    graphs.add(record)
                yield from left_out(record.frame_index)
                yield record
                if writer:
                    writer.write(time_s or 0.0, graphs.draw_graphs(annotate(frame_rgb, record), record))
                if stopped and stopped.is_set():
                    break
            else:
                if writer:
                    writer.write_rest_of_sound()
            if writer and writer.sound_lost and on_sound_lost:
                on_sound_lost(writer.sound_lost)
            yield from left_out(None)
        except MediaError as error:
            broken = named(error, clip.name, name) if clip else error
            if clip:
                yield from left_out(None)
            yield ErrorResult(name, broken.code, str(broken), time_s=time_s)
    if broken:  # raise only when the copy is complete
        raise broken


def check_length(seconds: float | None, max_s: float | None, name: str) -> None:
    """Raise TooLargeError if a video is longer than ``max_s``; None means unknown, or no limit."""
    if seconds is not None and max_s is not None and seconds > max_s:
        raise TooLargeError(f"expected at most {max_s:g} s of video, got more in {name}; cut it into pieces")


def named(error: MediaError, path: str, name: str) -> MediaError:
    """Return the error with ``name`` instead of ``path`` in its message: callers know the name, and only this machine knows the path."""
    told = str(error).replace(path, name)
    return error if told == str(error) else type(error)(told)


def _left_out(clip: Clip) -> Callable[[int | None], Iterator[ErrorResult]]:
    """Return a function that yields each unreadable picture once: those before a frame index, or all that are left if it is None."""
    done = 0

    def until(index: int | None) -> Iterator[ErrorResult]:
        nonlocal done
        while done < len(clip.left_out) and (index is None or (clip.left_out[done].frame_index or 0) < index):
            done += 1
            yield clip.left_out[done - 1]

    return until


def _copy(path: Path, clip: Clip, every_s: float | None, untrusted: bool) -> VideoWriter:
    rate = min(clip.rate or OTHER_RATE, 1 / every_s) if every_s else clip.rate
    return VideoWriter(path, rate=rate, sound_from=clip.sound_from, untrusted=untrusted)
