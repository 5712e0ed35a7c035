"""Private mode: the browser's own answers are the service's, and nothing leaves the page while it gives them."""

import base64

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from mien.align import chip
from mien.assets import demo_photo
from mien.bundles import open_bundle
from mien.classify import Classifier
from mien.explain import by_part, occlusion_map
from mien.media.images import read_photo
from mien.pipeline import analyze
from mien.track import Smoother
from tests.page.conftest import count_pictures, ids_of, portrait, session

SAME_CHIP = 1e-3  # probabilities of one chip, in the browser and here

OPEN = """async () => {
  const { PrivateEngine } = await import("/page/private/engine.js");
  const { models } = await import("/page/api.js");
  globalThis.engine = new PrivateEngine();
  await globalThis.engine.open((await models())[0].name, {});
}"""
PIXELS = """(bytes, width, height) => {
  const rgb = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
  const data = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let i = 0; i < width * height; i++) data.set(rgb.subarray(3 * i, 3 * i + 3), 4 * i);
  return new ImageData(data, width, height);
}"""
DOUBT = """async (score) => {
  const face = { box_xyxy: [0, 0, 48, 48], score, landmarks: [], probabilities: [0.1, 0.9] };
  const answers = {
    open: { labels: ["calm", "glad"], name: "told", version: "1" },
    analyze: { width: 48, height: 48, uncertainBelow: 0.5, faces: [face] },
  };
  globalThis.Worker = class {
    addEventListener(kind, call) { if (kind === "message") this.tell = call; }
    postMessage({ id, verb }) { queueMicrotask(() => this.tell({ data: { id, answer: answers[verb] } })); }
  };
  const { PrivateEngine } = await import("/page/private/engine.js");
  const engine = new PrivateEngine();
  await engine.open("told", {});
  return (await engine.analyze(null)).faces[0].uncertain;
}"""


def encode(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


@pytest.fixture(scope="module")
def classifier():
    return Classifier(open_bundle())


@pytest.fixture
def bare(open_page, private_service):
    """A page of the service on which its modules can be called."""
    return open_page(private_service.address)


@pytest.fixture
def private(bare):
    """The same page, in private mode."""
    expect(bare.locator("#model")).to_contain_text("Model")
    switch = bare.get_by_role("switch", name="In this browser only")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "true")
    return bare


def some_landmarks(count, width, height):
    """Return faces of many sizes and turns, some of them partly outside the frame; (N, 5, 2)."""
    random = np.random.default_rng(7)
    template = np.array(open_bundle().spec.template) - 24
    faces = []
    for _ in range(count):
        angle, scale = random.uniform(-0.9, 0.9), np.exp(random.uniform(-1.2, 2.2))
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = random.uniform((0, 0), (width, height))
        faces.append(template @ turn.T + centre + random.normal(0, 1.5 * scale, (5, 2)))
    return np.array(faces)


@pytest.mark.parametrize("channels", [pytest.param(1, id="grey"), pytest.param(3, id="colour")])
def test_chips_are_cut_byte_for_byte_as_by_the_library(bare, classifier, channels):
    frame = read_photo(demo_photo()).frame_rgb
    faces = some_landmarks(24, 512, 512)
    spec = classifier.spec.updated(channels=channels)
    ours = bare.evaluate(
        f"""async ([bytes, faces, spec]) => {{
          const {{ cutChip }} = await import("/page/private/align.js");
          const frame = ({PIXELS})(bytes, 512, 512);
          return faces.map((points) => Array.from(cutChip(frame, points, spec)));
        }}""",
        [encode(frame), faces.tolist(), {"chip_size": 48, "channels": channels, "template": spec.template}],
    )
    assert ours == [chip(frame, points, spec).ravel().tolist() for points in faces]


def test_probabilities_of_a_chip_are_the_services(bare, classifier):
    frame = read_photo(demo_photo()).frame_rgb
    chips = np.stack([chip(frame, points, classifier.spec) for points in some_landmarks(32, 512, 512)])
    bare.evaluate(OPEN)
    ours = bare.evaluate(
        """(all) => engine.classify(all.map((bytes) => Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0))))""",
        [encode(one) for one in chips],
    )
    theirs = classifier.probabilities(chips)
    assert len(set(theirs.argmax(1))) >= 3  # the chips are not all alike
    assert np.abs(np.array(ours) - theirs).max() < SAME_CHIP


def test_the_heat_map_is_the_services(bare, classifier):
    result = analyze(demo_photo())
    frame = read_photo(demo_photo()).frame_rgb
    bare.evaluate(OPEN)
    ours = bare.evaluate(
        f"""async ([bytes, points]) => {{
          const {{ heat, parts }} = await engine.explain(await createImageBitmap(({PIXELS})(bytes, 512, 512)), points);
          return {{ heat: Array.from(heat), parts }};
        }}""",
        [encode(frame), result.faces[0].landmarks],
    )
    theirs = occlusion_map(classifier, chip(frame, result.faces[0].landmarks, classifier.spec))
    assert np.array(ours["heat"]) == pytest.approx(theirs.ravel(), abs=2e-3)
    assert ours["parts"] == pytest.approx(by_part(theirs, classifier.spec), abs=2e-3)


