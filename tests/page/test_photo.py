"""The Photo tab, end to end."""

import base64
import json

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from mien.assets import demo_photo
from mien.pipeline import analyze
from tests.page.conftest import count_pictures, portrait


@pytest.fixture
def page(open_page, service):
    page = open_page(f"{service.address}/#photo")
    expect(page.locator("#model")).to_contain_text("Model")
    return page


def choose(page, *files):
    page.locator("#photo-input").set_input_files([str(file) for file in files])


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """A photo with eight faces."""
    file = tmp_path_factory.mktemp("crowd") / "eight people.png"
    Image.fromarray(np.tile(portrait(256), (2, 4, 1))).save(file)
    return file


def test_a_photo_gets_the_answer_that_the_library_gives(page, shot):
    choose(page, demo_photo())
    expect(page.locator("#photo-reading .headline")).to_contain_text("happy")
    face = analyze(demo_photo()).faces[0]
    for label, probability in face.emotions.to_dict().items():
        expect(page.locator(f"#photo-reading li[data-label={label}] .value")).to_have_text(f"{probability:.2f}")
    expect(page.get_by_role("img", name="astronaut.jpg. One face: happy")).to_be_visible()
    shot(page, "photo")


def test_many_faces_are_chosen_by_click_and_by_key(page, crowd, shot):
    choose(page, crowd)
    expect(page.locator("#photo-words")).to_contain_text("8 faces")
    people = page.get_by_role("group", name="Whose expression")
    expect(people.get_by_role("radio")).to_have_count(8)
    expect(people.get_by_role("radio", name="Person 1")).to_be_checked()
    people.get_by_role("radio", name="Person 1").focus()
    page.keyboard.press("ArrowRight")
    expect(people.get_by_role("radio", name="Person 2")).to_be_checked()
    box = page.locator("#photo-canvas").bounding_box()
    fifth = analyze(crowd).faces[4].box_xyxy
    scale = min(box["width"] / 1024, box["height"] / 512)
    x = (box["width"] - 1024 * scale) / 2 + (fifth[0] + fifth[2]) / 2 * scale
    y = (box["height"] - 512 * scale) / 2 + (fifth[1] + fifth[3]) / 2 * scale
    page.locator("#photo-canvas").click(position={"x": x, "y": y})
    expect(people.get_by_role("radio", name="Person 5")).to_be_checked()
    shot(page, "photo-many")


def test_a_photo_that_has_gone_is_not_called_a_silent_service(page, tmp_path):
    Image.fromarray(portrait(256)).save(tmp_path / "here.png")
    choose(page, tmp_path / "here.png")
    expect(page.locator("#photo-words")).to_contain_text("One face")
    (tmp_path / "here.png").unlink()
    page.get_by_role("button", name="What it rests on").click()
    expect(page.locator("#notice")).to_contain_text("This file cannot be read any more. Choose it again.")


def test_a_photo_that_has_gone_says_so_when_it_is_shown_again(page, tmp_path, shot):
    Image.fromarray(portrait(256)).save(tmp_path / "here.png")
    choose(page, tmp_path / "here.png", demo_photo())
    other = page.get_by_role("button", name="astronaut.jpg: faces: 1")
    other.click()
    expect(other).to_have_attribute("aria-current", "true")
    (tmp_path / "here.png").unlink()
    page.get_by_role("button", name="here.png: faces: 1").click()
    expect(page.locator("#photo-words")).to_contain_text("This file cannot be read any more. Choose it again.")
    expect(page.locator("#photo-words")).to_contain_text("One face: happy")  # the answer is still known
    expect(page.get_by_role("button", name="Save the picture")).to_be_disabled()
    shot(page, "photo-gone")


