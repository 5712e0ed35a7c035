import os
import socket
import threading
from contextlib import suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np
import pytest
from PIL import Image

from mien.errors import MediaError, UsageError
from mien.media import ffmpeg
from mien.media.images import ReadLimits, read_photo
from mien.media.video import check_every, open_video
from mien.media.video_writer import VideoWriter
from tests.media.clips import LEFT_UP, RATE, REST, RIGHT_UP, close_to, corner_colours, damage, noise, read, show_as, turn_mp4, write_clip
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


@pytest.mark.parametrize(
    ("degrees", "flips", "corners_shown"),
    [
        pytest.param(0, {"hflip": True}, "rlbb", id="a mirror"),
        pytest.param(0, {"vflip": True}, "bbrl", id="upside down in a mirror"),
        pytest.param(180, {}, "bblr", id="half a turn"),
        pytest.param(90, {"hflip": True}, "brlb", id="a turn in a mirror"),
        pytest.param(90, {"vflip": True}, "lbbr", id="a turn upside down in a mirror"),
    ],
)
def test_mirrored_videos_are_shown_as_the_file_says(tmp_path, degrees, flips, corners_shown):
    """A selfie recorder mirrors; what is turned upside down instead is answered with another expression."""
    path = show_as(write_clip(tmp_path / "a.mp4", 2), tmp_path / "b.mp4", degrees, **flips)
    colours = {"l": LEFT_UP, "r": RIGHT_UP, "b": REST}
    for seen, name in zip(corner_colours(read(path)[0].frame_rgb), corners_shown, strict=True):
        assert seen == close_to(colours[name])


JOINED = [
    pytest.param("a.ts", {}, id="broadcast"),
    pytest.param("a.vob", {"codec": "mpeg2video", "time_base": Fraction(1, 25)}, id="a DVD's"),
]


@pytest.mark.parametrize(("name", "options"), JOINED)
def test_time_goes_on_where_two_recordings_were_joined(tmp_path, name, options):
    part = write_clip(tmp_path / name, noise(75), **options)
    (tmp_path / f"both-{name}").write_bytes(part.read_bytes() * 2)
    frames = read(tmp_path / f"both-{name}")
    times = np.array([f.time_s for f in frames])
    assert len(frames) == 150
    assert times == pytest.approx(np.arange(150) / RATE, abs=0.05)  # a DVD gives several small pictures one time
    assert times[75] - times[74] == pytest.approx(1 / RATE, abs=1e-3)
    assert [f.index for f in frames if f.notes] == [75]
    assert "clock starts again" in frames[75].notes[0]
    sampled = read(tmp_path / f"both-{name}", every_s=1)
    assert [round(f.time_s) for f in sampled] == list(range(6))
    assert sum(bool(f.notes) for f in sampled) == 1, "the note of a frame that is not looked at goes to the next"


@pytest.mark.parametrize("name", ["a.avi", "a.mkv"], ids=["without times", "with times"])
def test_pictures_that_are_stored_in_another_order_keep_their_times(tmp_path, name):
    """AVI says when a picture is decoded, not when it is shown."""
    frames = read(write_clip(tmp_path / name, noise(60), time_base=Fraction(1, RATE)))
    assert [f.time_s for f in frames] == pytest.approx([i / RATE for i in range(60)], abs=2e-3)


def test_a_segment_that_starts_late_is_whole(tmp_path):
    """What ``ffmpeg -f segment`` writes: the clock starts at ten seconds, and the header's length counts from zero."""
    frames = read(write_clip(tmp_path / "a.mkv", 50, start_s=10))
    assert (len(frames), frames[0].time_s, frames[-1].time_s) == (50, 0, pytest.approx(1.96, abs=2e-3))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("a.mkv", {"sound": "aac"}, id="matroska with sound"),
        pytest.param("a.webm", {"codec": "libvpx", "sound": "libopus"}, id="webm with sound"),
        pytest.param("a.ts", {"sound": "mp2"}, id="broadcast"),
        pytest.param("a.m2ts", {}, id="blu-ray"),
        pytest.param("a.avi", {"codec": "mpeg4", "time_base": Fraction(1, RATE)}, id="avi"),
        pytest.param("a.wmv", {"codec": "wmv2", "sound": "wmav2"}, id="windows media"),
        pytest.param("a.flv", {"codec": "flv", "time_base": Fraction(1, RATE)}, id="flash"),
        pytest.param("a.ogv", {"codec": "libvpx"}, id="ogg"),
    ],
)
def test_every_container_that_was_cut_is_told_from_a_whole_one(tmp_path, name, options):
    whole = write_clip(tmp_path / name, noise(50), **options)
    assert len(read(whole)) == 50
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10 | 1])
    with open_video(whole) as clip, pytest.raises(MediaError, match="which was cut"):
        list(clip.frames())


