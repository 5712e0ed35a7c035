"""The default and the description of every setting, for the flags of ``mien serve``, the settings and docs/service.md."""

from __future__ import annotations

from typing import Any, NamedTuple


class Setting(NamedTuple):
    """The default of one setting, and its description."""

    default: Any
    description: str

    @property
    def help(self) -> str:
        """The description, with the default if there is one."""
        return self.description if self.default in (None, (), False) else f"{self.description} Default: {self.default}."


SETTINGS = {
    "host": Setting("127.0.0.1", "Address to listen on."),
    "port": Setting(8000, "Port to listen on; 0 takes a free one."),
    "model": Setting("default", "A shipped model's name, or a bundle folder."),
    "detector": Setting("auto", "auto, or a YuNet .onnx file."),
    "min_face": Setting(
        "auto", "Minimum shorter side of a face, in pixels. auto: 20, or 1/96 of the picture's longer side if that is larger."
    ),
    "workers": Setting(None, "Threads that read photos and find their faces. If not set: one per core."),
    "model_threads": Setting(None, "Threads for one classification. If not set: a quarter of the cores."),
    "batch_wait_ms": Setting(3, "How long a detected face waits for other faces, to be classified in one batch, in ms."),
    "max_batch": Setting(32, "Maximum number of faces of several callers in one batch; with 1, every photo is classified alone."),
    "max_in_flight": Setting(64, "Requests with photos or videos at the same time; more are refused as busy."),
    "max_connections": Setting(1024, "Open connections at the same time."),
    "max_bytes": Setting(20_000_000, "Maximum size of one photo, in bytes."),
    "max_body_bytes": Setting(100_000_000, "Maximum size of one request with several photos, in bytes."),
    "max_files": Setting(32, "Maximum number of photos in one request."),
    "max_pixels": Setting(40_000_000, "Maximum width times height of a photo or of a frame of a video."),
    "max_faces": Setting(100, "Maximum number of faces reported per photo or frame; the largest ones are kept."),
    "max_explained": Setting(8, "Maximum number of faces per photo that get a heat map; the largest ones get one."),
    "body_timeout_s": Setting(30, "Time in which the head of a request must arrive, and then again its photos, in seconds."),
    "stop_timeout_s": Setting(30, "How long running requests may still take when the service stops, in seconds."),
    "max_streams": Setting(8, "Live streams at the same time."),
    "max_frame_bytes": Setting(4_000_000, "Maximum size of one frame of a live stream, in bytes."),
    "stream_idle_s": Setting(60, "A live stream that sends no frame is closed after this time, in seconds."),
    "max_video_bytes": Setting(500_000_000, "Maximum size of one video, in bytes."),
    "max_video_s": Setting(1800, "Maximum length of one video, in seconds."),
    "video_body_timeout_s": Setting(600, "Time in which a video must arrive, in seconds."),
    "video_workers": Setting(1, "Videos that are analysed at the same time."),
    "max_jobs": Setting(8, "Videos that wait or run at the same time; more are refused as busy."),
    "max_kept_jobs": Setting(32, "Maximum number of finished videos that are kept; the oldest is removed first."),
    "job_ttl_s": Setting(3600, "How long the results of a finished video are kept, in seconds."),
    "jobs_dir": Setting(None, "Folder for videos and results, kept across restarts. If not set: nothing is kept after a stop."),
    "api_keys": Setting(
        (),
        "SHA-256 of each accepted key, as mien serve --new-key prints it. Without any, no key is needed. "
        "Several: --api-key again, or MIEN_API_KEYS with commas.",
    ),
    "cors_origins": Setting(
        (),
        "Other web sites whose pages may call the service, such as https://example.org; * allows any. "
        "Several: --cors-origin again, or MIEN_CORS_ORIGINS with commas.",
    ),
    "allowed_hosts": Setting(
        (),
        "Host names that the service accepts, beside the one it listens on; * allows any. "
        "Several: --allowed-host again, or MIEN_ALLOWED_HOSTS with commas.",
    ),
    "allow_url": Setting(False, "Download pictures from public web addresses that callers send."),
    "url_timeout_s": Setting(10, "Time limit of such a download, in seconds."),
}
