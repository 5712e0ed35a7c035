"""Network families, one file per family. :data:`FAMILIES` lists the names that a recipe may use.

The function ``build(size, channels, **options)`` of each family returns a trunk from chips (float32, 0..255; of any side if ``size`` is
None) to features. This module adds the heads, so that all families share labels, supervision and export.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import BundleError, RecipeError, UsageError
from mien.train.data.dataset import FERPLUS_CLASSES

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from mien.train.recipe import Recipe

FAMILIES = {
    "compact": "mien.train.models.compact",
    "convnext": "mien.train.models.convnext",
    "face": "mien.train.models.face",
    "faceres": "mien.train.models.faceres",
    "original": "mien.train.models.original",
    "transfer": "mien.train.models.transfer",
    "vgg": "mien.train.models.vgg",
    "wide": "mien.train.models.wide",
}
FIXED_SIDE = ("face", "faceres", "original", "transfer")  # families whose networks take only whole chips
HEADS = ("emotion", "votes")
SHIPPED_HEADS = {"emotion": "fer2013", "votes": "ferplus"}  # name in training -> name in a shipped network
NOT_TRUNK = (*HEADS, *SHIPPED_HEADS.values(), "default")


def build_model(recipe: Recipe, class_count: int, *, any_side: bool = False) -> keras.Model:
    """Return the trainable network of a recipe.

    Its outputs are logits: ``emotion`` (N, class_count) and, if the recipe uses FER+ votes, ``votes`` (N, 8).

    Args:
        recipe: family, options and supervision.
        class_count: number of labels of the emotion head.
        any_side: accept chips of any side instead of ``recipe.size`` px, with the same weights.

    Raises:
        RecipeError: the family is unknown, its builder does not take an option, or ``any_side`` is set for one of :data:`FIXED_SIDE`.
    """
    import keras
    from keras import layers

    if recipe.model.family not in FAMILIES:
        raise RecipeError(f"unknown model family {recipe.model.family!r}; known are {', '.join(sorted(FAMILIES))}")
    if any_side and recipe.model.family in FIXED_SIDE:
        raise RecipeError(f"augment.crop is {recipe.augment.crop}, but family {recipe.model.family!r} takes whole chips alone; set it to 0")
    builder = importlib.import_module(FAMILIES[recipe.model.family])
    try:
        trunk = builder.build(None if any_side else recipe.size, recipe.channels, **recipe.model.options)
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


def open_network(file: Path) -> keras.Model:
    """Return the network in a ``.keras`` file.

    Raises:
        BundleError: the file is missing or does not hold a network.
    """
    import keras

    try:
        return keras.saving.load_model(file, compile=False)
    except Exception as error:  # keras raises bare exceptions for a file that it did not write
        raise BundleError(f"{file} is not a network that this Keras can open: {(str(error) or repr(error)).splitlines()[0]}") from error


def head_of(network: keras.Model, head: str) -> keras.Model:
    """Return the network (chips -> logits) of one head. A network with one output counts as its ``emotion`` head.

    Args:
        network: its outputs have the names of training (:data:`HEADS`) or of a shipped network (:data:`SHIPPED_HEADS` and ``default``).
        head: the name of the head in training, or ``default``.

    Raises:
        UsageError: the network has no such head.
    """
    import keras

    if len(network.outputs) == 1 and head == HEADS[0]:
        return keras.Model(network.input, network.outputs[0]) if isinstance(network.output, dict) else network
    outputs = network.output if isinstance(network.output, dict) else dict(zip(network.output_names, network.outputs, strict=True))
    for name in (head, SHIPPED_HEADS.get(head, head)):
        if name in outputs and len(network.outputs) > 1:
            return keras.Model(network.input, outputs[name])
    raise UsageError(f"the network has no head {head!r}, only {', '.join(outputs)}; a network that FER+'s votes taught has both")


def networks_in(file: Path) -> list[keras.Model]:
    """Return the members of the ensemble in a ``.keras`` file, in order, or the single network in it.

    Raises:
        BundleError: see :func:`open_network`.
    """
    import keras

    network = open_network(file)
    return [layer for layer in network.layers if isinstance(layer, keras.Model)] or [network]


def load_pretrained(model: keras.Model, recipe: Recipe, chips: NDArray[np.uint8]) -> None:
    """Load the weights that ``recipe.model.weights`` names into a new network. Nothing changes for ``none``.

    Args:
        model: a network that :func:`build_model` made from the same recipe.
        recipe: its family reads the weights.
        chips: some training chips, uint8 (N, size, size[, 3]), for a family that must measure the statistics of its batch norms.

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
    """Copy the weights of an earlier network: its trunk, and each head with the same number of labels."""
    if not file.is_file():
        raise RecipeError(f"model.weights: no file at {file}; give 'none' or a network that mien train wrote")
    try:
        donors = networks_in(file)
    except BundleError as error:
        raise RecipeError(f"model.weights: {error}") from error
    wanted = _trunk(model)
    donor = next((net for net in donors if [shapes for _, shapes in _trunk(net)] == [shapes for _, shapes in wanted]), None)
    if donor is None:
        raise RecipeError(f"model.weights: the network in {file} has other layers than family {model.name!r} with this recipe's options")
    for (source, _), (target, _) in zip(_trunk(donor), wanted, strict=True):
        target.set_weights(source.get_weights())
    theirs = {layer.name: layer for layer in donor.layers}
    for head in HEADS:
        old = theirs.get(head) or theirs.get(SHIPPED_HEADS[head])
        new = next((layer for layer in model.layers if layer.name == head), None)
        if old is not None and new is not None and tuple(old.kernel.shape) == tuple(new.kernel.shape):
            new.set_weights(old.get_weights())


def _trunk(network: keras.Model) -> list[tuple[keras.Layer, list[tuple[int, ...]]]]:
    """Return the layers with weights below the heads, each with the shapes of its weights."""
    layers = [layer for layer in network.layers if layer.weights and layer.name not in NOT_TRUNK]
    return [(layer, [tuple(weight.shape) for weight in layer.weights]) for layer in layers]
