from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mien.cli import main
from mien.cli.train import parse_settings
from mien.errors import UsageError
from mien.train.data.dataset import load
from tests.train.shapes import SIDE, write_shapes

TINY = f"""
size = {SIDE}
epochs = 2
batch_size = 28
[model]
options = {{ stem = 4, widths = [4, 8], depths = [1, 1] }}
"""


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> object:
    """Return a function that runs ``mien`` with arguments and gives (exit status, stdout, stderr)."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mien", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        out = capsys.readouterr()
        return int(stop.value.code or 0), out.out, out.err

    return run


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    return file


def test_a_run_says_a_line_an_epoch_on_stderr_only(call, recipe: Path, shapes_dir: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    status, out, err = call(
        "train", "--data", shapes_dir, "--recipe", recipe, "--run", tmp_path / "run", "--set", "optimizer.learning_rate=0.05"
    )
    assert status == 0, err
    assert out == ""
    assert [line[:10] for line in err.splitlines() if line.startswith("epoch ")][:2] == ["epoch 1/2 ", "epoch 2/2 "]
    assert "best epoch" in err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["recipe"]["optimizer"]["learning_rate"] == 0.05
    assert (config["recipe"]["name"], config["validation"]) == ("tiny", "public")
    for name in ("checkpoint.npz", "curves.png", "environment.json", "history.csv", "history.json", "model.keras", "tensorboard"):
        assert (tmp_path / "run" / name).exists(), name


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        pytest.param(["--set", "epoch=3"], 1, "unknown key 'epoch'; did you mean 'epochs'?", id="typo in a key"),
        pytest.param(["--set", "epochs"], 2, "expects KEY=VALUE", id="no value"),
        pytest.param(["--recipe", "compcat"], 1, "did you mean 'compact'? Shipped recipes are", id="unknown recipe"),
        pytest.param(["--recipe", "compact"], 1, "--votes FILE", id="a recipe that needs votes"),
        pytest.param(["--validation", "private"], 1, "kept for the final report", id="the reported split"),
        pytest.param(["--validation", "train"], 1, "to choose epochs on, got 'train'", id="what it trains on"),
        pytest.param(["--exclude", "nowhere.csv"], 1, "no exclusion list", id="missing exclusions"),
        pytest.param(["--soft-labels", "nowhere.npy"], 1, "does not hold soft labels", id="missing soft labels"),
    ],
)
def test_a_call_that_cannot_train_says_why(  # type: ignore[no-untyped-def]
    call, recipe: Path, shapes_dir: Path, tmp_path: Path, arguments: list[str], status: int, says: str
) -> None:
    given = [] if "--recipe" in arguments else ["--recipe", recipe]
    got, _, err = call("train", "--data", shapes_dir, "--run", tmp_path / "run", *given, *arguments)
    assert got == status
    assert says in err
    assert not (tmp_path / "run").exists()


def test_missing_data_says_what_was_expected(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    status, _, err = call("train", "--data", tmp_path / "nothing", "--run", tmp_path / "run")
    assert status == 1
    assert "expected a folder with train/<label>/*.jpg" in err


def test_soft_labels_say_how_often_the_teachers_are_right(call, recipe: Path, shapes_dir: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Far more on the training images than on the others is knowledge by heart, which a student would learn."""
    call("train", "--data", shapes_dir, "--recipe", recipe, "--run", tmp_path / "run")
    status, out, err = call("soft-labels", tmp_path / "run", "--data", shapes_dir, "--out", tmp_path / "soft.npy")
    assert (status, out) == (0, "")
    data = load(shapes_dir, size=SIDE, cache=tmp_path / "cache")
    right = np.load(tmp_path / "soft.npy").argmax(1) == data.labels
    shares = [f"{right[data.rows(split)].mean():.1%} of {split}" for split in ("train", "public")]
    assert err.splitlines()[-1] == "right on " + ", ".join(shares)


def test_an_ensembles_votes_without_the_head_that_needs_them_are_refused(call, shapes_dir: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    votes = tmp_path / "votes.csv"
    status, _, err = call("ensemble", tmp_path / "run", "--data", shapes_dir, "--votes", votes, "--out", tmp_path / "bundle")
    assert (status, (tmp_path / "bundle").exists()) == (2, False)
    assert "--votes are for --head votes" in err


def test_an_ensemble_of_the_best_lists_every_group_and_keeps_the_first(call, recipe: Path, shapes_dir: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for seed in (1, 2):
        call("train", "--data", shapes_dir, "--recipe", recipe, "--seed", seed, "--run", tmp_path / f"run{seed}")
    given = ["ensemble", tmp_path / "run1", tmp_path / "run2", "--data", shapes_dir, "--choose"]
    status, _, err = call(*given, 1, "--out", tmp_path / "bundle")
    assert status == 0
    head, first, second = err.splitlines()[:3]
    assert head.startswith("log loss and accuracy of every 1 of 2 networks on 42 validation images")
    (loss, _, kept), (other, _, left) = first.split(), second.split()
    assert float(loss) <= float(other)
    assert {kept, left} == {str(tmp_path / "run1"), str(tmp_path / "run2")}
    assert err.splitlines()[-2].startswith(f"{kept}: temperature")
    assert err.splitlines()[-1].endswith("1 member")

    status, _, err = call(*given, 3, "--out", tmp_path / "another")
    assert (status, (tmp_path / "another").exists()) == (2, False)
    assert "expected to choose 1 to 2 of the 2 networks, got 3" in err


def test_a_taken_folder_stops_an_ensemble_before_anything_is_read(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "notes.txt").touch()
    status, _, err = call("ensemble", tmp_path / "no_run", "--data", tmp_path / "no_data", "--out", tmp_path / "bundle")
    assert status == 2
    assert "exists; add --overwrite" in err


def test_settings_are_toml_or_plain_text() -> None:
    settings = ["epochs=3", "optimizer.name=sgd", "flip_average=true", "model.options.widths=[8, 16]", "model.weights=/a=b.h5"]
    assert list(parse_settings(settings).values()) == [3, "sgd", True, [8, 16], "/a=b.h5"]
    with pytest.raises(UsageError, match="KEY=VALUE"):
        parse_settings(["=3"])


def test_data_check_counts_on_stdout_and_fails_on_problems(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    root = write_shapes(tmp_path / "data", train=3, public=1, private=1)
    (root / "train" / "sad" / "broken.jpg").touch()
    status, out, err = call("data", "check", root)
    assert status == 1
    assert "problem: cannot be read: train/sad/broken.jpg" in out
    assert "kaggle datasets download" in err


def test_data_check_without_data_says_how_to_get_fer2013(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    status, out, err = call("data", "check", tmp_path / "nothing")
    assert (status, out) == (1, "")
    assert "kaggle datasets download" in err