def test_smoothing_is_the_librarys(bare):
    random = np.random.default_rng(3)
    times = np.cumsum(random.uniform(0.01, 0.3, 30))
    rows = random.dirichlet(np.ones(7) / 2, 30)
    ours = bare.evaluate(
        """async ([times, rows]) => {
          const { Tracker } = await import("/page/private/track.js");
          const tracker = new Tracker();
          return times.map((time, i) => tracker.update(time, [{ box_xyxy: [i, 0, i + 50, 60], score: 0.9, probabilities: rows[i] }])[0]);
        }""",
        [times.tolist(), rows.tolist()],
    )
    smoother = Smoother()
    assert {face["track_id"] for face in ours} == {1}
    assert np.array([face["smoothed"] for face in ours]) == pytest.approx(
        np.array([smoother.smooth(1, t, row.tolist()) for t, row in zip(times, rows, strict=True)])
    )


def test_a_photo_is_read_without_a_single_request(private, tmp_path, shot):
    Image.fromarray(np.tile(portrait(256), (2, 3, 1))).save(tmp_path / "six people.png")
    asked = []
    held = count_pictures(private)
    private.get_by_role("tab", name="Photo").click()
    private.context.on("request", lambda request: request.url.startswith("http") and asked.append(request.url))
    private.locator("#photo-input").set_input_files([str(demo_photo()), str(tmp_path / "six people.png")])
    expect(private.locator("#photo-reading .headline")).to_contain_text("happy")
    expect(private.get_by_role("button", name="six people.png: faces: 6")).to_be_visible()
    expect(private.get_by_text("Pictures stay in this browser")).to_be_visible()
    shot(private, "private-photo")
    assert asked == []
    there, here = float(private.get_by_role("meter", name="happy").nth(0).get_attribute("aria-valuenow")), analyze(demo_photo()).faces[0]
    assert there == pytest.approx(here.emotions["happy"], abs=0.05)  # the browser scales the detector's view its own way
    assert held() == 1  # the photo that is shown
    private.get_by_role("button", name="What it rests on").click()
    expect(private.locator("#photo-words")).to_contain_text("decides")
    assert held() == 1


def test_the_camera_is_read_without_a_single_request(private, shot):
    asked, sockets = [], []
    private.context.on("request", lambda request: request.url.startswith("http") and asked.append(request.url))
    private.on("websocket", lambda socket: sockets.append(socket.url))
    private.get_by_role("button", name="Turn the camera on").click()
    expect(private.locator("#live-reading .headline")).to_contain_text("happy")
    expect(private.locator("#live-pace")).to_contain_text("a second")
    shot(private, "private-live")
    assert (asked, sockets) == ([], [])


def test_switching_back_uses_the_service_again(private, tmp_path):
    switch = private.get_by_role("switch", name="In this browser only")
    private.get_by_role("button", name="Turn the camera on").click()
    expect(private.locator("#live-reading .headline")).to_contain_text("happy")
    before = session(private, tmp_path)
    with private.expect_websocket():
        switch.click()
    expect(switch).to_have_attribute("aria-checked", "false")
    expect(private.locator("#live-reading .headline")).to_contain_text("happy")
    rows = session(private, tmp_path)
    assert rows[: len(before)] == before
    times, frames = [float(row["time_s"]) for row in rows], [int(row["frame_index"]) for row in rows]
    assert times == sorted(times)
    assert list(dict.fromkeys(frames)) == sorted(set(frames))
    assert 1 in ids_of(before)
    assert 1 not in ids_of(rows[-1:])  # who is seen by the service is nobody whom the browser saw


def test_videos_are_not_sent_in_private_mode(private, tmp_path):
    asked = []
    private.get_by_role("tab", name="Video").click()
    private.context.on("request", lambda request: request.url.startswith("http") and asked.append(request.url))
    (tmp_path / "clip.mp4").write_bytes(b"anything")
    private.locator("#video-input").set_input_files(str(tmp_path / "clip.mp4"))
    expect(private.get_by_role("heading", name="Videos need the service")).to_be_visible()
    assert asked == []


@pytest.mark.parametrize(("score", "uncertain"), [(0.69, True), (0.7, False)])
def test_a_box_that_may_be_no_face_is_uncertain_there_too(bare, score, uncertain):
    assert bare.evaluate(DOUBT, score) is uncertain


def test_without_its_runtime_the_page_says_how_to_get_it(open_page, service):
    page = open_page(service.address)
    expect(page.locator("#model")).to_contain_text("Model")
    switch = page.get_by_role("switch", name="In this browser only")
    switch.click()
    expect(page.get_by_role("alert")).to_contain_text("mien web install-runtime")
    expect(switch).to_have_attribute("aria-checked", "false")
