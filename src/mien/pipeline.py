"""Connects all steps: read, detect, align, classify, track.

:func:`analyze` is for a single call. :class:`Pipeline` keeps the models loaded for everything else.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.align import chip
from mien.arrays import Frame
from mien.bundles import DEFAULT, open_bundle
from mien.classify import Classifier
from mien.detect import Detection, Detector, find_detector
from mien.detect.base import SURE_FACE
from mien.detect.find import AUTO, MinFace, check_min_face, find_faces, size_note
from mien.errors import DetectorError, MienError, UsageError
from mien.face_tracker import DETECT_EVERY, FaceTracker
from mien.media.images import ReadLimits, display_name, read_photo
from mien.media.sources import Source
from mien.media.video import VideoFrame
from mien.prefetch import prefetch
from mien.results import CUT_NOTE, Emotions, ErrorResult, Face, FrameResult, ModelRef, Record
from mien.runtime import check_threads
from mien.track import TIME_CONSTANT_S, Smoother

# The classifier runs when this many faces, or this many photos, are ready: full batches for crowds, regular output otherwise.
FACES_AHEAD = 32
PHOTOS_AHEAD = 16


def analyze(
    image: Any, *, model: str | Path = DEFAULT, detector: str = "auto", min_face: MinFace = AUTO, limits: ReadLimits | None = None
) -> FrameResult:
    """Return every face of one photo with its emotions. The pipeline is built at the first call and then kept.

    Args:
        image: path, http(s) URL, encoded bytes, RGB array uint8 (H, W, 3), or a Pillow image.
        model: a shipped model's name or a bundle folder.
        detector: ``auto`` or the path of a YuNet file.
        min_face: smaller faces (shorter side of the box, pixels) are left out; see :class:`Pipeline`.

        limits: bounds on what is read.

    Raises:
        MediaError: the input is not a readable picture.
        BundleError: there is no such model.

    >>> from mien.assets import demo_photo
    >>> result = analyze(demo_photo())
    >>> len(result.faces), result.faces[0].top
    (1, 'happy')
    """
    return _kept_pipeline(str(model), detector, min_face, limits).analyze(image)


@lru_cache(maxsize=4)
def _kept_pipeline(model: str, detector: str, min_face: MinFace, limits: ReadLimits | None) -> Pipeline:
    return Pipeline(model=model, detector=detector, min_face=min_face, limits=limits)


class Pipeline:
    """A loaded detector and classifier; several threads may share one pipeline.

    ``model`` is the name and version of the weights, and ``classifier`` holds them.
    """

    def __init__(
        self,
        *,
        model: str | Path = DEFAULT,
        detector: str | Detector = "auto",
        classifier: Classifier | None = None,
        min_face: MinFace = AUTO,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        limits: ReadLimits | None = None,
        on_photo: Callable[[str, float], None] | None = None,
    ) -> None:
        """Load the parts that are not passed in.

        Args:
            model: a shipped model's name or a bundle folder; ignored when ``classifier`` is given.
            detector: a name for :func:`mien.detect.find_detector`, or any :class:`mien.detect.Detector`.
            classifier: a loaded classifier to share.
            min_face: minimum shorter side of a reported face, in pixels of the original photo. With a number, a large photo is searched
                in tiles if this size needs it. With ``auto``, every photo is searched once, as a whole. The minimum is then 20 px, or
                1/96 of the photo's longer side if that is larger; in this case the record has a note.
            threads: CPU threads in total; every core if None.
            providers: onnxruntime execution providers by name.
            limits: bounds on what is read.
            on_photo: receives the name of every photo of :meth:`analyze_many` and the seconds for reading and detection. It is called in
                the thread that did this work.

        Raises:
            BundleError, DetectorError, UsageError: the model or the detector cannot be loaded, or an argument is out of range.
        """
        check_threads(threads)
        self._workers = threads or os.cpu_count() or 1
        self.classifier = classifier or Classifier(open_bundle(model), threads=threads, providers=providers)
        self._detector = find_detector(detector, 1, self._workers) if isinstance(detector, str) else detector
        self._min_face = check_min_face(min_face)
        self._limits = limits or ReadLimits()
        self._on_photo = on_photo
        self.model = ModelRef(self.classifier.spec.name, self.classifier.spec.version)

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's labels, in the order of its probabilities."""
        return self.classifier.spec.labels

    def analyze(self, image: Any) -> FrameResult:
        """Return every face of one photo, largest first.

        Args:
            image: as in :func:`analyze`, or a :class:`mien.media.sources.Source`.

        Raises:
            MediaError: the input is not a readable picture.
        """
        return self.finish([self.prepare(image)])[0]

    def analyze_many(self, images: Iterable[Any]) -> Iterator[Record]:
        """Yield one record per input, in their order. An input that cannot be read gives an :class:`ErrorResult`.

        Several threads read photos and detect faces, and the classifier takes the faces of many photos in one batch. Only a few photos
        are in memory at a time, however long ``images`` is.
        """
        return (record for record, _ in self._run(images, keep_frames=False))

    def analyze_with_frames(self, images: Iterable[Any]) -> Iterator[tuple[Record, Frame | None]]:
        """Yield (record, RGB frame uint8 (H, W, 3)), for callers that draw. The frame of an error record is None."""
        return self._run(images, keep_frames=True)

    def prepare(self, image: Any, keep_frame: bool = False) -> Prepared:
        """Return one photo after detection, ready for :meth:`finish`; for callers that batch the faces of many photos themselves.

        Args:
            image: as in :func:`analyze`, or a :class:`mien.media.sources.Source`.
            keep_frame: also keep the pixels of the photo.

        Raises:
            MediaError: the input is not a readable picture.
            DetectorError: the detector returned landmarks that cannot be a face.
        """
        photo = read_photo(image.data if isinstance(image, Source) else image, limits=self._limits)
        frame = photo.frame_rgb
        faces = find_faces(self._detector, frame, self._min_face)
        chips = self._chips(frame, faces)
        height, width = frame.shape[:2]
        notes = photo.notes + size_note(self._min_face, width, height)
        return Prepared(_name(image), width, height, faces, chips, notes, frame if keep_frame else None)

    def _chips(self, frame_rgb: Frame, faces: Sequence[Detection]) -> list[NDArray[np.uint8]]:
        try:
            return [chip(frame_rgb, face.landmarks, self.classifier.spec) for face in faces]
        except ValueError as error:
            raise DetectorError(f"{self._detector.name} gave landmarks that are no face's ({error}); try another detector") from None

    def finish(self, prepared: Sequence[Prepared]) -> list[FrameResult]:
        """Return one record per prepared photo. The faces of all photos are classified in the same batches."""
        chips = [one for item in prepared for one in item.chips]
        rows = iter(self.classifier.probabilities(np.stack(chips)) if chips else ())
        results = []
        for item in prepared:
            faces = []
            for detection in item.faces:
                emotions = self.classifier.emotions(next(rows))
                uncertain = self._is_uncertain(emotions, detection.score)
                faces.append(Face(detection.box_xyxy, detection.score, detection.landmarks, emotions, uncertain))
            results.append(FrameResult(item.source, item.width, item.height, tuple(faces), self.model, notes=item.notes))
        return results

    def stream(
        self,
        frames: Iterable[VideoFrame],
        *,
        source: str = "<stream>",
        detect_every: int = DETECT_EVERY,
        live: bool = False,
        max_faces: int | None = None,
        smoothing_s: float = TIME_CONSTANT_S,
    ) -> Generator[FrameResult]:
        """Yield one record per frame of a video, with track ids and smoothed probabilities.

        All ids end at a cut, and smoothing with them: nothing of the picture before goes into the picture after. The first frame after a
        cut has :data:`mien.results.CUT_NOTE` in its notes.

        Reading, detection and classification each run in their own thread, a few frames ahead of the caller. Close the iterator to stop
        early. ``uncertain`` is computed from the smoothed probabilities and the score in this frame. An exception of ``frames`` is raised
        after the records of the frames before it.

        Args:
            frames: in the order of their times, for example from :meth:`mien.media.video.Video.frames`.
            source: the source name in the records; a frame that is a picture file has the name of this file instead.
            detect_every: frames from one search for new faces to the next, see :class:`mien.face_tracker.FaceTracker`; 1 is slowest
                and misses fewest faces.
            live: take a frame only when the previous frame is finished, so that results have no delay. For cameras; slower.
            max_faces: maximum number of faces reported per frame, largest first; all if None.
            smoothing_s: time constant of the smoothing, in seconds.

        Raises:
            UsageError: ``detect_every`` or ``max_faces`` is below 1, or ``smoothing_s`` is zero or negative.
            DetectorError: the detector returned landmarks that cannot be a face.
        """
        options: dict[str, Any] = {"detect_every": detect_every, "live": live, "max_faces": max_faces, "smoothing_s": smoothing_s}
        return (result for result, _ in self.stream_with_frames(frames, source=source, **options))

    def stream_with_frames(
        self,
        frames: Iterable[VideoFrame],
        *,
        source: str = "<stream>",
        detect_every: int = DETECT_EVERY,
        live: bool = False,
        max_faces: int | None = None,
        smoothing_s: float = TIME_CONSTANT_S,
    ) -> Generator[tuple[FrameResult, Frame]]:
        """Yield (record, RGB frame uint8 (H, W, 3)) as :meth:`stream` does, for callers that draw."""
        if max_faces is not None and max_faces < 1:
            raise UsageError(f"expected max_faces of 1 or more, got {max_faces}; leave it out for all faces")
        tracker = FaceTracker(self._detector, min_face=self._min_face, detect_every=detect_every)
        smoother = Smoother(smoothing_s)
        if live:
            return self._steady(self._follow(frames, tracker, source, max_faces), smoother)
        return prefetch(self._steady(prefetch(self._follow(prefetch(frames), tracker, source, max_faces)), smoother))

    def _follow(self, frames: Iterable[VideoFrame], tracker: FaceTracker, source: str, max_faces: int | None) -> Iterator[_Followed]:
        for frame in frames:
            height, width = frame.frame_rgb.shape[:2]
            found = tracker.find(frame.time_s, frame.frame_rgb)[:max_faces]
            faces = tuple(face for face, _ in found)
            chips = self._chips(frame.frame_rgb, faces)
            notes = frame.notes + ((CUT_NOTE,) if tracker.after_cut else ())
            prepared = Prepared(frame.picture or source, width, height, faces, chips, notes, frame.frame_rgb)
            yield _Followed(frame, tuple(track_id for _, track_id in found), prepared)

    def _steady(self, followed: Iterable[_Followed], smoother: Smoother) -> Generator[tuple[FrameResult, Frame]]:
        for item in followed:
            time_s = item.frame.time_s
            (result,) = self.finish([item.prepared])
            if result.after_cut:
                smoother.clear()
            faces = (self._smoothed(*pair, time_s, smoother) for pair in zip(result.faces, item.track_ids, strict=True))
            smoother.forget(time_s)
            yield replace(result, frame_index=item.frame.index, time_s=time_s, faces=tuple(faces)), item.frame.frame_rgb

    def _smoothed(self, face: Face, track_id: int | None, time_s: float, smoother: Smoother) -> Face:
        if track_id is None:
            return face
        smoothed = Emotions(self.labels, smoother.smooth(track_id, time_s, face.emotions.probabilities))
        return replace(face, track_id=track_id, smoothed=smoothed, uncertain=self._is_uncertain(smoothed, face.score))

    def _is_uncertain(self, emotions: Emotions, score: float) -> bool:
        return self.classifier.is_uncertain(emotions) or score < SURE_FACE

    def _run(self, images: Iterable[Any], keep_frames: bool) -> Iterator[tuple[Record, Frame | None]]:
        queue: deque[Future[Prepared | ErrorResult]] = deque()
        waiting: list[Prepared | ErrorResult] = []
        source = iter(images)
        ahead = 2 * self._workers
        with ThreadPoolExecutor(self._workers, thread_name_prefix="mien-photos") as pool:
            try:
                while True:
                    for image in itertools.islice(source, ahead - len(queue)):
                        queue.append(pool.submit(self._attempt, image, keep_frames))
                    if not queue:
                        break
                    waiting.append(queue.popleft().result())
                    faces = sum(len(item.chips) for item in waiting if isinstance(item, Prepared))
                    if faces >= FACES_AHEAD or len(waiting) >= (ahead if keep_frames else PHOTOS_AHEAD):
                        yield from self._flush(waiting)
                yield from self._flush(waiting)
            finally:
                for future in queue:
                    future.cancel()

    def _flush(self, waiting: list[Prepared | ErrorResult]) -> Iterator[tuple[Record, Frame | None]]:
        results = iter(self.finish([item for item in waiting if isinstance(item, Prepared)]))
        for item in waiting:
            yield (item, None) if isinstance(item, ErrorResult) else (next(results), item.frame)
        waiting.clear()

    def _attempt(self, image: Any, keep_frame: bool) -> Prepared | ErrorResult:
        if isinstance(image, ErrorResult):
            return image
        began = time.perf_counter()
        try:
            return self.prepare(image, keep_frame)
        except MienError as error:
            return ErrorResult(_name(image), error.code, str(error))
        finally:
            if self._on_photo:
                self._on_photo(_name(image), time.perf_counter() - began)


@dataclass(frozen=True)
class Prepared:
    """One photo after detection, before classification. ``chips`` are uint8 (S, S) or (S, S, 3), one per face, largest face first."""

    source: str
    width: int
    height: int
    faces: tuple[Detection, ...]
    chips: Sequence[NDArray[np.uint8]]
    notes: tuple[str, ...]
    frame: Frame | None


@dataclass(frozen=True)
class _Followed:
    """One video frame after detection and tracking."""

    frame: VideoFrame
    track_ids: tuple[int | None, ...]
    prepared: Prepared


def _name(image: Any) -> str:
    if isinstance(image, Source):
        return image.name
    if isinstance(image, (str, os.PathLike)):
        return display_name(os.fsdecode(image))
    return f"<{type(image).__name__}>"