def test_only_the_photo_that_is_shown_is_held_in_memory(page, tmp_path):
    held = count_pictures(page)
    colours = {"red.png": (200, 40, 40), "green.png": (40, 160, 60), "blue.png": (50, 80, 200)}
    for name, colour in colours.items():
        Image.new("RGB", (320, 240), colour).save(tmp_path / name)
    choose(page, *(tmp_path / name for name in colours))
    for name in (*colours, *colours):
        thumb = page.get_by_role("button", name=f"{name}: faces: 0")
        thumb.click()
        expect(thumb).to_have_attribute("aria-current", "true")
        shown = page.evaluate("[...document.querySelector('#photo-canvas').getContext('2d').getImageData(9, 9, 1, 1).data]")
        assert tuple(shown[:3]) == colours[name]
        assert held() == 1


def test_several_files_each_get_their_own_answer(page, tmp_path, shot):
    Image.new("RGB", (320, 240), (90, 120, 150)).save(tmp_path / "sky.png")
    (tmp_path / "diary.jpg").write_text("Dear diary,")
    choose(page, demo_photo(), tmp_path / "sky.png", tmp_path / "diary.jpg")
    thumbs = page.get_by_role("list", name="Your photos").get_by_role("button")
    expect(thumbs).to_have_count(3)
    expect(page.get_by_role("button", name="astronaut.jpg: faces: 1")).to_have_attribute("aria-current", "true")
    page.get_by_role("button", name="sky.png: faces: 0").click()
    expect(page.locator("#photo-reading .headline")).to_have_text("No face found")
    page.get_by_role("button", name="diary.jpg: no answer").click()
    expect(page.locator("#photo-words")).to_contain_text("does not read this kind of file")
    shot(page, "photo-several")


def test_what_an_answer_rests_on_is_shown_on_demand(page, shot):
    choose(page, demo_photo())
    heat = page.get_by_role("button", name="What it rests on")
    before = pixels(page)
    heat.click()
    expect(heat).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#photo-words")).to_contain_text("No part decides alone")  # so broad a smile
    assert pixels(page) != before
    shot(page, "photo-heat")
    heat.click()
    expect(page.locator("#photo-words")).not_to_contain_text("decides")


def test_an_answer_that_rests_on_a_part_names_it(page):
    said = page.evaluate(
        "async (told) => (await import('/page/heat.js')).restsOn(told)",
        {"parts": {"eyes": 0.2, "nose": 0.1, "mouth": 0.5, "rest": 0.2}, "strongest": 0.3},
    )
    assert said == "The answer rests most on the mouth (0.50 of the support), then on the eyes."


def pixels(page):
    return page.evaluate("document.querySelector('#photo-canvas').toDataURL()")


def test_the_picture_and_the_record_are_saved(page, tmp_path):
    choose(page, demo_photo())
    with page.expect_download() as picture:
        page.get_by_role("button", name="Save the picture").click()
    with page.expect_download() as record:
        page.get_by_role("button", name="Save as JSON").click()
    picture.value.save_as(tmp_path / "marked.jpg")
    with Image.open(tmp_path / "marked.jpg") as image:
        assert image.size == (512, 512)
    assert picture.value.suggested_filename == "astronaut-mien.jpg"
    record.value.save_as(tmp_path / "record.jsonl")
    (line,) = (tmp_path / "record.jsonl").read_text().splitlines()
    assert json.loads(line) == {**analyze(demo_photo()).to_dict(), "source": "astronaut.jpg"}


PUT = """([kind, bytes]) => {
  const files = new DataTransfer();
  files.items.add(new File([Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0))], "put.jpg", { type: "image/jpeg" }));
  const target = kind === "drop" ? document.querySelector("#photo-stage") : document.body;
  const event = kind === "drop" ? new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true })
    : new ClipboardEvent("paste", { clipboardData: files, bubbles: true });
  target.dispatchEvent(event);
}"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_photo_can_be(page, kind):
    page.evaluate(PUT, [kind, base64.b64encode(demo_photo().read_bytes()).decode()])
    expect(page.locator("#photo-reading .headline")).to_contain_text("happy")
