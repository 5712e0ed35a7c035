"""Network families, one file each; :data:`FAMILIES` says which names a recipe may use.

Every family's ``build(size, channels, **options)`` returns a trunk from chips (float32, 0..255) to features; the heads are
added here, so that all families share labels, supervision and export.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import RecipeError
from mien.train.data import FERPLUS_CLASSES

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from mien.train.recipe import Recipe

FAMILIES = {
    "compact": "mien.train.models.compact",
    "convnext": "mien.train.models.convnext",
    "face": "mien.train.models.face",
    "original": "mien.train.models.original",
    "transfer": "mien.train.models.transfer",
    "vgg": "mien.train.models.vgg",
    "wide": "mien.train.models.wide",
}
HEADS = ("emotion", "votes")


def build_model(recipe: Recipe, class_count: int) -> keras.Model:
    """Return the trainable network of a recipe.

    Outputs are logits: ``emotion`` (N, class_count) and, when the recipe uses FER+ votes, ``votes`` (N, 8).

    Raises:
        RecipeError: for an unknown family, or options its builder does not take.
    """
    import keras
    from keras import layers

    if recipe.model.family not in FAMILIES:
        raise RecipeError(f"unknown model family {recipe.model.family!r}; known are {', '.join(sorted(FAMILIES))}")
    builder = importlib.import_module(FAMILIES[recipe.model.family])
    try:
        trunk = builder.build(recipe.size, recipe.channels, **recipe.model.options)
    except TypeError as error:
        raise RecipeError(f"model.options do not fit family {recipe.model.family!r}: {error}") from None
    features = trunk.output
    outputs = {"emotion": layers.Dense(class_count, dtype="float32", name="emotion")(features)}
    if recipe.loss.votes_weight:
        outputs["votes"] = layers.Dense(FERPLUS_CLASSES, dtype="float32", name="votes")(features)
    model = keras.Model(trunk.input, outputs, name=recipe.name)
    if recipe.loss.l2:
        for variable in model.trainable_variables:
            if variable.name == "kernel":
                variable.regularizer = keras.regularizers.L2(recipe.loss.l2)
    return model


def load_pretrained(model: keras.Model, recipe: Recipe, chips: NDArray[np.uint8]) -> None:
    """Give a new network the weights that ``recipe.model.weights`` names; does nothing for ``none``.

    Args:
        model: a network that :func:`build_model` made of the same recipe.
        recipe: its family knows how to read the weights.
        chips: some training chips, uint8 (N, size, size[, 3]), for a family that has to measure its norms' statistics.

    Raises:
        RecipeError: the family takes no weights, or the file is missing or does not fit.
    """
    if recipe.model.weights == "none":
        return
    if recipe.model.weights.endswith(".keras"):
        _load_network(model, Path(recipe.model.weights))
        return
    family = importlib.import_module(FAMILIES[recipe.model.family])
    if not hasattr(family, "load_weights"):
        raise RecipeError(
            f"model.weights is {recipe.model.weights!r}, but family {recipe.model.family!r} starts from random weights or a .keras file"
        )
    family.load_weights(model, recipe.model.weights, chips=chips, **recipe.model.options)


def _load_network(model: keras.Model, file: Path) -> None:
    """Go on from a network that was trained before: its trunk, and its emotion head where that answers as many labels."""
    import keras

    if not file.is_file():
        raise RecipeError(f"model.weights: no file at {file}; give 'none' or a network that mien train wrote")
    try:
        donor = keras.saving.load_model(file, compile=False)
    except Exception as error:  # keras raises bare exceptions for a file that it did not write
        raise RecipeError(f"model.weights: cannot open {file}: {error}") from error
    given, wanted = ([layer for layer in net.layers if layer.weights and layer.name not in HEADS] for net in (donor, model))
    shapes = [[[tuple(v.shape) for v in layer.weights] for layer in net] for net in (given, wanted)]
    if shapes[0] != shapes[1]:
        raise RecipeError(f"model.weights: the network in {file} has other layers than family {model.name!r} with this recipe's options")
    for source, target in zip(given, wanted, strict=True):
        target.set_weights(source.get_weights())
    old, new = donor.get_layer("emotion"), model.get_layer("emotion")
    if tuple(old.kernel.shape) == tuple(new.kernel.shape):
        new.set_weights(old.get_weights())
