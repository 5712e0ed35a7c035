"""What every setting of the service does: for the flags of ``mien serve``, the settings themselves and docs/service.md."""

from __future__ import annotations

from typing import Any, NamedTuple


class Setting(NamedTuple):
    """What holds if nothing is said, and what it is for."""

    default: Any
    description: str

    @property
    def help(self) -> str:
        """The description with the default, unless that is nothing."""
        return self.description if self.default in (None, (), False) else f"{self.description} Default: {self.default}."


SETTINGS = {
    "host": Setting("127.0.0.1", "Address to listen on."),
    "port": Setting(8000, "Port to listen on; 0 takes a free one."),
    "model": Setting("default", "A shipped model's name, or a bundle folder."),
    "detector": Setting("auto", "auto, or a YuNet .onnx file."),
    "min_face": Setting(
        "auto", "Shorter side of the smallest face, in pixels; auto means 20, or a 96th of the picture's longer side where that is more."
    ),
    "workers": Setting(None, "Threads that read photos and search them for faces; one a core if not set."),
    "model_threads": Setting(None, "Threads of one classification; a quarter of the cores if not set."),
    "batch_wait_ms": Setting(3, "How long a found face waits for others to be classified with, in ms."),
    "max_batch": Setting(32, "Faces of several callers that are classified together at most; 1 classifies every photo alone."),
    "max_in_flight": Setting(64, "Requests with photos or videos at once; more are told to come back."),
    "max_connections": Setting(1024, "Open connections at once."),
    "max_bytes": Setting(20_000_000, "Size of one photo, in bytes."),
    "max_body_bytes": Setting(100_000_000, "Size of one request with several photos, in bytes."),
    "max_files": Setting(32, "Photos in one request."),
    "max_pixels": Setting(40_000_000, "Width times height of a photo or a video's frame."),
    "max_faces": Setting(100, "Faces reported for one photo or frame, the largest ones."),
    "max_explained": Setting(8, "Faces of one photo that get a heat map, the largest ones."),
    "body_timeout_s": Setting(30, "Time in which a request's head, and after it its photos, must have arrived, in seconds."),
    "stop_timeout_s": Setting(30, "How long running requests may take when the service is stopped, in seconds."),
    "max_streams": Setting(8, "Live sockets at once."),
    "max_frame_bytes": Setting(4_000_000, "Size of one frame on a live socket, in bytes."),
    "stream_idle_s": Setting(60, "A live socket without frames is closed after so many seconds."),
    "max_video_bytes": Setting(500_000_000, "Size of one video, in bytes."),
    "max_video_s": Setting(1800, "Length of one video, in seconds."),
    "video_body_timeout_s": Setting(600, "Time in which a video must have arrived, in seconds."),
    "video_workers": Setting(1, "Videos that are analysed at the same time."),
    "max_jobs": Setting(8, "Videos waiting or running; more are told to come back."),
    "max_kept_jobs": Setting(32, "Finished videos kept; the oldest goes first."),
    "job_ttl_s": Setting(3600, "How long a finished video's results are kept, in seconds."),
    "jobs_dir": Setting(None, "Keep videos and results here, also across restarts; if not set, nothing stays."),
    "api_keys": Setting(
        (),
        "SHA-256 of each key that opens the service, from mien serve --new-key; open if there is none. "
        "Several: --api-key again, or MIEN_API_KEYS with commas.",
    ),
    "cors_origins": Setting(
        (),
        "Other web sites whose pages may call the service, such as https://example.org; * is any. "
        "Several: --cors-origin again, or MIEN_CORS_ORIGINS with commas.",
    ),
    "allowed_hosts": Setting(
        (),
        "Names that the service answers to, beside the one it listens on; * is any. "
        "Several: --allowed-host again, or MIEN_ALLOWED_HOSTS with commas.",
    ),
    "allow_url": Setting(False, "Fetch pictures from public web addresses that callers name."),
    "url_timeout_s": Setting(10, "Time for such a download, in seconds."),
}
