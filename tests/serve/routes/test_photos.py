"""``POST /v1/analyze`` against a running service: the same records as elsewhere, and a sentence for whatever is none."""

import base64
import io
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

from mien.results import ErrorResult, FrameResult, record_from_dict
from tests.media.pictures import corners, png_of_size, turned
from tests.serve.running import running

JPEG = {"Content-Type": "image/jpeg"}


def form(*files):
    return [("file", (name, data, "application/octet-stream")) for name, data in files]


def test_a_picture_as_the_body_gives_the_record_of_the_pipeline(http, pipeline, portrait):
    answer = http.post("/v1/analyze", content=portrait, headers=JPEG)
    assert answer.status_code == 200
    expected = pipeline.analyze(portrait)
    assert FrameResult.from_dict(answer.json() | {"source": expected.source}) == expected


def test_files_of_a_form_give_records_in_their_order_and_a_bad_one_stops_nobody(http, portrait):
    answer = http.post("/v1/analyze", files=form(("a.jpg", portrait), ("b.txt", b"Dear diary"), ("c.png", corners("PNG"))))
    records = [record_from_dict(record) for record in answer.json()["results"]]
    assert [record.source for record in records] == ["a.jpg", "b.txt", "c.png"]
    assert [len(records[0].faces), records[1].code, records[2].faces] == [1, "unsupported_media", ()]
    assert isinstance(records[1], ErrorResult)


def test_a_photo_is_turned_as_its_exif_data_say(http):
    assert http.post("/v1/analyze", content=turned(6), headers=JPEG).json()["width"] == 24


def test_only_the_largest_faces_are_reported_and_a_note_says_so(http, portrait):
    with Image.open(io.BytesIO(portrait)) as photo:
        face = photo.crop((120, 20, 330, 230))
    wide = Image.new("RGB", (500, 260), (90, 90, 90))
    wide.paste(face, (10, 20))
    wide.paste(face.resize((140, 140)), (300, 60))
    out = io.BytesIO()
    wide.save(out, "PNG")
    everybody = http.post("/v1/analyze", content=out.getvalue()).json()
    largest = http.post("/v1/analyze?max_faces=1", content=out.getvalue()).json()
    assert len(everybody["faces"]) == 2
    assert largest["faces"] == everybody["faces"][:1]
    assert largest["notes"] == ["the 1 largest of 2 faces"]


def test_an_explanation_is_a_picture_that_fits_where_it_says(http, portrait):
    (face,) = http.post("/v1/analyze?explain=true", content=portrait, headers=JPEG).json()["faces"]
    told = face["explanation"]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(told["png"]))))
    x0, y0, x1, y1 = told["box_xyxy"]
    assert picture.shape == (y1 - y0, x1 - x0, 3)
    assert x0 <= face["box_xyxy"][0]
    assert y1 >= face["box_xyxy"][3]
    assert told["label"] == face["top"]
    assert sum(told["parts"].values()) == pytest.approx(1)
    assert 0 < told["strongest"] < 0.1
    with Image.open(io.BytesIO(portrait)) as photo:
        plain = np.asarray(photo.convert("RGB"))[int(y0) : int(y1), int(x0) : int(x1)]
    assert np.abs(picture.astype(int) - plain).mean() < 60  # the same face ...
    assert np.ptp(picture.astype(int), axis=2).max() > 0  # ... in grey, with colours on it, which are faint where no part decides


