"""The Live tab on a camera that plays real faces: end to end, refused, lost, and a service that goes and comes back."""

import time

import pytest
from PIL import Image
from playwright.sync_api import expect

from mien.contract import LABELS
from mien.sinks import csv_columns
from tests.page.conftest import Service, ids_of, session

READING = "#live-reading .headline"


@pytest.fixture
def live(open_page, service):
    page = open_page(service.address)
    turn_on(page)
    return page


def turn_on(page):
    page.get_by_role("button", name="Turn the camera on").click()
    expect(page.locator(READING)).to_contain_text("happy")


def painted(page, canvas):
    """Return how many pixels of a canvas are of the colour of happy."""
    return page.evaluate(
        """(name) => {
          const canvas = document.querySelector(name);
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let count = 0;
          for (let i = 0; i < data.length; i += 4) count += data[i] === 245 && data[i + 1] === 200 && data[i + 2] === 50;
          return count;
        }""",
        canvas,
    )


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def assert_goes_on(before, rows):
    """Check that a session kept its rows, and that those of another connection are later and of other people."""
    rest = rows[len(before) :]
    assert rows[: len(before)] == before
    assert rest
    for column in ("time_s", "frame_index"):
        assert float(rest[0][column]) > float(before[-1][column])
        assert [float(row[column]) for row in rest] == sorted(float(row[column]) for row in rest)
    assert min(ids_of(rest)) > max(ids_of(before))


def test_the_camera_is_read_and_everything_about_it_is_shown(live, shot):
    expect(live.get_by_text("Camera on", exact=True)).to_be_visible()
    expect(live).to_have_title("● Mien – camera on")
    expect(live.locator("#live-count")).to_have_text("1")
    expect(live.locator("#live-pace")).to_contain_text("a second")
    expect(live.locator("#live-delay")).to_contain_text("ms")
    assert float(live.get_by_role("meter", name="happy").get_attribute("aria-valuenow")) > 0.5
    expect(live.locator("#spoken")).to_contain_text("One face: happy")
    wait_for(lambda: painted(live, "#live-timeline") > 100)
    assert painted(live, "#live-overlay") > 100
    shot(live, "live")
    live.get_by_role("button", name="Turn off").click()
    expect(live.get_by_role("heading", name="Your camera is off")).to_be_visible()
    expect(live.get_by_text("Camera on", exact=True)).to_have_count(0)
    expect(live).to_have_title("Mien")
    assert not live.evaluate("document.querySelector('video').srcObject")


def test_pause_holds_the_picture_and_the_answers(live):
    live.get_by_role("button", name="Pause").click()
    expect(live.get_by_text("Paused")).to_be_visible()
    before = live.locator("#live-delay").inner_text()
    moment = live.evaluate("document.querySelector('video').currentTime")
    time.sleep(1)
    assert live.evaluate("document.querySelector('video').currentTime") == moment
    assert live.locator("#live-delay").inner_text() == before
    live.get_by_role("button", name="Go on").click()
    expect(live.locator("#live-delay")).not_to_have_text(before)


def test_a_snapshot_and_the_session_are_saved(live, tmp_path):
    with live.expect_download() as picture:
        live.get_by_role("button", name="Snapshot").click()
    rows = session(live, tmp_path)
    picture.value.save_as(tmp_path / "snapshot.png")
    with Image.open(tmp_path / "snapshot.png") as image:
        assert image.size == (640, 480)
    assert list(rows[0]) == csv_columns(LABELS)
    ids = [row["track_id"] for row in rows if row["track_id"]]
    assert ids[0] == "1"
    assert len(set(ids)) < len(ids)  # a busy machine shows few frames, and a face far from its last place is somebody else's
    assert [float(row["time_s"]) for row in rows] == sorted(float(row["time_s"]) for row in rows)
    assert sum(float(rows[-1][f"smoothed_{label}"]) for label in LABELS) == pytest.approx(1)


