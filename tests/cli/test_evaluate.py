"""The verbs that judge: evaluate, compare, calibrate and audit, as a user types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from mien.assets import demo_photo
from mien.bundles import weights_dir
from mien.cli import app
from mien.contract import LABELS, InputSpec
from mien.errors import DataError, MienWarning, UsageError
from mien.train.data.splits import CONTEMPT
from tests.support import tiny_bundle
from tests.train import made_up


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("home")
    made_up.fer2013(root / "data")
    made_up.votes(root / "data", root / "votes.csv")
    made_up.brightness_bundle(root / "good")
    made_up.brightness_bundle(root / "worse", shift=0.4)
    return root


@pytest.fixture
def mien(home: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a command line with the made-up data; an error of Mien's own is raised as it is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))

    def run(*words: str) -> Result:
        result = CliRunner().invoke(app, [*words, "--data", str(home / "data")])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def test_evaluate_prints_every_split_and_writes_a_report(mien, home: Path, tmp_path: Path) -> None:
    words = [
        "evaluate",
        "--model",
        str(home / "good"),
        "--split",
        "all",
        "--votes",
        str(home / "votes.csv"),
        "--report",
        str(tmp_path / "r"),
    ]
    out = mien(*words).stdout
    assert "PrivateTest without copies of training images" in out
    told = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert f"{told['splits']['private']['accuracy']['value']:.2%}" in out
    assert {p.name for p in (tmp_path / "r").iterdir()} >= {"metrics.json", "predictions.csv", "report.html", "card.md"}
    with pytest.raises(UsageError, match="--overwrite"):
        mien(*words)


def test_figures_go_into_the_bundle_on_request(mien, tmp_path: Path) -> None:
    bundle = made_up.brightness_bundle(tmp_path / "bundle")
    mien("evaluate", "--model", str(bundle.folder), "--into-bundle")
    metrics = bundle.metrics()
    assert metrics is not None
    assert metrics["splits"]["private"]["n"] == 84
    assert (bundle.folder / "card.md").read_text().startswith("# Model card: brightness")


def test_a_folder_of_classes_needs_no_data_set(mien, home: Path) -> None:
    out = mien("evaluate", "--model", str(home / "good"), "--split", str(home / "data" / "train")).stdout
    assert "the folder's images" in out
    assert " 28 " in out


def test_own_data_is_called_by_its_own_folders(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    own = tmp_path / "own"
    for split, prefix in (("train", "Training"), ("val", "PublicTest"), ("test", "PrivateTest")):
        for file in (home / "data").glob(f"t*/*/{prefix}_*"):
            (own / split / file.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, own / split / file.parent.name / file.name.removeprefix(prefix))

    def told(*words: str) -> dict[str, Any]:
        report = str(tmp_path / "report")
        words = ("evaluate", "--model", str(home / "good"), "--data", str(own), "--report", report, "--overwrite", *words)
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        metrics: dict[str, Any] = json.loads((tmp_path / "report" / "metrics.json").read_text())
        return metrics

    reported, everything = told(), told("--split", "all")
    assert {name: figures["title"] for name, figures in reported["splits"].items()} == {"test": "test images"}
    assert {name: figures["n"] for name, figures in everything["splits"].items()} == {"test": 84, "val": 84}
    assert "PublicTest" not in everything["protocol"]


def test_a_folder_of_whole_photos_is_told_of_the_option_for_photos(mien, home: Path, tmp_path: Path) -> None:
    for label in ("happy", "sad"):
        (tmp_path / label).mkdir()
        shutil.copy(demo_photo(), tmp_path / label)
    said = mien("evaluate", "--model", str(home / "good"), "--split", str(tmp_path)).stderr
    assert "in 2 of 2 pictures looked at" in said
    assert f"mien evaluate --photos {tmp_path}" in said
    assert "note" not in mien("evaluate", "--model", str(home / "good"), "--split", str(home / "data" / "train")).stderr


def test_photos_come_first_and_a_photo_without_an_answer_is_named(mien, home: Path, tmp_path: Path) -> None:
    for label in ("happy", "sad"):
        (tmp_path / "photos" / label).mkdir(parents=True)
    shutil.copy(demo_photo(), tmp_path / "photos" / "happy")
    Image.new("L", (90, 90), 99).save(tmp_path / "photos" / "sad" / "wall.png")
    asked = ("evaluate", "--model", str(home / "good"), "--photos", str(tmp_path / "photos"))
    alone = CliRunner().invoke(app, [*asked, "--report", str(tmp_path / "a")])
    assert "counted as wrong: sad/wall.png (no face)" in alone.stderr
    assert list(json.loads((tmp_path / "a" / "metrics.json").read_text(encoding="utf-8"))["splits"]) == ["photos"]
    assert "sad/wall.png" in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    mien(*asked, "--report", str(tmp_path / "b"))
    told = json.loads((tmp_path / "b" / "metrics.json").read_text(encoding="utf-8"))["splits"]
    assert list(told) == ["photos", "private"]
    assert told["photos"]["n"] == 2


def test_groups_count_photos_without_an_answer(mien, home: Path, tmp_path: Path) -> None:
    for label in ("happy", "sad"):
        (tmp_path / "photos" / label).mkdir(parents=True)
    shutil.copy(demo_photo(), tmp_path / "photos" / "happy" / "a.jpg")
    shutil.copy(demo_photo(), tmp_path / "photos" / "sad" / "b.jpg")
    Image.new("L", (90, 90), 99).save(tmp_path / "photos" / "happy" / "wall.png")
    (tmp_path / "groups.csv").write_text("file,where\nhappy/a.jpg,in\nhappy/wall.png,in\nsad/b.jpg,out\n", encoding="utf-8")
    asked = ("evaluate", "--model", str(home / "good"), "--photos", str(tmp_path / "photos"), "--groups", str(tmp_path / "groups.csv"))
    mien(*asked, "--report", str(tmp_path / "a"))
    told = json.loads((tmp_path / "a" / "metrics.json").read_text(encoding="utf-8"))["splits"]
    groups = told["photos"]["by_group"]["where"]["groups"]
    assert {name: row["n"] for name, row in groups.items()} == {"in": 2, "out": 1}
    assert groups["in"]["accuracy"]["value"] <= 0.5
    assert "by_group" not in told["private"]  # the file names none of its images


def test_models_of_different_labels_are_compared_under_what_people_see(mien, home: Path, tmp_path: Path) -> None:
    people = made_up.brightness_bundle(tmp_path / "people", labelled_by="ferplus").folder
    said = mien("compare", str(people), str(home / "good"), "--votes", str(home / "votes.csv"))
    assert "FER+'s seven labels" in said.stderr
    noted = mien("evaluate", "--model", str(people))
    assert "these are FER2013's own labels" in noted.stderr
    refused = CliRunner().invoke(app, ["evaluate", "--photos", str(tmp_path), "--votes", str(home / "votes.csv")]).exception
    assert isinstance(refused, UsageError)
    assert "about the images of --data" in str(refused)


def test_calibrate_takes_photos(mien, tmp_path: Path) -> None:
    bundle = made_up.brightness_bundle(tmp_path / "bundle", uncertain_below=0.0)
    for label in LABELS:
        (tmp_path / "photos" / label).mkdir(parents=True)
        shutil.copy(demo_photo(), tmp_path / "photos" / label)
    with pytest.warns(MienWarning, match="calibrated on 7 photos only"):
        out = mien("calibrate", str(bundle.folder), "--photos", str(tmp_path / "photos"), "--target-accuracy", "0.14").stdout
    assert "answered on photos" in out
    assert InputSpec.read(bundle.folder / "spec.json").temperature != bundle.spec.temperature


def test_compare_says_who_is_better_and_how_sure_that_is(mien, home: Path) -> None:
    out = mien("compare", str(home / "good"), str(home / "worse")).stdout
    assert "McNemar p =" in out
    told = json.loads(mien("compare", str(home / "good"), str(home / "worse"), "--json").stdout)
    assert f"A - B  {100 * told['difference']['value']:+.2f} points" in out


def test_calibrate_rewrites_the_spec_and_never_sees_what_is_reported(mien, tmp_path: Path) -> None:
    bundle = made_up.brightness_bundle(tmp_path / "bundle", uncertain_below=0.0)
    mien("calibrate", str(bundle.folder), "--target-accuracy", "0.97")
    spec = InputSpec.read(bundle.folder / "spec.json")
    assert spec.temperature != 1
    assert spec.uncertain_below > 0
    with pytest.raises(UsageError, match="public, ferplus-public, ferplus7-public, val or a folder"):
        mien("calibrate", str(bundle.folder), "--split", "private")


def test_a_model_of_ferplus_labels_is_compared_and_calibrated_under_them(mien, home: Path, tmp_path: Path) -> None:
    eight = made_up.brightness_bundle(tmp_path / "eight", labels=(*LABELS, CONTEMPT))
    votes = ("--votes", str(home / "votes.csv"))
    assert json.loads(mien("compare", str(eight.folder), str(home / "good"), "--json", *votes).stdout)["n"] == 77
    mien("calibrate", str(eight.folder), *votes, "--target-accuracy", "0.3")
    assert InputSpec.read(eight.folder / "spec.json").temperature != 1
    with pytest.raises(DataError, match="add --votes FILE"):
        mien("calibrate", str(eight.folder))


def test_calibrate_finds_what_may_choose_in_data_of_ones_own(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("val", 6), ("test", 3)):
        for label, grey in (("awake", 60), ("tired", 190)):
            for i in range(count):
                # A third of them carries the other's label: where none is wrong, no temperature fits.
                folder = {"awake": "tired", "tired": "awake"}[label] if i % 3 == 2 else label
                made_up.write(tmp_path / "own", split, folder, f"{label}{i}", np.full((48, 48), grey + i, np.uint8))
    bundle = tiny_bundle(tmp_path / "bundle", ("awake", "tired"))
    words = ["calibrate", str(bundle.folder), "--data", str(tmp_path / "own")]
    result = CliRunner().invoke(app, words)
    assert "answered on val" in result.stdout
    shutil.rmtree(tmp_path / "own" / "val")
    with pytest.raises(DataError, match=r"no images to calibrate on.*val/<label>.* or --split"):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_calibrate_takes_a_folder_of_ones_own(mien, home: Path, tmp_path: Path) -> None:
    on_folder, on_split = (made_up.brightness_bundle(tmp_path / name) for name in ("folder", "split"))
    mien("calibrate", str(on_folder.folder), "--split", str(home / "data" / "test"))
    mien("calibrate", str(on_split.folder), "--split", "public")
    fitted, other = (InputSpec.read(bundle.folder / "spec.json") for bundle in (on_folder, on_split))
    assert fitted.temperature != 1
    assert fitted.temperature != other.temperature  # the folder holds PrivateTest's images, too


@pytest.mark.parametrize(
    ("words", "says"),
    [((str(weights_dir() / "nano"),), "lies in the package"), (("{bundle}", "--target-accuracy", "5"), "between 0 and 1")],
)
def test_calibrate_leaves_the_package_and_senseless_targets_alone(mien, tmp_path: Path, words: list[str], says: str) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    before = (weights_dir() / "nano" / "spec.json").read_bytes()
    with pytest.raises(UsageError, match=says):
        mien("calibrate", *(word.format(bundle=bundle.folder) for word in words))
    assert (weights_dir() / "nano" / "spec.json").read_bytes() == before


def test_audit_writes_a_list_that_evaluate_takes(mien, home: Path, tmp_path: Path) -> None:
    out = mien("audit", "--report", str(tmp_path / "audit"), "--no-faces").stdout
    assert "test copies of training images: private" in out
    words = [
        "evaluate",
        "--model",
        str(home / "good"),
        "--exclude",
        str(tmp_path / "audit" / "exclude.csv"),
        "--report",
        str(tmp_path / "r"),
    ]
    mien(*words)
    assert json.loads((tmp_path / "r" / "metrics.json").read_text())["splits"]["private"]["n"] == 77


def test_labels_in_brackets_are_shown_as_they_are(tmp_path: Path) -> None:
    for label in ("[red]", "<b>", "a,b"):
        made_up.write(tmp_path, "train", label, "one", made_up.chip(0, 0))
    heading = CliRunner().invoke(app, ["data", "check", str(tmp_path)]).stdout.replace("┃", " ").split()[:5]
    assert heading == ["split", "<b>", "[red]", "a,b", "all"]
