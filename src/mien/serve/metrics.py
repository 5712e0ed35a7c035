"""Counters and times for Prometheus. Each application has its own registry."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The metrics that ``/metrics`` returns."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("mien_requests", "Requests answered.", ("route", "status"), registry=self._registry)
        self.seconds = Histogram("mien_request_seconds", "Time to answer.", ("route",), buckets=SECONDS, registry=self._registry)
        self.in_flight = Gauge("mien_requests_in_flight", "Requests being answered.", registry=self._registry)
        self.faces = Counter("mien_faces", "Faces classified for photos.", registry=self._registry)
        self.batches = Histogram("mien_batch_photos", "Photos whose faces shared a batch.", buckets=SIZES, registry=self._registry)
        self.streams = Gauge("mien_streams", "Live sockets open.", registry=self._registry)
        self.frames = Counter("mien_stream_frames", "Frames of live sockets.", ("fate",), registry=self._registry)
        self.videos = Counter("mien_videos", "Videos, by how they ended.", ("state",), registry=self._registry)

    def on_batch(self, photos: int, faces: int) -> None:
        """Count one batch of the classifier."""
        self.batches.observe(photos)
        self.faces.inc(faces)

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)
