"""Request bodies as they may arrive: cut anywhere, too large, too slow, or no form at all."""

import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request

from mien.serve.refusals import Refusal
from mien.serve.routes.uploads import MAX_NAME_LENGTH, BodyLimits, FileStart, clean_name, file_events, read_body, read_files

LIMITS = BodyLimits(max_bytes=10_000, max_file_bytes=1_000, max_files=3, timeout_s=5.0)
FORM = "multipart/form-data; boundary=cut"


def part(data, *, name="a.jpg", field="file"):
    return f'--cut\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode() + data + b"\r\n"


def request(pieces, content_type=FORM, **headers):
    """Return a request whose body arrives in ``pieces``; None is a caller who leaves, and a number is a wait in seconds."""
    waiting = list(pieces)

    async def receive():
        piece = waiting.pop(0) if waiting else b""
        if isinstance(piece, float):
            await asyncio.sleep(piece)
            piece = waiting.pop(0)
        return {"type": "http.disconnect"} if piece is None else {"type": "http.request", "body": piece, "more_body": bool(waiting)}

    heads = {"content-type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Request({"type": "http", "headers": [(k.encode(), v.encode()) for k, v in heads.items()]}, receive)


def files(pieces, limits=LIMITS, **headers):
    return asyncio.run(read_files(request(pieces, **headers), limits))


@pytest.mark.parametrize("size", [1, 7, 10_000], ids=lambda size: f"{size} bytes at a time")
def test_files_are_whole_wherever_the_body_is_cut(size):
    body = part(b"one\r\n--cu", name="1.jpg") + part(b"", name="2.jpg") + part(b"three", name="3.jpg") + b"--cut--\r\n"
    uploads = files([body[i : i + size] for i in range(0, len(body), size)])
    assert [(upload.name, upload.data, upload.refusal) for upload in uploads] == [
        ("1.jpg", b"one\r\n--cu", None), ("2.jpg", b"", None), ("3.jpg", b"three", None)
    ]  # fmt: skip


def test_of_a_file_that_is_too_large_come_the_bytes_that_fit_and_one_refusal():
    async def events():
        pieces = [part(b"x" * 900)[:-2], b"x" * 900, b"x" * 900, b"\r\n", part(b"small"), b"--cut--\r\n"]
        return [event async for event in file_events(request(pieces), LIMITS)]

    first, fits, refusal, second, small = asyncio.run(events())
    assert (first, fits, second, small) == (FileStart("a.jpg"), b"x" * 900, FileStart("a.jpg"), b"small")
    assert (type(refusal), refusal.status, refusal.code) == (Refusal, 413, "too_large")


def test_a_file_that_is_too_large_keeps_no_byte_and_the_next_one_is_whole():
    large, small = files([part(b"x" * 1_001), part(b"small"), b"--cut--\r\n"])
    assert (large.data, large.refusal.code) == (b"", "too_large")
    assert (small.data, small.refusal) == (b"small", None)


@pytest.mark.parametrize(
    ("pieces", "status", "words"),
    [
        pytest.param([part(b"x", field="photo"), b"--cut--\r\n"], 422, "parts called 'file', got 'photo'", id="another-field"),
        pytest.param([part(b"x")], 422, "ends before its last part", id="unfinished"),
        pytest.param([b"--cut--\r\n"], 422, "no file in it", id="empty"),
        pytest.param([b"no form at all"], 422, "cannot be told apart", id="no-form"),
        pytest.param(
            [b"--cut\r\n" + b"X-Other: " + b"x" * 3_000 + b"\r\n", *[b"X-Other: " + b"x" * 3_000 + b"\r\n"] * 2],
            422,
            "headers are too long",
            id="long-headers",
        ),
        pytest.param([part(b"x")] * 4 + [b"--cut--\r\n"], 413, "at most 3 files", id="too-many"),
        pytest.param([part(b"x" * 4_000)] * 3, 413, "at most 10,000 bytes", id="too-large-in-all"),
    ],
)
def test_a_bad_form_is_refused_with_what_is_wrong(pieces, status, words):
    with pytest.raises(Refusal, match=words) as refused:
        files(pieces)
    assert refused.value.status == status


def test_a_compressed_body_is_refused():
    with pytest.raises(Refusal, match="not compressed"):
        files([part(b"x"), b"--cut--\r\n"], content_encoding="gzip")


def test_a_body_that_says_that_it_is_too_large_is_refused_before_it_is_read():
    async def read():
        return await read_body(request([0.0], "image/jpeg", content_length="1001"), LIMITS)

    with pytest.raises(Refusal, match="at most 1,000 bytes"):
        asyncio.run(read())


def test_time_counts_for_the_whole_body_and_not_for_each_piece():
    limits = BodyLimits(max_bytes=10_000, max_file_bytes=1_000, max_files=3, timeout_s=0.1)
    with pytest.raises(Refusal, match=r"within 0\.1 s") as refused:
        asyncio.run(read_body(request([b"x", 0.06, b"x", 0.06, b"x", 0.06, b"x"], "image/jpeg"), limits))
    assert (refused.value.status, refused.value.code) == (408, "too_slow")


def test_a_caller_who_leaves_is_no_refusal():
    with pytest.raises(ClientDisconnect):
        files([part(b"x")[:-2], None])


@pytest.mark.parametrize("name", ["x" * 500, "\x1b" * 500], ids=["letters", "escapes"])
def test_a_long_name_is_cut(name):
    assert len(clean_name(name)) == MAX_NAME_LENGTH
