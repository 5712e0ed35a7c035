"""A campaign file lists the nets to train and their order. It is read from TOML, and each key is checked."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mien.errors import RecipeError
from mien.train.recipe import Recipe

Views = Literal["none", "flip", "ten-crop"]  # of mien.train.campaign.network


class Net(BaseModel):
    """One net: a shipped recipe or a ``.toml`` file, the changes to it, and its seed.

    ``overrides`` are recipe keys, dotted or nested. ``views`` says over which views its probabilities are averaged. With ``keep_weights``,
    the packed results contain its best weights as well as its probabilities.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    recipe: str
    seed: int = 0
    overrides: dict[str, Any] = Field(default_factory=dict)
    views: Views = "flip"
    keep_weights: bool = False

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name):
            raise ValueError("expected small letters, digits, '_', '.' and '-', since it names a folder")
        return name

    def load_recipe(self) -> Recipe:
        """Return the net's recipe.

        Raises:
            RecipeError: a key or a value is unknown, or the accelerator cannot do what the recipe asks for.
        """
        recipe = Recipe.load(self.recipe, **{**_dotted(self.overrides), "name": self.name, "seed": self.seed})
        for key, value, allowed in (
            ("augment.jpeg_p", recipe.augment.jpeg_p, 0),
            ("augment.crop", recipe.augment.crop, 0),
            ("preprocess", recipe.preprocess, "none"),
            ("model.weights", recipe.model.weights, "none"),
            ("frozen.epochs", recipe.frozen.epochs, 0),
            ("optimizer.sam_rho", recipe.optimizer.sam_rho, 0),
        ):
            if value != allowed:
                raise RecipeError(f"net {self.name!r}: a campaign trains with {key} = {allowed!r} only, got {value!r}; set it in overrides")
        if recipe.optimizer.schedule == "plateau":
            raise RecipeError(f"net {self.name!r}: optimizer.schedule must be 'cosine' or 'constant' in a campaign, got 'plateau'")
        return recipe


class Campaign(BaseModel):
    """``members`` are trained first, in this order. Then ``students`` learn from the chosen ensemble of the members."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    members: tuple[Net, ...] = Field(min_length=1)
    students: tuple[Net, ...] = ()

    @classmethod
    def load(cls, file: Path) -> Campaign:
        """Return the campaign in a TOML file, after a check of every recipe in it.

        Raises:
            RecipeError: the file does not exist or is not TOML, a key is unknown, a value or a recipe is bad, or two nets have one name.
        """
        try:
            campaign = cls.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
        except OSError as error:
            raise RecipeError(f"no campaign file at {file} ({error.strerror})") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"{file} is not valid TOML: {error}") from None
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}, got {p['input']!r}" for p in error.errors())
            raise RecipeError(f"{file}: {problems}") from None
        names = [net.name for net in campaign.nets]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise RecipeError(f"{file}: two nets are called {twice[0]!r}; give each its own name")
        for net in campaign.nets:
            net.load_recipe()
        return campaign

    @property
    def nets(self) -> tuple[Net, ...]:
        """The members, followed by the students."""
        return (*self.members, *self.students)


def _dotted(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as dotted keys, so that a table changes single keys of the recipe and does not replace the whole table.

    >>> _dotted({"epochs": 3, "model": {"options": {"dropout": 0.1}}})
    {'epochs': 3, 'model.options.dropout': 0.1}
    """
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
