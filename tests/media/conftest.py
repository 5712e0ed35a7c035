from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from tests.media.pictures import corners

PICTURE = corners("PNG")


class Gallery(BaseHTTPRequestHandler):
    """A real server of one picture and of every bad answer that a server gives."""

    stopping = Event()

    def do_GET(self) -> None:
        path, _, rest = self.path.lstrip("/").partition("/")
        getattr(self, f"answer_{path.partition('.')[0].replace('-', '_')}")(rest)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        """Say nothing on stderr."""

    def answer(self, body: bytes, kind: str = "image/png", length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def redirect(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.end_headers()

    def answer_picture(self, _: str) -> None:
        self.answer(PICTURE)

    def answer_untyped(self, _: str) -> None:
        self.answer(PICTURE, "application/octet-stream")

    def answer_no_length(self, _: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(PICTURE)

    def answer_with_space(self, rest: str) -> None:
        self.answer(PICTURE if rest == "a%20b%C3%A9.png?size=%20big" else b"")

    def answer_hops(self, left: str) -> None:
        self.redirect(f"/hops/{int(left) - 1}" if int(left) else "/picture.png")

    def answer_loop(self, _: str) -> None:
        self.redirect("/loop")

    def answer_to_file(self, _: str) -> None:
        self.redirect("file:///etc/passwd")

    def answer_to_ftp(self, _: str) -> None:
        self.redirect("ftp://127.0.0.1/a.jpg")

    def answer_locked(self, _: str) -> None:
        if self.headers.get("Authorization") == "Basic " + b64encode(b"ann:s@fe/ty").decode():
            self.answer(PICTURE)
        else:
            self.send_error(401)

    def answer_to_locked(self, _: str) -> None:
        self.redirect("/locked")

    def answer_to_locked_with_login(self, _: str) -> None:
        self.redirect(f"http://ann:s%40fe%2Fty@{self.headers['Host']}/locked")

    def answer_to_locked_elsewhere(self, _: str) -> None:
        self.redirect(f"http://localhost:{self.headers['Host'].partition(':')[2]}/locked")

    def answer_status(self, status: str) -> None:
        self.send_error(int(status))

    def answer_page(self, _: str) -> None:
        self.answer(b"<html>Please log in</html>", "text/html; charset=utf-8")

    def answer_nothing(self, _: str) -> None:
        self.answer(b"")

    def answer_text(self, _: str) -> None:
        self.answer(b"no picture today", "image/png")

    def answer_cut(self, _: str) -> None:
        self.answer(PICTURE[:50], length=len(PICTURE))

    def answer_says_huge(self, _: str) -> None:
        self.answer(b"", length=10**12)

    def answer_endless(self, _: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.drip(b"\0" * 100_000, pause_s=0)

    def answer_silent(self, _: str) -> None:
        self.stopping.wait(5)

    def answer_slow_body(self, _: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.drip(b"\0", pause_s=0.02)

    def answer_slow_headers(self, _: str) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Filler: ")
        self.drip(b"x", pause_s=0.02)

    def answer_not_http(self, _: str) -> None:
        self.wfile.write(b"220 ready\r\n")

    def drip(self, piece: bytes, pause_s: float) -> None:
        try:
            while not self.stopping.wait(pause_s):
                self.wfile.write(piece)
        except OSError:  # the reader has had enough
            self.close_connection = True


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of the gallery, on this machine."""
    Gallery.stopping.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Gallery) as gallery:
        gallery.daemon_threads = True
        Thread(target=gallery.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{gallery.server_port}"
        Gallery.stopping.set()
        gallery.shutdown()
