from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from mien.classify import Classifier, softmax
from mien.errors import DataError, TrainingError, UsageError
from mien.train.data.dataset import VOTE_COLUMNS, VOTE_LABELS, Dataset
from mien.train.data.splits import FERPLUS_NAMES
from mien.train.export.ensemble import (
    Member,
    calibrated,
    combine,
    export_ensemble,
    load_for,
    predict,
    ranked,
    read_soft_labels,
    soft_labels,
    teacher_of,
    write_soft_labels,
)
from mien.train.loop.fit import fit
from mien.train.models import build_model, load_pretrained
from tests.train.shapes import tiny_recipe


@pytest.fixture(scope="module")
def runs(shapes: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        fit(tiny_recipe(seed=seed, flip_average=seed == 1), shapes, folder / str(seed))
    return [folder / "0", folder / "1"]


@pytest.fixture(scope="module")
def members(runs: list[Path], shapes: Dataset) -> list[Member]:
    return calibrated(runs, shapes)


def test_the_combined_network_answers_the_mean_of_calibrated_probabilities(members: list[Member], shapes: Dataset) -> None:
    rows = shapes.rows("private")
    expected = np.mean([member.probabilities(shapes.images[rows]) for member in members], axis=0)
    logits = predict(combine(members), shapes.images[rows][..., None].astype(np.float32))
    assert softmax(logits) == pytest.approx(expected, abs=1e-5)
    assert logits == pytest.approx(np.log(expected), abs=1e-4)


def test_a_calibrated_member_is_not_worse_in_log_loss(members: list[Member], shapes: Dataset) -> None:
    member = members[0]
    images, labels = shapes.images[member.validation_rows], shapes.labels[member.validation_rows]
    raw = softmax(predict(member.model, images[..., None].astype(np.float32)))
    losses = [-np.log(p[np.arange(len(labels)), labels]).mean() for p in (raw, member.probabilities(images))]
    assert losses[1] <= losses[0] + 1e-6


def test_groups_are_ranked_by_the_log_loss_of_their_mean_on_images_that_none_was_taught(members: list[Member], shapes: Dataset) -> None:
    rows = shapes.rows("public")
    truth, answers = shapes.labels[rows], [member.probabilities(shapes.images[rows]) for member in members]
    spoiled = dataclasses.replace(members[0], temperature=50.0)  # its answers are all but uniform

    (pair,) = ranked(members, shapes, 2)
    mean = np.mean(answers, axis=0)
    assert pair.members == tuple(members)
    assert pair.n == len(rows)
    assert pair.log_loss == pytest.approx(-np.log(mean[np.arange(len(rows)), truth]).mean())
    assert pair.accuracy == pytest.approx((mean.argmax(1) == truth).mean())

    singles = ranked([spoiled, *members], shapes, 1)
    assert singles[-1].members == (spoiled,)
    assert [group.log_loss for group in singles] == sorted(group.log_loss for group in singles)
    pairs = ranked([spoiled, *members], shapes, 2)
    assert len(pairs) == 3
    assert pairs[0].members == tuple(members)


@pytest.mark.parametrize("size", [0, 3])
def test_more_members_than_there_are_cannot_be_chosen(size: int, members: list[Member], shapes: Dataset) -> None:
    with pytest.raises(UsageError, match=f"1 to 2 of the 2 networks, got {size}"):
        ranked(members, shapes, size)


def test_the_exported_bundle_gives_the_same_answers(members: list[Member], shapes: Dataset, tmp_path: Path) -> None:
    bundle = export_ensemble(members, shapes, tmp_path / "bundle", name="two")
    chips = shapes.images[shapes.rows("private")]
    answers = Classifier(bundle).logits(chips)
    assert answers == pytest.approx(predict(combine(members), chips[..., None].astype(np.float32)), abs=1e-4)
    with pytest.raises(UsageError, match="--overwrite"):
        export_ensemble(members, shapes, tmp_path / "bundle")


def test_the_combined_network_can_be_saved_and_loaded(members: list[Member], shapes: Dataset, tmp_path: Path) -> None:
    model = combine(members)
    model.save(tmp_path / "ensemble.keras")
    chips = shapes.images[:5][..., None].astype(np.float32)
    loaded = keras.models.load_model(tmp_path / "ensemble.keras")
    assert predict(loaded, chips) == pytest.approx(predict(model, chips), abs=1e-6)


def test_a_file_is_a_member_and_an_ensembles_file_stands_for_its_members(
    runs: list[Path], members: list[Member], shapes: Dataset, tmp_path: Path
) -> None:
    chips = shapes.images[shapes.rows("private")][..., None].astype(np.float32)
    (single,) = calibrated([runs[0] / "model.keras"], shapes)
    assert predict(single.model, chips) == pytest.approx(predict(members[0].model, chips), abs=1e-5)
    assert single.temperature == pytest.approx(members[0].temperature, rel=1e-3)
    combine(members).save(tmp_path / "two.keras")
    again = calibrated([tmp_path / "two.keras", runs[0]], shapes)
    assert [member.source for member in again] == [tmp_path / "two.keras"] * 2 + [runs[0]]
    expected = np.mean([member.probabilities(shapes.images[:9]) for member in (*members, members[0])], axis=0)
    assert softmax(predict(combine(again), shapes.images[:9][..., None].astype(np.float32))) == pytest.approx(expected, abs=1e-4)
    assert load_for(tmp_path / "two.keras", shapes.root).images.shape == shapes.images.shape


def test_with_mirror_a_face_and_its_mirror_image_are_answered_alike(runs: list[Path], shapes: Dataset, tmp_path: Path) -> None:
    plain, both = calibrated(runs, shapes), calibrated(runs, shapes, mirror=True)
    chips = shapes.images[:9][..., None].astype(np.float32)
    turned = np.ascontiguousarray(chips[:, :, ::-1])
    assert predict(combine(both), chips) == pytest.approx(predict(combine(both), turned), abs=1e-4)
    assert predict(plain[0].model, chips) != pytest.approx(predict(plain[0].model, turned), abs=1e-3)
    # The second run's recipe averages already; a mirror in the mirror would cost and change nothing.
    assert predict(both[1].model, chips) == pytest.approx(predict(plain[1].model, chips), abs=1e-6)
    assert len(both[1].model.layers) == len(plain[1].model.layers)
    combine(both).save(tmp_path / "both.keras")
    again = calibrated([tmp_path / "both.keras"], shapes, mirror=True)
    assert [len(member.model.layers) for member in again] == [len(member.model.layers) for member in both]


def test_the_second_heads_of_runs_answer_together(shapes: Dataset, tmp_path: Path) -> None:
    votes = np.zeros((len(shapes), len(VOTE_COLUMNS)), np.float32)
    votes[np.arange(len(shapes)), [VOTE_LABELS[shapes.label_names[label]] for label in shapes.labels]] = 7
    votes[shapes.rows("public")[0]] = 1  # each rater saw something else
    data = dataclasses.replace(shapes, votes=votes)
    runs = [tmp_path / "a", tmp_path / "b"]
    for seed, run in enumerate(runs):
        fit(tiny_recipe(**{"seed": seed, "epochs": 2, "loss.votes_weight": 1.0}), data, run)
    members = calibrated(runs, data, "votes")
    bundle = export_ensemble(members, data, tmp_path / "bundle", head="votes", target_accuracy=0.2)
    assert bundle.spec.labels == FERPLUS_NAMES
    chips = shapes.images[shapes.rows("private")]
    expected = np.mean([member.probabilities(chips) for member in members], axis=0)
    assert softmax(Classifier(bundle).logits(chips)) == pytest.approx(expected, abs=1e-4)
    assert len(members[0].validation_rows) == len(shapes.rows("public")) - 1
    with pytest.raises(UsageError, match="add --votes FILE"):
        calibrated(runs, shapes, "votes")
    with pytest.raises(UsageError, match=r"model.keras: the network has no head 'votes', only emotion"):
        calibrated([runs[0] / "model.keras"], data, "votes")


def test_a_network_of_other_labels_is_refused(shapes: Dataset, tmp_path: Path) -> None:
    chips = keras.Input((*shapes.images.shape[1:], 1))
    keras.Model(chips, keras.layers.Dense(3)(keras.layers.Flatten()(chips))).save(tmp_path / "three.keras")
    with pytest.raises(UsageError, match=r"three.keras answers \(3,\) values; the data has the 7 labels angry"):
        calibrated([tmp_path / "three.keras"], shapes)


def test_a_file_needs_images_that_it_has_not_seen(runs: list[Path], shapes: Dataset) -> None:
    alone = dataclasses.replace(shapes, splits=np.full(len(shapes), "train"))
    with pytest.raises(UsageError, match=r"nothing says what .*model.keras has not seen; give its run folder"):
        calibrated([runs[0] / "model.keras"], alone)


def test_training_goes_on_from_a_member_of_an_ensemble(members: list[Member], shapes: Dataset, tmp_path: Path) -> None:
    combine(members).save(tmp_path / "two.keras")
    recipe = tiny_recipe(**{"model.weights": str(tmp_path / "two.keras")})
    model = build_model(recipe, 7)
    load_pretrained(model, recipe, np.asarray(shapes.images[:1]))
    chips = shapes.images[:9][..., None].astype(np.float32)
    answers = keras.ops.convert_to_numpy(model(chips, training=False)["emotion"])
    assert answers == pytest.approx(predict(members[0].model, chips), abs=1e-5)


def test_a_student_learns_the_answers_to_each_augmented_batch(runs: list[Path], shapes: Dataset, tmp_path: Path) -> None:
    teacher = teacher_of(runs, shapes)
    recipe = tiny_recipe(epochs=2)
    state = fit(recipe, shapes, tmp_path / "student", teacher=teacher)
    assert np.isfinite(state.history[1]["loss"])
    # A teacher of one label alone leaves a mark that the labels of the data cannot: the student answers nothing else.
    chips = keras.Input((*shapes.images.shape[1:], 1))
    constant = keras.Model(chips, keras.layers.Dense(7, kernel_initializer="zeros")(keras.layers.Flatten()(chips)))
    constant.layers[-1].bias.assign([0, 0, 30.0, 0, 0, 0, 0])
    taught = fit(recipe, shapes, tmp_path / "one_word", teacher=constant)
    assert taught.history[1]["accuracy"] > 0.9
    expected = float((shapes.labels[shapes.rows("public")] == 2).mean())
    assert taught.history[1]["val_accuracy"] == pytest.approx(expected, abs=1e-6)


def test_a_run_goes_on_with_its_own_teacher_only(runs: list[Path], shapes: Dataset, tmp_path: Path) -> None:
    fit(tiny_recipe(epochs=1), shapes, tmp_path / "student", teacher=teacher_of(runs, shapes))
    with pytest.raises(TrainingError, match="differs in its teacher"):
        fit(tiny_recipe(epochs=1), shapes, tmp_path / "student", teacher=teacher_of(runs[:1], shapes), resume=True)


def test_a_teacher_and_soft_labels_exclude_each_other(runs: list[Path], shapes: Dataset, tmp_path: Path) -> None:
    soft = np.full((len(shapes), 7), 1 / 7, np.float32)
    with pytest.raises(UsageError, match="leave out soft labels"):
        fit(tiny_recipe(), shapes, tmp_path / "student", teacher=teacher_of(runs, shapes), soft=soft)
    with pytest.raises(UsageError, match="and crop"):
        fit(tiny_recipe(**{"augment.crop": 20}), shapes, tmp_path / "student", teacher=teacher_of(runs, shapes))


def test_a_student_learns_from_soft_labels(members: list[Member], shapes: Dataset, tmp_path: Path) -> None:
    soft = soft_labels(members, shapes)
    assert soft.shape == (len(shapes), 7)
    assert soft.sum(1) == pytest.approx(np.ones(len(shapes)), abs=1e-5)
    write_soft_labels(tmp_path / "soft.npz", soft, shapes)
    state = fit(tiny_recipe(epochs=1), shapes, tmp_path / "student", soft=read_soft_labels(tmp_path / "soft.npz", shapes))
    assert np.isfinite(state.history[0]["loss"])


def test_members_of_another_size_are_refused(runs: list[Path], shapes: Dataset) -> None:
    larger = dataclasses.replace(shapes, images=np.zeros((len(shapes), 48, 48), np.uint8))
    with pytest.raises(UsageError, match=r"takes chips of \(24, 24\)"):
        calibrated(runs, larger)


def test_no_members() -> None:
    with pytest.raises(UsageError, match="at least one run"):
        calibrated([], None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [pytest.param(None, id="missing"), pytest.param(np.ones((3, 7)), id="not probabilities"), pytest.param(np.ones(7) / 7, id="flat")],
)
def test_a_file_without_soft_labels(values: np.ndarray | None, shapes: Dataset, tmp_path: Path) -> None:
    if values is not None:
        np.save(tmp_path / "soft.npy", values)
    with pytest.raises(DataError, match="does not hold soft labels"):
        read_soft_labels(tmp_path / "soft.npy", shapes)


def test_soft_labels_are_joined_by_name_and_label(shapes: Dataset, tmp_path: Path) -> None:
    soft = np.random.default_rng(0).dirichlet(np.ones(7), len(shapes)).astype(np.float32)
    write_soft_labels(tmp_path / "soft.npz", soft, shapes)
    turned = dataclasses.replace(shapes, names=shapes.names[::-1], label_names=shapes.label_names[::-1])
    assert np.array_equal(read_soft_labels(tmp_path / "soft.npz", turned), soft[::-1, ::-1])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"names": ("new.png",)}, "lacks 1 of the", id="an image more, another fewer"),
        pytest.param({"label_names": tuple("abcdefg")}, "the data set has a, b, c", id="other labels"),
    ],
)
def test_soft_labels_of_another_data_set_are_refused(change: dict, says: str, shapes: Dataset, tmp_path: Path) -> None:  # type: ignore[type-arg]
    write_soft_labels(tmp_path / "soft.npz", np.full((len(shapes), 7), 1 / 7), shapes)
    if "names" in change:
        change = {"names": (*shapes.names[1:], *change["names"])}
    with pytest.raises(DataError, match=says):
        read_soft_labels(tmp_path / "soft.npz", dataclasses.replace(shapes, **change))


def test_probabilities_without_names_are_no_soft_labels(shapes: Dataset, tmp_path: Path) -> None:
    """As earlier versions wrote them: nothing says which image a row belongs to."""
    np.save(tmp_path / "soft.npy", np.full((len(shapes), 7), 1 / 7))
    with pytest.raises(DataError, match="mien soft-labels writes them"):
        read_soft_labels(tmp_path / "soft.npy", shapes)
