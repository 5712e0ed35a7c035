"""A campaign on drawn shapes: stopping and going on, the choice of an ensemble, students, and what leaves the machine.

Keras has one backend a process and the other tests use TensorFlow, so nets are trained in processes of their own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from threading import Thread, Timer
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.errors import RecipeError, TrainingError
from mien.train.campaign.choose import choose, soft_labels, together
from mien.train.campaign.plan import Campaign
from mien.train.data.dataset import Dataset
from mien.train.loop.run_folder import read_history
from tests.train.shapes import SIDE

DEADLINE_S = 900  # of one process; compiling for forty seconds of CPU time takes that long when ten others want the same two cores
needs_jax = pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed: pip install jax")

RECIPE = f"""
size = {SIDE}
epochs = 2
batch_size = 28
ema = 0.5
model = {{ family = "compact", options = {{ stem = 4, widths = [4, 8], depths = [1, 1], dropout = 0.1 }} }}
augment = {{ rotate_deg = 5, flip_p = 0.0, jpeg_p = 0.0, mixup_alpha = 0.2 }}
optimizer = {{ learning_rate = 0.05, warmup_epochs = 0 }}
"""
CAMPAIGN = """
members = [{{ name = "one", recipe = "{recipe}", seed = 1 }}, {{ name = "two", recipe = "{recipe}", views = "ten-crop" }}]
students = [{{ name = "pupil", recipe = "{recipe}", seed = 2, views = "none", keep_weights = true }}]
"""
# Trains with a break after the first epoch, and once without; then learns labels moved by one from a teacher.
SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from mien.train.campaign.device_fit import fit_on_device
from mien.train.data.dataset import load
from mien.train.recipe import Recipe
data, out = load(sys.argv[1], size=24, cache=Path(sys.argv[3])), Path(sys.argv[3])
recipe = Recipe.load(sys.argv[2], **{"model.options.drop_path": 0.2, "precision": "mixed_bfloat16"})
def interrupt(recipe, row):
    raise KeyboardInterrupt
try:
    fit_on_device(recipe, data, out / "parts.npz", checkpoint_every_s=0, on_epoch=interrupt)
except KeyboardInterrupt:
    pass
fit_on_device(recipe, data, out / "parts.npz")
fit_on_device(recipe, data, out / "whole.npz")
soft = np.eye(7, dtype=np.float32)[(data.labels + 1) % 7]
pupil = Recipe.load(sys.argv[2], epochs=25, name="pupil")
fit_on_device(pupil, data, out / "pupil.npz", soft=soft)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a campaign file and its recipe."""
    folder = tmp_path_factory.mktemp("campaign")
    (folder / "tiny.toml").write_text(RECIPE)
    (folder / "campaign.toml").write_text(CAMPAIGN.format(recipe=folder / "tiny.toml"))
    return folder


