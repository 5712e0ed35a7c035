"""A campaign file: which nets to train, in which order, read from TOML and checked key by key."""

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
    """One net: a shipped recipe or a ``.toml`` file, what is changed in it, and its seed.

    ``overrides`` are recipe keys, dotted or nested; ``views`` says what its answers are averaged over; with ``keep_weights`` a run folder
    leaves the machine as well, not only probabilities.
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
            RecipeError: an unknown key or value, or something that cannot happen on the accelerator.
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
    """``members`` are trained first, in this order; ``students`` then learn from the chosen ensemble of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    members: tuple[Net, ...] = Field(min_length=1)
    students: tuple[Net, ...] = ()

    @classmethod
    def load(cls, file: Path) -> Campaign:
        """Return the campaign in a TOML file, with every recipe in it checked.

        Raises:
            RecipeError: no such file, not TOML, an unknown key, a bad value, two nets of one name or a bad recipe.
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
        """Members, then students."""
        return (*self.members, *self.students)


def _dotted(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as dotted keys, so that a table changes single keys of the recipe instead of replacing all of them.

    >>> _dotted({"epochs": 3, "model": {"options": {"dropout": 0.1}}})
    {'epochs': 3, 'model.options.dropout': 0.1}
    """
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