CUT = corners("JPEG", quality=95)[:-400]
REFUSED = {
    "text": (b"Dear diary", JPEG, 415, "unsupported_media"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", {"Content-Type": "image/svg+xml"}, 415, "unsupported_media"),
    "zip": (b"PK\x03\x04" + b"\0" * 64, {"Content-Type": "application/zip"}, 415, "unsupported_media"),
    "nothing": (b"", JPEG, 422, "corrupt_media"),
    "cut short": (CUT, JPEG, 422, "corrupt_media"),
    "bomb": (png_of_size(40_000, 40_000), {"Content-Type": "image/png"}, 413, "too_large"),
    "too many bytes": (b"\xff\xd8\xff" + b"\0" * 1_000_000, JPEG, 413, "too_large"),
    "a web form": (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media"),
    "compressed": (b"\x1f\x8b", {**JPEG, "Content-Encoding": "gzip"}, 415, "unsupported_media"),
    "form without boundary": (b"--x", {"Content-Type": "multipart/form-data"}, 422, "malformed"),
    "form cut short": (
        b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc',
        {"Content-Type": "multipart/form-data; boundary=x"},
        422,
        "malformed",
    ),
    "form without files": (b"--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, 422, "malformed"),
    "another field": (
        b'--x\r\nContent-Disposition: form-data; name="../x"\r\n\r\nabc\r\n--x--\r\n',
        {"Content-Type": "multipart/form-data; boundary=x"},
        422,
        "malformed",
    ),
}


@pytest.mark.parametrize(("body", "headers", "status", "code"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_photo_is_refused_with_a_code_and_a_sentence(http, body, headers, status, code):
    answer = http.post("/v1/analyze", content=body, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert "expected" in error["message"]
    assert error["id"] == answer.headers["x-request-id"]


def test_a_body_without_a_length_is_cut_off_at_the_limit(http):
    def endless():
        yield b"\xff\xd8\xff"
        for _ in range(100):
            yield b"\0" * 100_000

    assert http.post("/v1/analyze", content=endless(), headers=JPEG).status_code == 413


def test_too_many_files_are_refused(http):
    answer = http.post("/v1/analyze", files=form(*((f"{i}.png", corners("PNG")) for i in range(5))))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_a_file_that_is_too_large_is_an_error_among_the_others(http, portrait):
    photos = [("a.jpg", portrait), ("large.jpg", portrait + b"\0" * 1_000_000), ("b.jpg", portrait)]
    before, large, after = (record_from_dict(record) for record in http.post("/v1/analyze", files=form(*photos)).json()["results"])
    assert (large.source, large.code) == ("large.jpg", "too_large")
    assert "expected at most 1,000,000 bytes" in large.message
    assert [(record.source, len(record.faces)) for record in (before, after)] == [("a.jpg", 1), ("b.jpg", 1)]


def test_a_body_that_does_not_come_is_not_waited_for(address):
    where = urlsplit(address)
    with socket.create_connection((where.hostname, where.port), timeout=20) as sock:
        sock.sendall(b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\n\xff\xd8")
        assert sock.recv(4096).startswith(b"HTTP/1.1 408")


def test_path_like_names_lose_their_folders(http):
    answer = http.post("/v1/analyze", files=form(("../../../etc/passwd\n.png", corners("PNG")), ("C:\\windows\\win.png", corners("PNG"))))
    assert [record["source"] for record in answer.json()["results"]] == ["passwd%0A.png", "win.png"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        pytest.param("/v1/analyze?max_face=3", "did you mean 'max_faces'?", id="typo"),
        pytest.param("/v1/analyze?colour=red&max_faces=3", "got 'colour'; known here: max_faces, explain, url", id="foreign"),
    ],
)
def test_a_query_key_that_nobody_reads_is_refused(http, portrait, path, says):
    answer = http.post(path, content=portrait, headers=JPEG)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "usage")
    assert says in answer.json()["error"]["message"]


@pytest.mark.parametrize("query", ["max_faces=0", "max_faces=x", "explain=perhaps"])
def test_a_wrong_question_is_told_what_is_wrong(http, query, portrait):
    answer = http.post(f"/v1/analyze?{query}", content=portrait, headers=JPEG)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "usage")
    assert query.split("=")[0] in answer.json()["error"]["message"]


def test_addresses_are_not_fetched_unless_that_is_set(http):
    answer = http.post("/v1/analyze", params={"url": "http://example.org/a.jpg"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "url_disabled")


@pytest.fixture
def inner_server():
    """A server that only this machine should reach, and the paths it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port, asked
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "169.254.169.254"])
def test_addresses_inside_are_never_asked(pipeline, inner_server, host):
    port, asked = inner_server
    with running(pipeline, allow_url=True) as address:
        answer = httpx.post(f"{address}/v1/analyze", params={"url": f"http://{host}:{port}/secret"}, timeout=30)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "fetch_failed")
    assert str(port) not in answer.text  # nor is it told whether anybody listens there
    assert asked == []


def test_other_schemes_are_never_opened(pipeline):
    with running(pipeline, allow_url=True) as address:
        for url in ("file:///etc/passwd", "ftp://127.0.0.1/x", "/etc/passwd", "gopher://127.0.0.1"):
            answer = httpx.post(f"{address}/v1/analyze", params={"url": url}, timeout=30)
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "fetch_failed"), url
            assert "root" not in answer.text