def start(files: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start Python on JAX with a compilation cache that all processes of this module share."""
    env = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_COMPILATION_CACHE_DIR": str(files / "xla"),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # the nets are tiny: compiling them is all the work there is
        "PYTHONFAULTHANDLER": "1",
    }
    return subprocess.Popen([sys.executable, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def campaign(files: Path, shapes_dir: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    return start(
        files,
        "-m",
        "mien.train.campaign",
        str(files / "campaign.toml"),
        "--data",
        str(shapes_dir),
        "--out",
        str(out),
        "--minutes",
        "30",
        *more,
    )


def read(process: subprocess.Popen[str], on_line: Callable[[str], None] = lambda line: None) -> tuple[str, str]:
    """Return what a process said on stdout and stderr until it ended; ``on_line`` gets each line of stderr when it comes.

    Both pipes are read at once, so neither fills, and one that is not done by the deadline says where it hangs and ends.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    out: list[str] = []
    err: list[str] = []
    reader = Thread(target=lambda stream: out.append(stream.read()), args=(process.stdout,), daemon=True)
    watch = Timer(DEADLINE_S, process.send_signal, (signal.SIGABRT,))  # faulthandler answers it with the stacks of all threads
    reader.start()
    watch.start()
    try:
        for line in process.stderr:
            err.append(line)
            on_line(line)
        reader.join()
        process.wait()
    finally:
        watch.cancel()
    assert process.returncode != -signal.SIGABRT, f"not done after {DEADLINE_S} s:\n{''.join(err)}"
    return "".join(out), "".join(err)


def finish(process: subprocess.Popen[str]) -> str:
    with process:
        out, err = read(process)
    assert process.returncode == 0, err
    return out


@pytest.fixture(scope="module")
def done(files: Path, shapes_dir: Path) -> tuple[Path, str]:
    """A campaign that ran through, and the table it printed."""
    return files / "out", finish(campaign(files, shapes_dir, files / "out", "--pack", str(files / "packed")))


def histories(out: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each net's history without their times."""
    rows = {file.parent.name: read_history(file.parent) for file in sorted(out.glob("*/history.json"))}
    return {name: [{key: value for key, value in row.items() if key != "seconds"} for row in net] for name, net in rows.items()}


@needs_jax
@pytest.mark.slow
def test_a_killed_campaign_goes_on_as_if_nothing_had_happened(done: tuple[Path, str], files: Path, shapes_dir: Path) -> None:
    out = files / "killed"
    with campaign(files, shapes_dir, out) as process:
        read(process, lambda line: process.kill() if line.startswith("two 1/2") else None)
    assert process.returncode != 0
    assert (out / "one" / "result.json").exists()
    assert not (out / "two" / "result.json").exists()
    finish(campaign(files, shapes_dir, out))
    assert histories(out) == histories(done[0])
    assert set(histories(out)) == {"one", "two", "pupil"}
    for name in histories(out):
        with np.load(out / name / "predictions.npz") as a, np.load(done[0] / name / "predictions.npz") as b:
            assert np.array_equal(a["emotion"], b["emotion"])


@needs_jax
@pytest.mark.slow
def test_private_figures_wait_for_the_report(done: tuple[Path, str], files: Path, shapes_dir: Path) -> None:
    assert "public %" in done[1]
    assert "private" not in done[1]
    assert "private %" in finish(campaign(files, shapes_dir, done[0], "--report"))


@needs_jax
@pytest.mark.slow
def test_a_packed_student_is_a_run_that_answers_the_same_here(done: tuple[Path, str], files: Path, shapes: Dataset, tmp_path: Path) -> None:
    from mien.train.export.ensemble import calibrated

    (part,) = (files / "packed").iterdir()
    with tarfile.open(part) as tar:
        tar.extractall(tmp_path, filter="data")
    assert not (tmp_path / "one" / "checkpoint.npz").exists()
    (member,) = calibrated([tmp_path / "pupil"], shapes)
    logits = member.model.predict_on_batch(shapes.images[..., None].astype(np.float32))
    here = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    with np.load(done[0] / "pupil" / "predictions.npz") as there:
        assert np.abs(here - there["emotion"].astype(np.float32)).max() < 2e-3  # float16 holds three digits


@needs_jax
@pytest.mark.slow
def test_stopping_between_epochs_changes_nothing_and_a_student_learns_from_its_teacher(
    files: Path, shapes_dir: Path, shapes: Dataset, tmp_path: Path
) -> None:
    from mien.train.loop.checkpoint import load_state

    finish(start(files, "-c", SCRIPT, str(shapes_dir), str(files / "tiny.toml"), str(tmp_path)))
    parts, whole = (load_state(tmp_path / name) for name in ("parts.npz", "whole.npz"))
    for name in ("weights", "optimizer", "seeds", "average", "best"):
        assert all(np.array_equal(a, b) for a, b in zip(getattr(parts, name), getattr(whole, name), strict=True)), name
    history = load_state(tmp_path / "pupil.npz").history
    assert history[-1]["accuracy"] > 0.5  # of the teacher's labels
    assert history[-1]["val_accuracy"] < 1 / 7  # of the true ones


@needs_jax
def test_the_device_moves_a_chip_as_opencv_does() -> None:
    import cv2

    from mien.train.campaign.augment import warp

    chip = np.random.default_rng(0).uniform(0, 255, (SIDE, SIDE)).astype(np.float32)
    matrix = np.array([[0.9, 0.15, 3.3], [-0.12, 1.1, -2.6]], np.float32)
    expected = cv2.warpAffine(chip, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    assert np.abs(np.asarray(warp(chip[None, ..., None], matrix[None]))[0, ..., 0] - expected).max() < 0.01


@needs_jax
@pytest.mark.parametrize("kind", ["mixup_alpha", "cutmix_alpha"])
def test_mixed_targets_are_the_shares_of_the_pixels(kind: str) -> None:
    import jax

    from mien.train.campaign.augment import mix
    from mien.train.recipe import AugmentTable

    chips = np.ones((4, SIDE, SIDE, 1), np.float32) * np.array([0, 1, 2, 3], np.float32)[:, None, None, None]
    mixed, targets = mix(jax.random.key(3), chips, {"emotion": np.eye(4, dtype=np.float32)}, AugmentTable(**{kind: 1.0}))
    shares = np.asarray(targets["emotion"])
    assert shares.sum(1) == pytest.approx(np.ones(4), abs=1e-5)
    assert np.asarray(mixed).mean((1, 2, 3)) == pytest.approx(shares @ np.arange(4), abs=1e-4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("members = []\n", "members: ", id="no member"),
        pytest.param('members = [{ name = "a", recipe = "compact", sede = 1 }]', "sede", id="unknown key"),
        pytest.param('members = [{ name = "../a", recipe = "compact" }]', "names a folder", id="a name that leaves the folder"),
        pytest.param('members = [{ name = "a", recipe = "compact" }]', "augment.jpeg_p = 0 only, got 0.05", id="jpeg on the device"),
        pytest.param(
            'members = [{ name = "a", recipe = "compact", overrides = { augment.jpeg_p = 0, optimizer.sam_rho = 1.0 } }]',
            "optimizer.sam_rho = 0 only, got 1.0",
            id="sharpness-aware steps",
        ),
        pytest.param('members = [{ name = "a", recipe = "none_such" }]', "no recipe called", id="unknown recipe"),
        pytest.param(
            'members = [{ name = "a", recipe = "compact", overrides = { augment.jpeg_p = 0, optimizer.schedule = "plateau" } }]',
            "must be 'cosine' or 'constant'",
            id="plateau",
        ),
        pytest.param(
            'members = [{ name = "a", recipe = "compact", overrides = { augment.jpeg_p = 0, epoch = 1 } }]', "'epoch'", id="bad override"
        ),
    ],
)
def test_a_bad_campaign_file_says_what_is_wrong(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(RecipeError, match=says):
        Campaign.load(tmp_path / "c.toml")


def test_two_nets_of_one_name_are_refused(files: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(CAMPAIGN.format(recipe=files / "tiny.toml").replace("pupil", "one"))
    with pytest.raises(RecipeError, match="two nets are called 'one'"):
        Campaign.load(tmp_path / "c.toml")


def test_overrides_change_single_keys_of_a_table(files: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        f'members = [{{ name = "a", recipe = "{files / "tiny.toml"}", overrides = {{ epochs = 9, model.options.dropout = 0.5 }} }}]'
    )
    recipe = Campaign.load(tmp_path / "c.toml").members[0].load_recipe()
    assert (recipe.epochs, recipe.model.options["dropout"], recipe.model.options["stem"]) == (9, 0.5, 4)


def test_the_campaign_that_is_shipped_is_sound() -> None:
    import mien.train.campaign

    shipped = Campaign.load(Path(mien.train.campaign.__file__).parent / "one_gpu.toml")
    assert {net.load_recipe().name for net in shipped.students} == {"compact", "nano"}


def answers(data: Dataset, right: float, seed: int, only: str = "") -> NDArray[Any]:
    """Return float16 probabilities of a made-up net that is right on a share of the images, or on one split alone."""
    rng = np.random.default_rng(seed)
    hit = rng.random(len(data)) < right
    if only:
        hit &= data.splits == only
    said = np.where(hit, data.labels, rng.integers(0, 7, len(data)))
    return (0.3 / 7 + 0.7 * np.eye(7)[said]).astype(np.float16)


def test_the_choice_looks_at_public_only_and_leaves_out_who_knows_nothing(shapes: Dataset) -> None:
    members = {
        "weak": answers(shapes, 0.4, seed=1),
        "strong": answers(shapes, 0.9, seed=2),
        "private_only": answers(shapes, 1.0, seed=3, only="private"),
        "clueless": np.full((len(shapes), 7), 1 / 7, np.float16),
    }
    chosen = choose(members, shapes)
    assert chosen[0] == "strong"
    assert "clueless" not in chosen
    assert "private_only" not in chosen
    rows = shapes.rows("public")
    ensemble = together([members[name] for name in chosen], shapes)
    assert (ensemble[rows].argmax(1) == shapes.labels[rows]).mean() > 0.8


def test_nothing_to_choose_from_is_an_error(shapes: Dataset) -> None:
    wrong = (0.05 + 0.65 * np.eye(7)[(shapes.labels + 1) % 7]).astype(np.float16)
    with pytest.raises(TrainingError, match="no temperature calibrates any of wrong"):
        choose({"wrong": wrong}, shapes)


def test_soft_labels_say_nothing_about_test_images(shapes: Dataset) -> None:
    labels = soft_labels(answers(shapes, 0.9, seed=0).astype(np.float64), shapes)
    others = np.setdiff1d(np.arange(len(shapes)), shapes.rows("train"))
    assert np.allclose(labels[others], 1 / 7)
    assert labels[shapes.rows("train")].max() > 0.7
