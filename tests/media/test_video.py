import socket
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from mien.errors import MediaError, UsageError
from mien.media import ffmpeg
from mien.media.images import ReadLimits, read_photo
from mien.media.video import check_every, open_video
from mien.media.video_writer import VideoWriter
from tests.media.clips import LEFT_UP, RATE, REST, RIGHT_UP, close_to, corner_colours, read, turn_mp4, write_clip
from tests.media.pictures import frames as moving
from tests.media.pictures import turned


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("a.mp4", {}, id="mp4"),
        pytest.param("a.mkv", {}, id="matroska"),
        pytest.param("a.avi", {"codec": "mpeg4"}, id="avi"),
        pytest.param("a.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, id="motion jpeg"),
        pytest.param("a.mp4", {"pix_fmt": "yuv420p10le"}, id="ten bits"),
        pytest.param("a.mp4", {"pix_fmt": "yuv444p", "size_wh": (97, 63)}, id="odd sides"),
        pytest.param("a.mp4", {"sound": "aac"}, id="with sound"),
        pytest.param("a.mp4", {"interlaced": True}, id="interlaced"),
    ],
)
def test_a_clip_is_read_frame_by_frame(tmp_path, name, options):
    frames = read(write_clip(tmp_path / name, 12, **options))
    width, height = options.get("size_wh", (96, 64))
    assert [f.index for f in frames] == list(range(12))
    assert [f.time_s for f in frames] == pytest.approx([i / RATE for i in range(12)], abs=1e-3)
    assert all(f.frame_rgb.shape == (height, width, 3) and f.frame_rgb.dtype == np.uint8 for f in frames)
    assert all(f.frame_rgb.flags.c_contiguous for f in frames)
    for seen, colour in zip(corner_colours(frames[-1].frame_rgb), (LEFT_UP, RIGHT_UP, REST, REST), strict=True):
        assert seen == close_to(colour)


def test_times_of_a_variable_rate_are_exact(tmp_path):
    times = [0, 0.01, 0.5, 0.504, 2.0, 3.25]
    assert [f.time_s for f in read(write_clip(tmp_path / "a.mp4", 6, times_s=times))] == pytest.approx(times, abs=1e-6)


@pytest.mark.parametrize("rate", [1, 240])
def test_slow_and_fast_cameras(tmp_path, rate):
    times = [i / rate for i in range(8)]
    assert [f.time_s for f in read(write_clip(tmp_path / "a.mkv", 8, times_s=times))] == pytest.approx(times, abs=2e-3)


def test_an_ending_that_lies_does_not_matter(tmp_path):
    assert len(read(write_clip(tmp_path / "a.mp4").rename(tmp_path / "a.txt"))) == 25


@pytest.mark.parametrize(("degrees", "first_corner"), [(90, 1), (180, 2), (270, 3)], ids=["a quarter", "upside down", "three quarters"])
def test_phone_videos_are_turned(tmp_path, degrees, first_corner):
    """The upper left colour goes round clockwise."""
    frame = read(turn_mp4(write_clip(tmp_path / "a.mp4", 3), degrees))[0].frame_rgb
    assert frame.shape == ((64, 96, 3) if degrees == 180 else (96, 64, 3))
    assert corner_colours(frame)[first_corner] == close_to(LEFT_UP)
    assert frame.flags.c_contiguous


@pytest.mark.parametrize(
    ("name", "pixel_ratio", "shape"),
    [
        pytest.param("a.mp4", Fraction(64, 45), (64, 137, 3), id="a wide screen's DVD"),
        pytest.param("a.mkv", Fraction(8, 9), (72, 96, 3), id="a tall pixel"),
        pytest.param("a.mp4", Fraction(1), (64, 96, 3), id="square"),
    ],
)
def test_anamorphic_videos_are_stretched(tmp_path, name, pixel_ratio, shape):
    """A face that the file squeezes would have other proportions than any that the networks know."""
    frame = read(write_clip(tmp_path / name, 3, pixel_ratio=pixel_ratio))[0].frame_rgb
    assert frame.shape == shape
    for seen, colour in zip(corner_colours(frame), (LEFT_UP, RIGHT_UP, REST, REST), strict=True):
        assert seen == close_to(colour)


