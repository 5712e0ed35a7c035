"""What sources stand for: folders, lists, archives; and what is wrong with those that stand for nothing."""

import base64
import codecs
import io
import os
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from mien.batch.archives import OpenArchives
from mien.batch.listing import inputs
from mien.batch.reading import Reader
from mien.errors import ChangedError, CorruptMediaError, MediaError, TooLargeError, UnreadableError, UsageError
from mien.media.images import ReadLimits
from mien.media.sources import expand
from tests.batch.support import face


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with two photos and a video, where relative names start."""
    monkeypatch.chdir(tmp_path)
    face(tmp_path / "in" / "a.jpg")
    face(tmp_path / "in" / "deep" / "b.jpg")
    (tmp_path / "in" / "clip.mp4").write_bytes(b"a video by its name")
    (tmp_path / "in" / "notes.txt").write_text("not an input")
    return tmp_path


def names(*sources, column=None):
    return [item.name for item in inputs([str(source) for source in sources], column)]


def test_a_folder_gives_photos_and_videos_with_their_sizes(place):
    found = list(inputs(["in"]))
    assert [(item.name, item.kind) for item in found] == [("in/a.jpg", "photo"), ("in/clip.mp4", "video"), ("in/deep/b.jpg", "photo")]
    assert found[0].place == str(place / "in" / "a.jpg")
    assert found[0].size == (place / "in" / "a.jpg").stat().st_size


@pytest.mark.parametrize(
    ("file", "content"),
    [
        pytest.param("list.txt", b"in/a.jpg\n\nin/deep/b.jpg\r\n", id="lines"),
        pytest.param("list.txt", b"\xef\xbb\xbfin/a.jpg\nin/deep/b.jpg", id="byte-order-mark-and-no-last-break"),
        pytest.param("list.txt", b"in/a.jpg\0in/deep/b.jpg\0", id="null-characters"),
        pytest.param("list.txt", "in/a.jpg\r\nin/deep/b.jpg\r\n".encode("utf-16"), id="what-powershell-writes"),
        pytest.param("list.txt", codecs.BOM_UTF16_BE + "in/a.jpg\nin/deep/b.jpg".encode("utf-16-be"), id="utf-16-of-the-other-order"),
        pytest.param("list.csv", b"id,path\n1,in/a.jpg\n2,in/deep/b.jpg\n", id="csv"),
        pytest.param("list.csv", b"whatever\nin/a.jpg\nin/deep/b.jpg\n", id="csv-of-one-column"),
        pytest.param("list.csv", "path\r\nin/a.jpg\r\nin/deep/b.jpg\r\n".encode("utf-16"), id="csv-of-powershell"),
        pytest.param("list.tsv", b"label\tsource\nhappy\tin/a.jpg\nsad\tin/deep/b.jpg\n", id="tab-separated"),
    ],
)
def test_lists_name_inputs_from_their_own_folder(place, monkeypatch, file, content):
    (place / file).write_bytes(content)
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    found = list(inputs([f"../{file}"]))
    assert [item.name for item in found] == ["in/a.jpg", "in/deep/b.jpg"]
    assert all(item.size for item in found)


def test_parquet_lists_and_chosen_columns(place):
    parquet.write_table(pa.table({"left": ["in/a.jpg", None], "right": ["in/deep/b.jpg", "in/a.jpg"]}), place / "list.parquet")
    assert names("list.parquet", column="right") == ["in/deep/b.jpg", "in/a.jpg"]
    assert names("list.parquet", column="left") == ["in/a.jpg"]
    with pytest.raises(UsageError, match=r"left, right.*--column"):
        names("list.parquet")


def test_a_list_keeps_names_with_line_breaks_and_bytes_that_are_no_text(place):
    strange = os.fsdecode(b"in/caf\xe9\n.jpg")
    face(place / "in" / "a.jpg").rename(place / strange)
    (place / "list.txt").write_bytes(b"in/caf\xe9\n.jpg\0")
    (item,) = inputs(["list.txt"])
    assert item.place == str(place / strange)
    assert item.size


def test_an_entry_that_is_not_there_is_an_input_nonetheless(place):
    (place / "list.txt").write_text("in/a.jpg\nin/missing.jpg\nhttps://example.org/x.jpg\n")
    found = list(inputs(["list.txt"]))
    assert [(item.kind, item.code) for item in found] == [("photo", ""), ("photo", ""), ("photo", "")]
    assert found[1].size is None


def pack_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def pack_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


MEMBERS = {"one.jpg": b"1" * 700, "deep/two.png": b"22", "deep/.hidden.jpg": b"x", "readme.md": b"x", "three.mp4": b"333"}


@pytest.mark.parametrize(
    ("file", "pack"),
    [
        pytest.param("x.tar", pack_tar, id="tar"),
        pytest.param("x.tar.gz", lambda path, members: pack_tar(path, members, "w:gz"), id="gzip"),
        pytest.param("x.tbz2", lambda path, members: pack_tar(path, members, "w:bz2"), id="bzip2"),
        pytest.param("x.tar.xz", lambda path, members: pack_tar(path, members, "w:xz"), id="xz"),
        pytest.param("x.zip", pack_zip, id="zip"),
    ],
)
def test_archives_give_their_members_and_their_bytes(place, file, pack):
    pack(place / file, MEMBERS)
    found = list(inputs([file]))
    assert [item.name for item in found] == [f"{file}::one.jpg", f"{file}::deep/two.png", f"{file}::three.mp4"]
    archive = OpenArchives(max_bytes=1000)
    for item in [*found, found[0]]:  # and back again
        assert archive.read(item) == MEMBERS[item.name.partition("::")[2]]
    with pytest.raises(TooLargeError):
        OpenArchives(max_bytes=100).read(found[0])


@pytest.mark.parametrize("pack", [pack_tar, pack_zip])
@pytest.mark.parametrize("path", ["../out.jpg", "/etc/out.jpg", "a/../../out.jpg", "..\\out.jpg", "C:/out.jpg"])
def test_members_that_lead_out_of_their_archive_are_refused_by_name(place, pack, path):
    archive = pack(place / ("x.tar" if pack is pack_tar else "x.zip"), {path: b"x", "fine.jpg": b"y"})
    bad, fine = inputs([str(archive)])
    assert (bad.kind, bad.code) == ("error", "unsupported_media")
    assert "leads out" in bad.message
    assert fine.kind == "photo"


def test_links_in_an_archive_are_not_followed(place):
    with tarfile.open(place / "x.tar", "w") as archive:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (item,) = inputs(["x.tar"])
    assert (item.kind, item.code) == ("error", "unsupported_media")


def test_a_cut_archive_gives_what_is_there_and_says_so(place):
    pack_tar(place / "x.tar", {"a.jpg": b"a" * 600, "b.jpg": b"b" * 6000})
    data = (place / "x.tar").read_bytes()
    (place / "x.tar").write_bytes(data[:3000])
    found = list(inputs(["x.tar"]))
    assert "x.tar::a.jpg" in [item.name for item in found]
    assert found[-1].code == "corrupt_media" or found[-1].name == "x.tar::b.jpg"
    archive = OpenArchives(10_000)
    for item in found:
        if item.name.endswith("b.jpg"):
            with pytest.raises(CorruptMediaError):
                archive.read(item)


def test_an_archive_whose_members_lead_back_ends(place):
    first, back = tarfile.TarInfo("first.jpg"), tarfile.TarInfo("back.jpg")
    back.size = -512  # the member after it would be itself
    (place / "x.tar").write_bytes(first.tobuf(tarfile.GNU_FORMAT) + back.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    *_, item = inputs(["x.tar"])
    assert item.code == "corrupt_media"


@pytest.mark.parametrize(("file", "mode"), [("x.tbz2", "w:bz2"), ("x.tar.xz", "w:xz"), ("x.tar.gz", "w:gz")])
def test_damage_inside_a_packed_archive_is_told(place, file, mode):
    data = np.random.default_rng(0).bytes(2_000_000)  # several blocks of bzip2
    pack_tar(place / file, {"a.jpg": b"a" * 600, "b.jpg": data}, mode)
    _, b = inputs([file])
    packed = bytearray((place / file).read_bytes())
    packed[len(packed) // 2 :] = bytes(len(packed) - len(packed) // 2)
    (place / file).write_bytes(packed)
    assert list(inputs([file]))[-1].code == "corrupt_media"
    os.utime(place / file, ns=(b.changed_ns, b.changed_ns))
    with pytest.raises(CorruptMediaError, match="copy it again"):
        OpenArchives(10_000_000).read(b)


def test_an_archive_that_changed_since_is_not_read(place):
    pack_tar(place / "x.tar", {"a.jpg": b"a" * 600})
    (item,) = inputs(["x.tar"])
    pack_tar(place / "x.tar", {"a.jpg": b"b" * 600, "c.jpg": b"c"})
    with pytest.raises(ChangedError):
        OpenArchives(10_000).read(item)


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        pytest.param(["nothing.jpg"], "does not exist", id="missing-file"),
        pytest.param(["empty"], "expected images in the folder", id="empty-folder"),
        pytest.param(["none*.jpg"], "to match files", id="glob-without-match"),
        pytest.param(["empty.txt"], "got none", id="empty-list"),
        pytest.param(["empty.tar"], "got none", id="empty-archive"),
        pytest.param(["-"], "come back to", id="stdin"),
        pytest.param(["in", "nothing.jpg"], "does not exist", id="one-good-one-missing"),
        pytest.param(["nosuch://bucket/x.jpg"], "nosuch", id="unknown-kind-of-address"),
    ],
)
def test_a_source_that_is_nothing_is_a_wrong_call(place, sources, words):
    (place / "empty").mkdir()
    (place / "empty.txt").write_text("\n")
    pack_tar(place / "empty.tar", {})
    with pytest.raises(UsageError, match=words):
        list(inputs(sources))


@pytest.mark.parametrize("file", ["missing.csv", "missing.tar", "missing.zip"])
def test_a_list_or_archive_that_is_missing_stops_the_job(place, file):
    with pytest.raises(MediaError, match="missing"):
        list(inputs([file]))


@pytest.mark.parametrize("file", ["loop.csv", "loop.tar", "loop.zip"])
def test_a_list_or_archive_that_cannot_be_opened_is_no_fault_of_the_network(place, file):
    (place / file).symlink_to(file)
    with pytest.raises(UnreadableError, match="the system refuses"):
        list(inputs([file]))


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        pytest.param([1, 2], None, id="numbers"),
        pytest.param([{"bytes": b"x", "path": "one.jpg"}], None, id="pictures-themselves"),
        pytest.param([b"one.jpg"], "image", id="bytes"),
    ],
)
def test_a_column_that_is_no_text_is_a_wrong_call(place, column, wanted):
    parquet.write_table(pa.table({"image": column}), place / "x.parquet")
    with pytest.raises(UsageError, match="expected a column of text"):
        list(inputs(["x.parquet"], wanted))


@pytest.mark.parametrize("part", ["head", "foot"])
def test_a_damaged_parquet_list_is_told(place, part):
    parquet.write_table(pa.table({"path": ["one.jpg"]}), place / "x.parquet")
    data = bytearray((place / "x.parquet").read_bytes())
    data[slice(4, 40) if part == "head" else slice(-60, -12)] = b"\xff" * (36 if part == "head" else 48)
    (place / "x.parquet").write_bytes(data)
    with pytest.raises(CorruptMediaError, match="cut short or damaged"):
        list(inputs(["x.parquet"]))


def test_a_csv_without_an_end_of_line_is_told(place):
    (place / "x.csv").write_bytes(b"x" * 300_000)
    with pytest.raises(CorruptMediaError, match="expected CSV"):
        list(inputs(["x.csv"]))


@pytest.mark.parametrize("file", ["broken.tar", "broken.zip", "broken.tar.gz", "broken.tar.bz2", "broken.parquet"])
def test_a_list_or_archive_of_noise_is_told(place, file):
    (place / file).write_bytes(b"noise " * 500)
    if file.endswith("parquet"):
        with pytest.raises(CorruptMediaError):
            list(inputs([file]))
    else:
        (item,) = inputs([file])
        assert item.code == "corrupt_media"


def test_addresses_log_in_and_their_passwords_are_not_shown(place):
    (place / "list.txt").write_text("https://ann:secret@example.org/a.jpg\n")
    (item,) = inputs(["list.txt"])
    assert (item.name, item.place) == ("https://***@example.org/a.jpg", "https://ann:secret@example.org/a.jpg")
    (item,) = inputs(["https://ann:secret@example.org/b.jpg"])
    assert (item.name, item.place) == ("https://***@example.org/b.jpg", "https://ann:secret@example.org/b.jpg")


def test_a_data_uri_in_a_list_is_a_photo(place):
    picture = (place / "in" / "a.jpg").read_bytes()
    (place / "list.txt").write_text("data:image/jpeg;base64," + base64.b64encode(picture).decode() + "\n")
    (item,) = inputs(["list.txt"])
    assert len(item.name) < 200
    (read,) = Reader(ReadLimits()).photos([item])
    assert read.data == picture


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
@pytest.mark.parametrize("source", ["list.txt", "in", "in/pipe.jpg", "in/*.jpg"])
def test_a_pipe_is_refused_wherever_it_is_named(place, source):
    """A worker would wait for what never comes."""
    os.mkfifo(place / "in" / "pipe.jpg")
    (place / "list.txt").write_text("in/pipe.jpg\nin/a.jpg\n")
    (error,) = (item for item in inputs([source]) if item.kind == "error")
    assert (error.name, error.code) == ("in/pipe.jpg", "unsupported_media")
    assert "pipe" in error.message


@pytest.mark.skipif(os.name == "nt", reason="links are made by administrators alone there")
@pytest.mark.parametrize("source", ["list.txt", "in", "in/*.jpg"])
def test_a_link_is_an_input_of_its_own_as_in_mien_analyze(place, source):
    (place / "in" / "same.jpg").symlink_to(place / "in" / "a.jpg")
    (place / "list.txt").write_text("in/a.jpg\nin/same.jpg\n")
    found = {item.name: item.identity for item in inputs([source]) if item.kind == "photo" and "deep" not in item.name}
    photos = [entry.name for entry in expand(["in/a.jpg", "in/same.jpg"])]
    assert list(found) == photos == ["in/a.jpg", "in/same.jpg"]
    assert len(set(found.values())) == 2
