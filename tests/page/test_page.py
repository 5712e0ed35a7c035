"""The page as a whole: for everybody, on a phone, in the dark, by keyboard alone, and in step with the library."""

import pytest
from playwright.sync_api import expect

from mien.assets import demo_photo
from mien.contract import LABELS
from mien.draw import COLOURS
from mien.results import Emotions, Face
from mien.serve.guard.keys import hash_of
from mien.sinks import csv_columns
from mien.wording import in_words
from tests.page.conftest import PHONE, Service

TABS = ("live", "photo", "video")


@pytest.fixture
def page(open_page, service):
    page = open_page(service.address)
    expect(page.locator("#model")).to_contain_text("Model")
    return page


def fill(page):
    """Bring the Photo and the Live tab into the state in which they show answers, Live last."""
    page.get_by_role("tab", name="Photo").click()
    page.locator("#photo-input").set_input_files(str(demo_photo()))
    expect(page.locator("#photo-reading .headline")).to_contain_text("happy")
    page.get_by_role("tab", name="Live").click()
    page.get_by_role("button", name="Turn the camera on").click()
    expect(page.locator("#live-reading .headline")).to_contain_text("happy")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong(open_page, service, check_access, shot, scheme):
    page = open_page(service.address, color_scheme=scheme, reduced_motion="reduce")  # colours in the middle of a fade are no colours
    expect(page.locator("#model")).to_contain_text("Model")
    for name in TABS:
        page.get_by_role("tab", name=name.title()).click()
        check_access(page)
        shot(page, f"empty-{name}-{scheme}")
    fill(page)
    check_access(page)
    shot(page, f"live-{scheme}")
    page.get_by_role("tab", name="Photo").click()
    check_access(page)