def test_an_anamorphic_phone_video_is_stretched_before_it_is_turned(tmp_path):
    path = turn_mp4(write_clip(tmp_path / "a.mp4", 3, pixel_ratio=Fraction(2)), 90)
    assert read(path)[0].frame_rgb.shape == (192, 64, 3)


def test_pixels_of_an_absurd_width_are_refused_as_a_large_frame(tmp_path):
    path = write_clip(tmp_path / "a.mkv", 2, pixel_ratio=Fraction(50))
    with pytest.raises(MediaError, match="got 4800x64"):
        open_video(path, limits=ReadLimits(max_pixels=100_000))


@pytest.mark.parametrize(
    ("every_s", "expected"),
    [(None, range(25)), (0.2, range(0, 25, 5)), (0.001, range(25)), (0.5, (0, 13)), (60, (0,))],
    ids=["all", "five a second", "finer than the frames", "between frames", "longer than the clip"],
)
def test_sampling(tmp_path, every_s, expected):
    assert [f.index for f in read(write_clip(tmp_path / "a.mp4"), every_s)] == list(expected)


@pytest.mark.parametrize("step", [0, -1, float("nan")])
def test_a_step_of_nothing_is_refused_before_reading(tmp_path, step):
    with open_video(write_clip(tmp_path / "a.mp4", 2)) as clip, pytest.raises(UsageError, match="above 0"):
        clip.frames(step)


def test_a_last_picture_that_stays_long_is_no_cut(tmp_path):
    with av.open(str(tmp_path / "held.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.max_b_frames = 64, 64, "yuv420p", 0
        packets = []
        for _ in range(30):
            packets += stream.encode(av.VideoFrame(64, 64, "yuv420p"))
        packets += stream.encode(None)
        packets[-1].duration *= 300
        container.mux(packets)
    assert len(read(tmp_path / "held.mp4")) == 30


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_cut_file_gives_its_frames_and_then_an_error(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 96, 3), dtype=np.uint8)
    whole = write_clip(tmp_path / name, noise)
    if name.endswith("mp4"):  # the index goes to the front, or nothing could be read at all
        with open_video(whole) as clip, VideoWriter(tmp_path / "front.mp4", rate=RATE) as writer:
            for frame in clip.frames():
                writer.write(frame.time_s, frame.frame_rgb)
        whole = tmp_path / "front.mp4"
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    with open_video(whole) as clip:
        frames = clip.frames()
        assert [next(frames).index for _ in range(15)] == list(range(15))
        with pytest.raises(MediaError) as raised:
            list(frames)
    assert raised.value.code == "corrupt_media"


def cut_without_index(tmp_path):
    path = write_clip(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:-400])
    return path


def words(tmp_path, name="notes.txt"):
    path = tmp_path / name
    path.write_text("these are words\n" * 50)
    return path


def nothing(tmp_path):
    (tmp_path / "a.mp4").touch()
    return tmp_path / "a.mp4"


def only_sound(tmp_path):
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 48_000
        container.mux(stream.encode(samples))
        container.mux(stream.encode(None))
    return tmp_path / "a.m4a"


@pytest.mark.parametrize(
    ("make", "code"),
    [
        pytest.param(lambda folder: folder / "gone.mp4", "not_found", id="no such file"),
        pytest.param(cut_without_index, "corrupt_media", id="cut before its index"),
        pytest.param(nothing, "corrupt_media", id="empty file"),
        pytest.param(words, "unsupported_media", id="text"),
        pytest.param(lambda folder: words(folder, "a.mp4"), "unsupported_media", id="text that says it is a video"),
        pytest.param(only_sound, "unsupported_media", id="no video track"),
        pytest.param(lambda folder: folder, "not_found", id="folder without pictures"),
        pytest.param(lambda folder: "http://127.0.0.1:9/a.mp4", "fetch_failed", id="address that refuses"),
    ],
)
def test_bad_input_has_a_stable_code(tmp_path, make, code):
    with pytest.raises(MediaError) as raised:
        read(make(tmp_path))
    assert raised.value.code == code


