"""What says nothing of its length is never called cut; how the containers say it is tested with the videos."""

import pytest

from mien.media.whole import is_cut


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"G", id="one byte of a stream"),
        pytest.param(b"GIF89a" + bytes(1000), id="a picture whose first letter is that of a stream"),
        pytest.param(b"words, not pictures", id="words"),
        pytest.param(b"\x1aE\xdf\xa3", id="a header that ends"),
        pytest.param(b"\x1aE\xdf\xa3\x80\x18S\x80g\x01\xff\xff\xff\xff\xff\xff\xff" + bytes(50), id="matroska of open length"),
        pytest.param(b"RIFF\0\0\0\0AVI LIST" + bytes(50), id="avi from a pipe"),
        pytest.param((8).to_bytes(4) + b"ftyp" + bytes(4) + b"mdat" + bytes(50), id="mp4 whose pictures go on to its end"),
        pytest.param(b"OggS", id="a page without a head that is whole"),
    ],
)
def test_no_length_is_no_cut(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    assert is_cut(tmp_path / "a") == (data == b"OggS")


def test_what_is_no_file_is_not_cut(tmp_path):
    assert not is_cut(tmp_path)
    assert not is_cut(tmp_path / "gone.mp4")
    assert not is_cut("http://127.0.0.1:9/a.mp4")
