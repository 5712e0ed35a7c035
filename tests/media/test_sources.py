from __future__ import annotations

import os
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from mien.media.images import ReadLimits, read_photo
from mien.media.sources import IMAGE_SUFFIXES, MAX_NAMES, Source, absolute, expand
from mien.results import ErrorResult
from tests.media.pictures import CORNERS, corners

posix = pytest.mark.skipif(os.name != "posix", reason="symbolic links and permission bits are POSIX's")


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what folders hold; the test's working directory is its parent."""
    for name in (
        "album/b.png",
        "album/A.JPG",
        "album/notes.txt",
        "album/.hidden.png",
        "album/.cache/thumb.png",
        "album/trip/c.webp",
        "album/trip/deep/d.tiff",
        "odd/photo[1].png",
        "odd/picture.dat",
        "texts/readme.md",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(corners("PNG"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "album"


def words(plan: Sequence[Source | ErrorResult]) -> list[str]:
    """Return the names of the photos, and 'code: source' for the errors."""
    return [entry.name if isinstance(entry, Source) else f"{entry.code}: {entry.source}" for entry in plan]


ALBUM = ["album/A.JPG", "album/b.png", "album/trip/c.webp", "album/trip/deep/d.tiff"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param(["album/b.png"], ["album/b.png"], id="file"),
        pytest.param(["odd/picture.dat"], ["odd/picture.dat"], id="file of any ending, when named"),
        pytest.param(["album/.hidden.png"], ["album/.hidden.png"], id="hidden file, when named"),
        pytest.param(["album"], ALBUM, id="folder: images below it, sorted, hidden ones left out"),
        pytest.param(["album/"], ALBUM, id="folder with a slash"),
        pytest.param(["album/.cache"], ["album/.cache/thumb.png"], id="hidden folder, when named"),
        pytest.param(["album/*.png"], ["album/b.png"], id="glob"),
        pytest.param(["album/**/*.*f"], ["album/trip/deep/d.tiff"], id="recursive glob"),
        pytest.param(["album/**"], [*ALBUM[:2], "album/notes.txt", *ALBUM[2:]], id="** at the end means every file"),
        pytest.param(["album/.*"], ["album/.hidden.png"], id="glob with a leading dot"),
        pytest.param(["album/[ab].png"], ["album/b.png"], id="glob of a set"),
        pytest.param(["odd/photo[1].png"], ["odd/photo[1].png"], id="a file's name is no glob"),
        pytest.param(
            ["album/b.png", "album", "./album/b.png", "album/*.png"], ["album/b.png", *[x for x in ALBUM if "b.png" not in x]], id="once"
        ),
        pytest.param(["http://a/b.jpg?x=*", "https://a/b"], ["http://a/b.jpg?x=*", "https://a/b"], id="addresses, a glob character in one"),
        pytest.param(["gone.jpg", "album/b.png"], ["not_found: gone.jpg", "album/b.png"], id="missing path"),
        pytest.param(["album/b.png/x.png"], ["not_found: album/b.png/x.png"], id="below a file"),
        pytest.param(["*.jpg", "album/b.png"], ["not_found: *.jpg", "album/b.png"], id="glob without a match"),
        pytest.param(["tex*"], ["not_found: tex*"], id="glob that matches folders only"),
        pytest.param(
            ["a**b/*.jpg"], ["usage: a**b/*.jpg" if sys.version_info < (3, 13) else "not_found: a**b/*.jpg"], id="glob with a bad **"
        ),
        pytest.param(["texts", "album/b.png"], ["not_found: texts", "album/b.png"], id="folder without images"),
        pytest.param([""], ["not_found: "], id="empty argument, which is not this folder"),
        pytest.param(["nul\0l.jpg"], ["unreadable: nul\0l.jpg"], id="null character"),
    ],
)
def test_arguments(album: Path, arguments: list[str], expected: list[str]) -> None:
    assert words(expand(arguments)) == expected


def test_every_source_is_what_read_photo_takes(album: Path) -> None:
    plan = expand(["-", "album"], stdin=BytesIO(corners("PNG")))
    assert [np.array_equal(read_photo(source.data).frame_rgb, CORNERS) for source in plan if isinstance(source, Source)] == [True] * 5


def test_standard_input_is_read_once() -> None:
    plan = expand(["-", "-"], stdin=BytesIO(b"bytes of a photo"))
    assert plan == [Source("-", b"bytes of a photo")]


def test_standard_input_is_not_read_beyond_the_limit() -> None:
    stream = BytesIO(b"x" * 100)
    expand(["-"], stdin=stream, limits=ReadLimits(max_bytes=10))
    assert stream.tell() == 11


def test_standard_input_that_is_not_there() -> None:
    assert words(expand(["-"])) == ["unreadable: -"]


def test_standard_input_is_left_alone_unless_asked_for(album: Path) -> None:
    stream = BytesIO(b"x")
    expand(["album"], stdin=stream)
    assert stream.tell() == 0


def test_a_folder_without_images_says_which_files_count(album: Path) -> None:
    (entry,) = expand(["texts"])
    assert isinstance(entry, ErrorResult)
    assert all(suffix in entry.message for suffix in IMAGE_SUFFIXES)


@posix
@pytest.mark.parametrize("argument", ["album", "album/*"])
def test_a_pipe_among_photos_is_told_and_not_waited_for(album: Path, argument: str) -> None:
    os.mkfifo(album / "pipe.jpg")
    (told,) = (entry for entry in expand([argument]) if entry.__class__ is ErrorResult)
    assert isinstance(told, ErrorResult)
    assert (told.source, told.code) == ("album/pipe.jpg", "unsupported_media")
    assert expand(["album/pipe.jpg"]) == [Source("album/pipe.jpg", Path("album/pipe.jpg"))]


@posix
def test_links_that_loop_end(album: Path) -> None:
    (album / "trip" / "up").symlink_to(album)
    (album / "trip" / "again").symlink_to(album / "trip")
    assert words(expand(["album"])) == ALBUM
    assert words(expand(["album/**/*.webp"])) == ["album/trip/c.webp"]


@posix
def test_two_links_to_one_photo_are_two_photos(album: Path) -> None:
    """Their names tell them apart: a record for each, as in a batch job."""
    (album / "z-odd").symlink_to(album.parent / "odd")
    (album / "z-same.png").symlink_to("b.png")
    (album / "z-trip").symlink_to("trip")
    linked = ["album/z-odd/photo[1].png", "album/z-trip/c.webp", "album/z-trip/deep/d.tiff"]
    assert words(expand(["album"])) == [*ALBUM[:2], "album/z-same.png", *ALBUM[2:], *linked]
    assert words(expand(["album/b.png", "album/z-same.png", "album/../album/b.png"])) == ["album/b.png", "album/z-same.png"]


@posix
def test_a_way_up_from_a_linked_folder_leads_where_the_system_says(album: Path) -> None:
    """``link/..`` is the parent of the folder that the link leads to."""
    (album.parent / "elsewhere" / "in").mkdir(parents=True)
    (album.parent / "elsewhere" / "b.png").write_bytes(corners("PNG"))
    (album / "link").symlink_to(album.parent / "elsewhere" / "in")
    named = ["album/b.png", "album/link/../b.png"]
    assert words(expand(named)) == named
    assert absolute("album/link/../b.png") == str(album / "link" / ".." / "b.png")
    assert absolute("album/trip/../b.png") == str(album / "b.png")


@posix
def test_folders_that_all_link_to_each_other_end(tmp_path: Path) -> None:
    """Nine of them have a million ways to walk."""
    folders = [tmp_path / str(number) for number in range(9)]
    for folder in folders:
        folder.mkdir()
        (folder / "a.png").write_bytes(corners("PNG"))
    for folder in folders:
        for other in folders:
            if other != folder:
                (folder / f"to-{other.name}").symlink_to(other)
    plan = expand([str(tmp_path)])
    names = [entry.name for entry in plan if isinstance(entry, Source)]
    assert {str(folder / "a.png") for folder in folders} <= set(names)
    assert len(names) == len(set(names)) <= 9 * (MAX_NAMES + 1)
    assert {entry.code for entry in plan if isinstance(entry, ErrorResult)} == {"unsupported_media"}


@posix
@pytest.mark.parametrize(
    ("target", "code"), [("nowhere.png", "not_found"), ("broken.png", "unreadable")], ids=["leads nowhere", "leads to itself"]
)
def test_a_broken_link_is_an_error_and_the_rest_goes_on(album: Path, target: str, code: str) -> None:
    (album / "broken.png").symlink_to(target)
    for argument, others in (("album", ALBUM), ("album/*.png", ["album/b.png"])):
        found = words(expand([argument]))
        assert f"{code}: album/broken.png" in found
        assert [word for word in found if ":" not in word] == others


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Drop root's rights for a moment: root reads every folder."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def lock(album: Path) -> Iterator[Callable[[Path], None]]:
    """Return a function that makes a path unreadable until the test's end."""
    album.parent.chmod(0o755)  # the working directory: nothing above it is asked for permission
    locked: list[Path] = []

    def close(path: Path) -> None:
        path.chmod(0)
        locked.append(path)

    yield close
    for path in locked:
        path.chmod(0o755)


@posix
@pytest.mark.parametrize(
    ("closed", "arguments", "expected"),
    [
        pytest.param("album", ["album", "odd"], ["unreadable: album", "odd/photo[1].png"], id="folder"),
        pytest.param("album/trip", ["album"], [*ALBUM[:2], "unreadable: album/trip"], id="subfolder"),
        pytest.param("album", ["album/b.png", "odd"], ["unreadable: album/b.png", "odd/photo[1].png"], id="file in it"),
        pytest.param("album", ["album/*.png"], ["not_found: album/*.png"], id="glob in it"),
    ],
)
def test_a_folder_that_may_not_be_read(
    album: Path, lock: Callable[[Path], None], closed: str, arguments: list[str], expected: list[str]
) -> None:
    lock(album.parent / closed)
    with as_ordinary_user():
        plan = expand(arguments)
    assert words(plan) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_names_that_are_not_utf8_can_be_written_anywhere(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")).write_bytes(corners("PNG"))
    plan = expand([str(tmp_path), os.fsdecode(b"n\xe9.jpg")])
    source, error = plan
    assert isinstance(source, Source)
    assert isinstance(error, ErrorResult)
    for text in (source.name, error.source, error.message):
        assert text == text.encode().decode()
    assert read_photo(source.data).frame_rgb.shape == CORNERS.shape


def test_a_login_is_used_and_not_shown() -> None:
    (source,) = expand(["https://ann:secret@example.org/a.jpg"])
    assert source == Source("https://***@example.org/a.jpg", "https://ann:secret@example.org/a.jpg")


def test_a_data_uri_is_the_photo_itself() -> None:
    uri = "data:image/png;base64," + b64encode(corners("PNG") + b"\0" * 10_000).decode()
    (source,) = expand([uri])
    assert isinstance(source, Source)
    assert np.array_equal(read_photo(source.data).frame_rgb, CORNERS)
    assert len(source.name) < 100
    assert source.name.startswith("data:image/png;base64,iVBOR")


def test_two_data_uris_are_two_photos() -> None:
    pictures = [b64encode(corners("PNG") + bytes([i]) * 10_000).decode() for i in (1, 2)]
    first, second = expand([f"data:image/png;base64,{picture}" for picture in pictures])
    assert isinstance(first, Source)
    assert isinstance(second, Source)
    assert first.name != second.name