def test_a_stream_that_stalls_is_given_up(monkeypatch):
    monkeypatch.setattr(ffmpeg, "OPEN_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(MediaError) as raised:  # it takes calls and never answers
        open_video(f"http://127.0.0.1:{server.getsockname()[1]}/a.mp4")
    assert raised.value.code == "fetch_failed"


def test_frames_over_the_limit_are_refused(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 2)
    with pytest.raises(MediaError, match="megapixels") as raised:
        open_video(path, limits=ReadLimits(max_pixels=1000))
    assert raised.value.code == "too_large"


@pytest.mark.parametrize("pattern", ["", "*.png"], ids=["folder", "glob"])
def test_an_image_sequence_is_a_video(tmp_path, pattern):
    for number in (2, 0, 1):
        Image.new("RGB", (40, 30), (80 * number, 0, 0)).save(tmp_path / f"{number}.png")
    frames = read(f"{tmp_path}/{pattern}" if pattern else tmp_path)
    assert [(f.index, f.time_s) for f in frames] == [(0, 0.0), (1, 0.04), (2, 0.08)]
    assert [int(f.frame_rgb[0, 0, 0]) for f in frames] == [0, 80, 160]
    assert len(read(tmp_path, every_s=0.08)) == 2


def test_a_broken_picture_of_a_sequence_is_left_out_and_the_next_one_stands_in(tmp_path):
    for number in range(5):
        Image.new("RGB", (40, 30), (50 * number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:40])
    with open_video(tmp_path) as clip:
        assert [f.index for f in clip.frames()] == [0, 1, 3, 4]
        (error,) = clip.left_out
    assert (error.source, error.code, error.frame_index, error.time_s) == (str(tmp_path / "2.png"), "corrupt_media", 2, 0.08)
    assert [f.index for f in read(tmp_path, every_s=0.08)] == [0, 3, 4]


def test_a_sequence_of_broken_pictures_alone_is_no_video(tmp_path):
    words(tmp_path, "a.png")
    with pytest.raises(MediaError, match="got 1 that cannot"):
        read(tmp_path)


def test_a_photo_is_a_video_of_one_picture(tmp_path):
    (tmp_path / "a.JPG").write_bytes(turned(6))
    (frame,) = read(tmp_path / "a.JPG")
    assert np.array_equal(frame.frame_rgb, read_photo(tmp_path / "a.JPG").frame_rgb)
    assert (frame.index, frame.time_s, frame.picture) == (0, 0.0, str(tmp_path / "a.JPG"))


def test_a_cut_photo_is_no_video(tmp_path):
    Image.effect_noise((200, 200), 80).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:9000])
    with open_video(tmp_path / "a.jpg") as clip:
        with pytest.raises(MediaError, match="got 1 that cannot"):
            list(clip.frames())
        assert [error.code for error in clip.left_out] == ["corrupt_media"]


def test_what_moves_stays_a_video_whatever_its_name(tmp_path):
    write_clip(tmp_path / "a.mp4", 4).rename(tmp_path / "a.jpg")
    (tmp_path / "a.gif").write_bytes(moving("GIF", 3))
    (tmp_path / "a.mjpeg").write_bytes(turned(1) * 5)
    assert [len(read(tmp_path / name)) for name in ("a.jpg", "a.gif", "a.mjpeg")] == [4, 3, 5]


@pytest.mark.parametrize("every_s", [0, -1, float("nan"), float("inf"), 1e-320])
def test_a_step_that_no_clock_has_is_refused(every_s):
    with pytest.raises(UsageError, match="sampling step above 0 s"):
        check_every(every_s)