def test_a_phone_shows_everything_without_scrolling_sideways(open_page, service, check_access, shot):
    page = open_page(service.address, viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    expect(page.locator("#model")).to_contain_text("Model")
    fill(page)
    for name in TABS:
        page.get_by_role("tab", name=name.title()).tap()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        shot(page, f"phone-{name}", full_page=True)
    check_access(page)
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, a.button, select, [role=switch]")].filter((item) => item.checkVisibility())
          .map((item) => [item.textContent.trim(), item.getBoundingClientRect().height]).filter(([, height]) => height < 24)"""
    )
    assert small == []  # WCAG 2.2, 2.5.8


def test_the_colours_can_be_chosen_and_stay(page):
    page.get_by_role("button", name="Colours: as the system has them").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.get_by_role("button", name="Colours: light").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    page.get_by_role("button", name="Colours: dark").click()
    expect(page.locator("html")).not_to_have_attribute("data-theme", "dark")


def test_everything_can_be_done_by_keyboard(page):
    focused = "document.activeElement.id || document.activeElement.textContent"
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "Skip to the content"
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "tab-live"
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Video")).to_be_focused()
    expect(page.locator("#panel-video")).to_be_visible()
    page.keyboard.press("Home")
    expect(page.locator("#panel-live")).to_be_visible()
    for wanted in ("private", "theme", "live-start"):
        page.keyboard.press("Tab")
        assert page.evaluate(focused) == wanted
    page.keyboard.press("Enter")
    expect(page.locator("#live-reading .headline")).to_contain_text("happy")
    expect(page.get_by_role("button", name="Pause")).to_be_focused()
    page.keyboard.press("Space")
    expect(page.get_by_text("Paused")).to_be_visible()
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Turn the camera on")).to_be_focused()


def test_a_tab_has_an_address(open_page, service):
    page = open_page(f"{service.address}/#video")
    expect(page.get_by_role("tab", name="Video")).to_have_attribute("aria-selected", "true")
    page.goto(f"{service.address}/#nonsense")
    expect(page.get_by_role("tab", name="Live")).to_have_attribute("aria-selected", "true")


def test_a_service_that_is_gone_is_said_once_and_its_return_as_well(open_page, cache):
    service = Service(cache)
    try:
        page = open_page(f"{service.address}/#photo")
        expect(page.locator("#model")).to_contain_text("Model")
        service.kill()
        page.locator("#photo-input").set_input_files(str(demo_photo()))
        expect(page.locator("#photo-words")).to_contain_text("Is “mien serve” still running?")
        expect(page.get_by_role("alert")).to_contain_text("does not answer")
        service.start()
        expect(page.get_by_role("alert")).to_be_hidden()
        page.locator("#photo-input").set_input_files(str(demo_photo()))
        expect(page.locator("#photo-reading .headline")).to_contain_text("happy")
    finally:
        service.kill()


def test_a_service_with_keys_asks_for_one(open_page, cache):
    service = Service(cache, MIEN_API_KEYS=hash_of("open sesame"))
    try:
        page = open_page(service.address)
        page.get_by_label("Key").fill("open sesame")
        page.get_by_role("button", name="Go on").click()
        expect(page.locator("#model")).to_contain_text("Model")
        page.get_by_role("button", name="Turn the camera on").click()
        expect(page.locator("#live-reading .headline")).to_contain_text("happy")
    finally:
        service.kill()


def test_a_browser_that_keeps_nothing_shows_the_page_all_the_same(open_page, cache):
    service = Service(cache, MIEN_API_KEYS=hash_of("open sesame"))
    try:
        page = open_page(service.address)
        page.add_init_script(
            """for (const name of ["localStorage", "sessionStorage"]) {
              Object.defineProperty(globalThis, name, { get() { throw new DOMException("blocked", "SecurityError"); } });
            }"""
        )
        page.reload()
        page.get_by_label("Key").fill("wrong")
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_label("Key")).to_have_value("")  # asked again
        page.get_by_label("Key").fill("open sesame")
        page.get_by_role("button", name="Go on").click()
        expect(page.locator("#model")).to_contain_text("Model")
        expect(page.get_by_role("alert")).to_be_hidden()
        page.get_by_role("button", name="Turn the camera on").click()
        expect(page.locator("#live-reading .headline")).to_contain_text("happy")
    finally:
        service.kill()


def test_the_page_speaks_and_paints_as_the_library_does(page):
    ours = page.evaluate(
        """async (labels) => {
          const { COLOURS } = await import("/page/emotions.js");
          const { csvColumns } = await import("/page/save.js");
          return { colours: COLOURS, columns: csvColumns(labels) };
        }""",
        LABELS,
    )
    assert {label: tuple(colour) for label, colour in ours["colours"].items()} == COLOURS
    assert ours["columns"] == csv_columns(LABELS)


@pytest.mark.parametrize("uncertain", [pytest.param(False, id="sure"), pytest.param(True, id="not sure")])
@pytest.mark.parametrize("smoothed", [pytest.param(False, id="photo"), pytest.param(True, id="stream")])
def test_an_answer_is_worded_as_by_the_library(page, uncertain, smoothed):
    emotions, steady = Emotions(("happy", "sad", "fear"), (0.2, 0.5, 0.3)), Emotions(("happy", "sad", "fear"), (0.6, 0.1, 0.3))
    face = Face((0, 0, 9, 9), 0.9, ((1, 1),) * 5, emotions, uncertain, smoothed=steady if smoothed else None)
    assert page.evaluate("async (face) => (await import('/page/emotions.js')).inWords(face)", face.to_dict()) == in_words(face)


def test_a_key_that_no_header_can_carry_is_asked_for_again(open_page, cache):
    running = Service(cache, MIEN_API_KEYS=hash_of("right"))
    try:
        page = open_page(running.address)
        page.get_by_label("Key").fill("ключ")
        page.get_by_role("button", name="Go on").click()
        page.wait_for_timeout(500)
        page.get_by_label("Key").fill("right")
        page.get_by_role("button", name="Go on").click()
        expect(page.locator("#model")).to_contain_text("Model")
    finally:
        running.kill()
