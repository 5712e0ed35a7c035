"""A recipe holds every setting of a training run. It is read from TOML, and each key is checked."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mien.errors import RecipeError


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelTable(_Table):
    """The network: ``family`` names a file in :mod:`mien.train.models`; ``options`` are that file's keywords.

    ``weights`` says where training starts: ``none``, or a ``.keras`` file that an earlier run of the same network wrote. Families that
    can read weights from other projects also take ``imagenet`` (Keras downloads them) or a file of such weights.
    """

    family: str = "compact"
    weights: str = "none"
    options: dict[str, Any] = Field(default_factory=dict)


class AugmentTable(_Table):
    """Random changes to a training image. A value of 0 turns a change off. Names of probabilities end in ``_p``."""

    flip_p: float = Field(0.5, ge=0, le=1)
    rotate_deg: float = Field(12.0, ge=0, le=180)
    scale: float = Field(0.15, ge=0, lt=1)  # sides are multiplied by a factor in [1 - scale, 1 + scale]
    shift: float = Field(0.1, ge=0, lt=1)  # fraction of the side
    brightness: float = Field(0.15, ge=0, le=1)  # fraction of the full range
    contrast: float = Field(0.3, ge=0, lt=1)
    gamma: float = Field(0.25, ge=0, lt=1)
    blur_p: float = Field(0.1, ge=0, le=1)
    jpeg_p: float = Field(0.05, ge=0, le=1)
    erase_p: float = Field(0.3, ge=0, le=1)
    crop: int = Field(0, ge=0)  # side in px of a random square that replaces the whole chip, until the mild epochs; 0: whole chips
    mixup_alpha: float = Field(0.0, ge=0)
    cutmix_alpha: float = Field(0.0, ge=0)
    mild_last: float = Field(0.15, ge=0, le=1)  # share of the epochs, at the end, with changes of half strength


class LossTable(_Table):
    """What the network learns to match."""

    targets: Literal["labels", "votes"] = "labels"  # what the emotion head learns: FER2013's label, or the FER+ votes for our labels
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: bool = False
    votes_weight: float = Field(0.0, ge=0)  # weight of the FER+ head; 0 leaves the head out
    l2: float = Field(0.0, ge=0)  # penalty on every kernel, added to the training loss; weight decay belongs to the optimiser


class OptimizerTable(_Table):
    """Optimiser and learning-rate schedule."""

    name: Literal["sgd", "adam", "adamw", "muon"] = "sgd"
    learning_rate: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    warmup_epochs: float = Field(2.0, ge=0)
    hold: float = Field(0.0, ge=0, lt=1)  # share of the epochs after the warm-up that keep the full rate, before the cosine falls
    plateau_factor: float = Field(0.5, gt=0, lt=1)
    plateau_patience: int = Field(5, ge=1)
    clip_norm: float = Field(0.0, ge=0)
    sam_rho: float = Field(0.0, ge=0)  # radius of sharpness-aware steps (mien.train.loop.sam), which take twice the time; 0: plain steps


class FrozenTable(_Table):
    """A first phase that trains only the heads, so that their random start does not damage loaded weights."""

    epochs: int = Field(0, ge=0)
    learning_rate: float = Field(1e-3, gt=0)


class Recipe(_Table):
    """One training run.

    Raises:
        RecipeError: raised by :meth:`load` and :meth:`from_dict`; it names the key and the most similar known key.
    """

    name: str
    size: int = Field(48, ge=16, le=512)
    channels: Literal[1, 3] = 1
    preprocess: Literal["none", "equalize", "clahe"] = "none"
    epochs: int = Field(60, ge=1)  # all epochs, the frozen ones included
    batch_size: int = Field(128, ge=1)
    seed: int = 0
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    ema: float = Field(0.998, ge=0, lt=1)  # decay of the weight average per step; 0 turns it off
    early_stopping: int = Field(0, ge=0)  # stop after this many epochs without a better validation accuracy; 0: never
    flip_average: bool = False  # the exported graph averages the logits of the chip and its mirror image
    classic_files: bool = False  # also write emotion_recognition.keras and training_history.json, .csv and .pkl
    model: ModelTable = ModelTable()
    augment: AugmentTable = AugmentTable()
    loss: LossTable = LossTable()
    optimizer: OptimizerTable = OptimizerTable()
    frozen: FrozenTable = FrozenTable()

    @model_validator(mode="after")
    def _crop_fits(self) -> Recipe:
        if self.augment.crop > self.size:
            raise ValueError(f"augment.crop is {self.augment.crop}, wider than the chip of {self.size} px")
        return self

    @model_validator(mode="after")
    def _hold_falls(self) -> Recipe:
        if self.optimizer.hold and self.optimizer.schedule != "cosine":
            raise ValueError(f"optimizer.hold needs the schedule 'cosine', got {self.optimizer.schedule!r}")
        return self

    @property
    def learns_votes(self) -> bool:
        """Whether the network learns from the FER+ votes."""
        return bool(self.loss.votes_weight) or self.loss.targets == "votes"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Return the recipe held by ``values`` (the parsed TOML)."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise RecipeError(_explain(error)) from None

    @classmethod
    def load(cls, path: str | Path, **overrides: Any) -> Recipe:
        """Return the recipe in a TOML file, or the shipped recipe of that name.

        Args:
            path: a ``.toml`` file, or a bare name such as ``compact``.
            overrides: dotted keys whose values replace those of the file, for example ``{"optimizer.learning_rate": 0.05}``.
        """
        file = find_recipe(path)
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"{file} is not valid TOML: {error}") from None
        for dotted, value in overrides.items():
            *parents, key = dotted.split(".")
            table = values
            for parent in parents:
                table = table.setdefault(parent, {})
                if not isinstance(table, dict):
                    raise RecipeError(f"cannot set {dotted!r}: {parent!r} is a value, not a table")
            table[key] = value
        values.setdefault("name", file.stem)
        return cls.from_dict(values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that :meth:`from_dict` reads back."""
        return self.model_dump(mode="json")


def recipes_dir() -> Path:
    """Return the folder of the shipped recipes."""
    return Path(__file__).parent / "recipes"


def find_recipe(path: str | Path) -> Path:
    """Return the file for a path or for the name of a shipped recipe."""
    file = Path(path)
    if file.suffix == ".toml":
        if not file.is_file():
            raise RecipeError(f"no recipe file at {file}")
        return file
    shipped = recipes_dir() / f"{path}.toml"
    if shipped.is_file():
        return shipped
    known = sorted(p.stem for p in recipes_dir().glob("*.toml"))
    near = difflib.get_close_matches(str(path), known, n=1)
    hint = f"did you mean {near[0]!r}? Shipped" if near else "shipped"
    raise RecipeError(f"no recipe called {str(path)!r}; {hint} recipes are {', '.join(known)}, or give a .toml file")


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(problem["loc"][-1]), _known_keys(), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; expected a table or one of {', '.join(_known_keys())}"
            lines.append(f"unknown key {key!r}{hint}")
        else:
            lines.append(f"{key}: {problem['msg']}, got {problem['input']!r}")
    return "recipe: " + "; ".join(lines)


def _known_keys() -> list[str]:
    tables: list[type[BaseModel]] = [Recipe, ModelTable, AugmentTable, LossTable, OptimizerTable, FrozenTable]
    return sorted({key for table in tables for key in table.model_fields})
