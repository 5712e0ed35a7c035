"""The Video tab, end to end."""

import csv
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.media.clips import write_clip
from tests.page.conftest import PATIENCE_MS, portrait

SECONDS = 2.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Two seconds of one face that walks to the right, 25 frames a second."""
    face = portrait(200)

    def frames():
        for i in range(round(25 * SECONDS)):
            frame = np.full((200, 320, 3), 90, np.uint8)
            frame[:, 2 * i : 2 * i + 200] = face
            yield frame

    return write_clip(tmp_path_factory.mktemp("clip") / "a walk.mp4", frames())


@pytest.fixture
def page(open_page, service):
    page = open_page(f"{service.address}/#video")
    expect(page.locator("#model")).to_contain_text("Model")
    return page


def analyse(page, clip):
    page.locator("#video-input").set_input_files(str(clip))
    expect(page.locator("#video-player")).to_be_visible(timeout=3 * PATIENCE_MS)
    expect(page.locator("#video-clock")).to_contain_text("of 0:02.0")


def test_a_video_is_analysed_played_and_searched(page, clip, shot):
    page.locator("#video-input").set_input_files(str(clip))
    expect(page.locator("#video-player")).to_be_visible(timeout=3 * PATIENCE_MS)
    expect(page.locator("#video-reading .headline")).to_contain_text("happy")
    slider = page.get_by_role("slider", name="Place in the video")
    expect(slider).to_have_attribute("aria-valuemax", "2.0")
    assert page.evaluate("document.querySelector('#video-player').videoWidth") == 320

    box = slider.bounding_box()
    slider.click(position={"x": 26 + (box["width"] - 28) / 2, "y": 10})  # the lane begins right of the numbers
    expect(slider).to_have_attribute("aria-valuenow", "1.0")
    slider.focus()
    page.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuenow", "0.0")
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "0:01.0 of 0:02.0")
    shot(page, "video")

    page.evaluate("document.querySelector('#video-player').play()")
    expect(slider).to_have_attribute("aria-valuenow", "2.0")


def test_the_records_are_saved_and_the_service_forgets(page, clip, service, tmp_path):
    analyse(page, clip)
    with page.expect_download() as table:
        page.get_by_role("button", name="Save as CSV").click()
    table.value.save_as(tmp_path / "walk.csv")
    with (tmp_path / "walk.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["time_s"]) for row in rows] == pytest.approx([i / 25 for i in range(50)])
    assert table.value.suggested_filename == "a walk-mien.csv"
    address = page.get_by_role("link", name="Save the video").evaluate("(link) => link.href")
    with urllib.request.urlopen(address) as video:
        assert video.headers["Content-Type"] == "video/mp4"
    page.get_by_role("button", name="Delete from the service").click()
    expect(page.get_by_role("heading", name="Drop a video here")).to_be_visible()
    assert not is_there(address)


def test_closing_the_page_deletes_the_services_copy(page, clip):
    analyse(page, clip)
    address = page.get_by_role("link", name="Save the video").evaluate("(link) => link.href")
    page.close(run_before_unload=False)
    deadline = time.monotonic() + 20
    while is_there(address):
        assert time.monotonic() < deadline, "the service still has the video"
        time.sleep(0.2)


def is_there(address):
    try:
        urllib.request.urlopen(address).close()
    except urllib.error.HTTPError as error:
        error.close()
        return False
    return True


def test_what_is_no_video_is_said_in_plain_words(page, tmp_path, shot):
    (tmp_path / "notes.mp4").write_text("no video at all")
    page.locator("#video-input").set_input_files(str(tmp_path / "notes.mp4"))
    expect(page.get_by_role("heading", name="That did not work")).to_be_visible()
    expect(page.get_by_text("Mien does not read this kind of file")).to_be_visible()
    shot(page, "video-refused")


def test_cancelling_leaves_nothing_behind(page, tmp_path):
    long = write_clip(tmp_path / "long.mp4", 3000)
    with page.expect_response(lambda answer: answer.request.method == "POST" and "/v1/video" in answer.url) as handed_in:
        page.locator("#video-input").set_input_files(str(long))
    expect(page.get_by_role("progressbar", name="Progress")).to_be_visible()
    expect(page.locator("#video-words")).to_contain_text("%")
    job = handed_in.value.json()["id"]
    with page.expect_response(lambda answer: answer.request.method == "DELETE" and job in answer.url) as removed:
        page.get_by_role("button", name="Cancel").click()
    assert removed.value.status == 204
    expect(page.get_by_role("heading", name="Drop a video here")).to_be_visible()


def test_private_mode_calls_back_a_video_that_is_being_sent(page, clip):
    engine = "export class PrivateEngine { async open() {} close() {} }"
    page.route("**/private/engine.js", lambda route: route.fulfill(body=engine, content_type="text/javascript"))
    page.route("**/v1/video?*", lambda route: None)  # never answered
    page.reload()
    expect(page.locator("#model")).to_contain_text("Model")
    page.locator("#video-input").set_input_files(str(clip))
    expect(page.locator("#video-title")).to_have_text("Sending a walk.mp4")
    page.get_by_role("switch", name="In this browser only").click()
    expect(page.get_by_text("nothing is sent anywhere")).to_be_visible()
    expect(page.locator("#video-title")).to_have_text("Drop a video here")
