from __future__ import annotations

from pathlib import Path

import pytest

from mien.errors import RecipeError
from mien.train.models import FAMILIES
from mien.train.recipe import Recipe, recipes_dir

SHIPPED = sorted(file.stem for file in recipes_dir().glob("*.toml"))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        pytest.param({"epoch": 3}, "unknown key 'epoch'; did you mean 'epochs'?", id="typo at the top"),
        pytest.param({"optimizer": {"learning_rat": 1}}, "'optimizer.learning_rat'; did you mean 'learning_rate'?", id="typo in a table"),
        pytest.param({"zzz": 1}, "unknown key 'zzz'", id="nothing near"),
        pytest.param({"optimizer": {"name": "lion"}}, "optimizer.name", id="unknown choice"),
        pytest.param({"epochs": 0}, "epochs", id="out of range"),
        pytest.param({"epochs": "many"}, "epochs", id="wrong type"),
        pytest.param({"augment": {"flip_p": 1.5}}, "augment.flip_p", id="not a probability"),
        pytest.param({"augment": {"crop": 49}}, "augment.crop is 49, wider than the chip of 48 px", id="a crop of more than the chip"),
        pytest.param({"optimizer": {"hold": 0.5, "schedule": "plateau"}}, "needs the schedule 'cosine'", id="a hold without a fall"),
    ],
)
def test_a_bad_recipe_names_its_key(values: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError, match=says.replace("?", r"\?")):
        Recipe.from_dict({"name": "x", **values})


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_reads_and_comes_back(name: str) -> None:
    recipe = Recipe.load(name)
    assert recipe.name == name
    assert recipe.model.family in FAMILIES
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_overrides_reach_into_tables() -> None:
    recipe = Recipe.load("compact", **{"optimizer.learning_rate": 0.01, "epochs": 3, "model.options.dropout": 0.5})
    assert (recipe.optimizer.learning_rate, recipe.epochs, recipe.model.options["dropout"]) == (0.01, 3, 0.5)
    assert recipe.optimizer.momentum == Recipe.load("compact").optimizer.momentum


def test_an_override_through_a_value_is_refused() -> None:
    with pytest.raises(RecipeError, match="'epochs' is a value"):
        Recipe.load("compact", **{"epochs.more": 1})


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(RecipeError, match="compact"):
        Recipe.load("compcat")


@pytest.mark.parametrize(
    ("text", "says"), [pytest.param("epochs = ", "not valid TOML", id="broken"), pytest.param(None, "no recipe file", id="missing")]
)
def test_a_recipe_file_that_is_not_one(tmp_path: Path, text: str | None, says: str) -> None:
    file = tmp_path / "mine.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(RecipeError, match=says):
        Recipe.load(file)


def test_a_file_without_a_name_is_called_after_itself(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("epochs = 2\n")
    assert Recipe.load(file).name == "mine"