def test_fragments_that_were_cut_are_told(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", rate=RATE) as writer:
        for i, picture in enumerate(noise(250)):
            writer.write(i / RATE, picture)
        data = (tmp_path / ".a.mp4.part").read_bytes()  # in fragments, as phones and services record
    (tmp_path / "b.mp4").write_bytes(data[: len(data) * 9 // 10 | 1])
    with open_video(tmp_path / "b.mp4") as clip, pytest.raises(MediaError, match="which was cut"):
        list(clip.frames())


@pytest.mark.parametrize(
    ("name", "codec", "number", "count"),
    [
        pytest.param("a.mov", "mjpeg", 30, 1, id="one picture"),
        pytest.param("a.mov", "mjpeg", 30, 3, id="three in a row"),
        pytest.param("a.mov", "mjpeg", 0, 2, id="the first ones"),
        pytest.param("a.avi", "mpeg4", 24, 1, id="a picture that others rest on"),
        pytest.param("a.mp4", "libx264", 30, 2, id="h264"),
    ],
)
def test_a_damaged_middle_costs_itself(tmp_path, name, codec, number, count):
    options = {"pix_fmt": "yuvj420p"} if codec == "mjpeg" else {}
    path = damage(write_clip(tmp_path / name, noise(72), codec=codec, time_base=Fraction(1, RATE), **options), number, count)
    with open_video(path) as clip:
        frames = list(clip.frames())
        (error,) = clip.left_out
    assert (error.source, error.code) == (str(path), "corrupt_media")
    assert len(frames) == 72 - count
    if codec == "mjpeg":
        assert [f.index for f in frames] == [i for i in range(72) if not number <= i < number + count]
        assert [f.time_s for f in frames] == pytest.approx([f.index / RATE for f in frames], abs=1e-3)
        assert (error.frame_index, error.time_s) == (number, pytest.approx(number / RATE, abs=1e-3))
    assert frames[-1].time_s == pytest.approx(71 / RATE, abs=2e-3)


def test_a_damaged_end_is_an_error(tmp_path):
    path = damage(write_clip(tmp_path / "a.mov", noise(20), codec="mjpeg", pix_fmt="yuvj420p"), 15, 5)
    with open_video(path) as clip, pytest.raises(MediaError, match="end is damaged"):
        list(clip.frames())


def test_a_recording_that_begins_between_two_key_frames_is_no_damage(tmp_path):
    data = write_clip(tmp_path / "a.ts", noise(100)).read_bytes()
    (tmp_path / "b.ts").write_bytes(data[188 * (len(data) // 188 // 3) :])
    with open_video(tmp_path / "b.ts") as clip:
        try:
            list(clip.frames())
        except MediaError as error:  # nothing that could be shown came after it
            assert "empty or damaged" in str(error)  # noqa: PT017
        assert clip.left_out == []


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "PNG"])
def test_animated_pictures_are_videos_with_their_own_times(tmp_path, kind):
    pictures = [Image.new("RGB", (40, 30), (40 * i, 0, 0)) for i in range(5)]
    path = tmp_path / f"a.{kind.lower()}"
    pictures[0].save(path, kind, save_all=True, append_images=pictures[1:], duration=[40, 100, 40, 500, 40])
    frames = read(path)
    assert [f.time_s for f in frames] == pytest.approx([0, 0.04, 0.14, 0.18, 0.68], abs=1e-3)
    assert [int(f.frame_rgb[0, 0, 0]) for f in frames] == pytest.approx([0, 40, 80, 120, 160], abs=8)
    assert [f.index for f in read(path, every_s=0.1)] == [0, 2, 4]


def test_a_damaged_animated_picture_gives_what_comes_before(tmp_path):
    pictures = [Image.effect_noise((64, 64), 80 + i).convert("RGB") for i in range(4)]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], duration=40)
    data = (tmp_path / "a.webp").read_bytes()
    (tmp_path / "a.webp").write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(MediaError) as raised:
        read(tmp_path / "a.webp")
    assert raised.value.code == "corrupt_media"


@pytest.mark.parametrize("ranges", [False, True], ids=["whole files only", "ranges"])
def test_an_index_at_the_end_behind_a_plain_server_is_said(tmp_path, ranges):
    data = write_clip(tmp_path / "a.mp4", noise(50)).read_bytes()
    assert data.index(b"mdat") < data.index(b"moov")

    class Plain(BaseHTTPRequestHandler):
        def do_GET(self):
            start = int((self.headers["Range"] or "bytes=0-").split("=")[1].split("-")[0]) if ranges else 0
            self.send_response(206 if ranges else 200)
            if ranges:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(data[start:])

        def log_message(self, *_):
            """Keep stderr for the tests' own words."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Plain) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/a.mp4"
        try:
            if ranges:
                assert len(read(address)) == 50
            else:
                with pytest.raises(MediaError, match="without range requests") as raised:
                    read(address)
                assert raised.value.code == "fetch_failed"
                assert "faststart" in str(raised.value)
        finally:
            server.shutdown()


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
        pytest.param(lambda folder: f"http://127.0.0.1:9/a.mp4?signed={'x' * 5000}", "fetch_failed", id="longer than a name may be"),
        pytest.param(lambda folder: "x" * 5000 + ".mp4", "unreadable", id="a name that is too long"),
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


@pytest.mark.skipif(os.name == "nt", reason="links are made by administrators alone there")
def test_a_sequence_of_links_has_all_its_frames(tmp_path):
    """A tool that holds a picture for longer links to it again."""
    (tmp_path / "shots").mkdir()
    for number in range(2):
        Image.new("RGB", (40, 30), (80 * number, 0, 0)).save(tmp_path / f"{number}.png")
    for number, shown in enumerate((0, 0, 1, 1, 0)):
        (tmp_path / "shots" / f"{number}.png").symlink_to(tmp_path / f"{shown}.png")
    frames = read(tmp_path / "shots")
    assert [int(f.frame_rgb[0, 0, 0]) for f in frames] == [0, 0, 80, 80, 0]
    assert len(read(f"{tmp_path}/shots/*.png")) == 5


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