def test_a_refused_camera_says_what_to_do(open_page, service, shot):
    page = open_page(service.address, camera=False)
    page.context.grant_permissions([])  # nothing is allowed, so the browser refuses instead of asking
    page.get_by_role("button", name="Turn the camera on").click()
    expect(page.get_by_role("heading", name="Mien may not use the camera")).to_be_visible()
    expect(page.get_by_text("Allow the camera for this page")).to_be_visible()
    expect(page.get_by_text("Camera on", exact=True)).to_have_count(0)
    shot(page, "live-refused")


def test_a_lost_camera_is_said_and_comes_back(live, tmp_path, shot):
    live.context.clear_permissions()  # ends the camera's stream, as pulling the plug does
    expect(live.get_by_role("heading", name="The camera is gone")).to_be_visible()
    expect(live.get_by_text("Camera on", exact=True)).to_have_count(0)
    shot(live, "live-lost")
    before = session(live, tmp_path)
    live.context.grant_permissions(["camera"])
    live.get_by_role("button", name="Go on").click()
    expect(live.locator(READING)).to_contain_text("happy")
    assert_goes_on(before, session(live, tmp_path))


def test_a_session_lasts_until_the_camera_is_turned_off(live, tmp_path):
    before = session(live, tmp_path)
    with live.expect_websocket():
        live.locator("#live-camera").dispatch_event("change")  # there is one camera here, so choose it again
    expect(live.locator(READING)).to_contain_text("happy")
    rows = session(live, tmp_path)
    assert rows[: len(before)] == before
    live.get_by_role("button", name="Turn off").click()
    assert session(live, tmp_path)[: len(rows)] == rows
    turn_on(live)
    anew = session(live, tmp_path)
    assert anew[0] != rows[0]
    assert min(ids_of(anew)) == 1


def test_a_full_session_says_so_once(open_page, service, tmp_path, shot):
    page = open_page(service.address)

    def shorten(route):
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("MAX_RECORDS = 100_000;", "MAX_RECORDS = 5;"))

    page.route("**/page/live.js", shorten)
    page.reload()
    turn_on(page)
    notice = page.get_by_role("alert")
    expect(notice).to_contain_text("The session has 5 results, as many as its CSV holds.")
    shot(page, "live-full")
    notice.get_by_role("button", name="Close").click()
    before = page.locator("#live-delay").inner_text()
    expect(page.locator("#live-delay")).not_to_have_text(before)
    expect(notice).to_be_hidden()
    assert len({row["frame_index"] for row in session(page, tmp_path)}) == 5


def test_a_paused_tab_takes_nobodys_place(open_page, cache):
    service = Service(cache, MIEN_STREAM_IDLE_S="2")
    try:
        page = open_page(service.address)
        sockets = []
        page.on("websocket", lambda socket: sockets.append(socket))
        turn_on(page)
        page.get_by_role("button", name="Pause").click()
        deadline = time.monotonic() + 30
        while not sockets[-1].is_closed():
            assert time.monotonic() < deadline
            page.wait_for_timeout(100)
        opened = len(sockets)
        page.wait_for_timeout(3000)
        assert len(sockets) == opened
        expect(page.get_by_role("alert")).to_be_hidden()
        before = page.locator("#live-delay").inner_text()
        page.get_by_role("button", name="Go on").click()
        expect(page.locator("#live-delay")).not_to_have_text(before)
        assert len(sockets) > opened
    finally:
        service.kill()


def test_a_service_that_goes_and_comes_back(open_page, cache, tmp_path, shot):
    service = Service(cache)
    try:
        page = open_page(service.address)
        turn_on(page)
        service.kill()
        notice = page.get_by_role("alert")
        expect(notice).to_contain_text("does not answer")
        expect(page.get_by_text("Camera on", exact=True)).to_be_visible()
        shot(page, "live-service-gone")
        rows = session(page, tmp_path)
        service.start()
        expect(notice).to_be_hidden()
        before = page.locator("#live-delay").inner_text()
        expect(page.locator("#live-delay")).not_to_have_text(before)
        assert_goes_on(rows, session(page, tmp_path))
        shot(page, "live-service-back")
    finally:
        service.kill()
