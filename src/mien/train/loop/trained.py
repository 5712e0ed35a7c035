"""Opens a trained run: its recipe, its labels, the rows it trained on, and its network. Only the network needs Keras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import TrainingError, UsageError
from mien.train.data.dataset import Dataset, fingerprint
from mien.train.data.splits import default_validation, split_rows
from mien.train.loop.checkpoint import load_state
from mien.train.loop.run_folder import CHECKPOINT, CONFIG, read_run
from mien.train.models import build_model
from mien.train.recipe import Recipe

if TYPE_CHECKING:
    import keras


def read_config(run: Path) -> tuple[Recipe, tuple[str, ...]]:
    """Return the recipe and the labels of a run folder.

    Raises:
        TrainingError: the folder is not a run folder.
    """
    try:
        config = json.loads((run / CONFIG).read_text(encoding="utf-8"))
        return Recipe.from_dict(config["recipe"]), tuple(config["labels"])
    except OSError as error:
        raise TrainingError(f"{run} is not a run folder of mien train: expected {run / 'config.json'} ({error.strerror})") from None
    except (ValueError, KeyError) as error:
        raise TrainingError(f"{run} is not a run folder of mien train: its config.json is damaged ({error})") from None


def rows_of(run: Path, data: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of ``data`` that a run trained on, and the rows that chose its epoch. Images that the run excluded are in neither.

    Raises:
        UsageError: the run held out random images, and ``data`` is not its data set, so that these images cannot be identified.
        DataError: ``data`` lacks an image that the run excluded.
    """
    recipe, _ = read_config(run)
    config = read_run(run).config
    data = data.exclude(set(config.get("excluded", ())))
    validation = config.get("validation") or default_validation(data)
    if validation == "holdout" and config.get("data", fingerprint(data)) != fingerprint(data):
        raise UsageError(
            f"{run} held back a tenth of its training images, which cannot be told from the others: {data.root} is not the data set that "
            "it was trained on, or images were added, taken away or renamed since"
        )
    return split_rows(data, validation, recipe.seed)


def inference_model(run: Path, head: str = "emotion", *, last: bool = False) -> keras.Model:
    """Return the float32 network of the run's best epoch: chips -> ``logits`` (N, labels).

    It averages over the mirror image if the recipe says so. With ``last``, it is the network of the last epoch, after the learning rate
    has fallen; the best accuracy of many epochs is partly luck.

    Raises:
        TrainingError: ``run`` has no finished epoch, or no such ``head`` (one of :data:`mien.train.models.HEADS`).
    """
    import keras
    from keras import layers

    recipe, _ = read_config(run)
    trained = trained_network(run, last=last)
    if head not in trained.output_names:
        raise TrainingError(f"{run} has no head {head!r}, only {', '.join(trained.output_names)}; a recipe with loss.votes_weight has both")
    core = keras.Model(trained.input, trained.get_layer(head).output)
    return keras.Model(core.input, layers.Identity(name="logits")(mirrored(core) if recipe.flip_average else core.output), name=recipe.name)


def trained_network(run: Path, *, last: bool = False) -> keras.Model:
    """Return the float32 network of the run's best epoch with all its heads. With ``last``, return that of the last epoch.

    Raises:
        TrainingError: ``run`` has no finished epoch.
    """
    recipe, labels = read_config(run)
    state = load_state(run / CHECKPOINT)
    if not state.history:
        raise TrainingError(f"{run} has not finished an epoch yet")
    trained = build_model(recipe, len(labels))
    trained.set_weights(state.average if last else state.best)
    return trained


def mirrored(core: keras.Model) -> Any:
    """Return the mean of the logits of each chip and its mirror image, as a symbolic tensor on ``core.input``.

    For a network with a dictionary of outputs, return a dictionary with the same names.
    """
    import keras

    other = core(keras.ops.flip(core.input, axis=2))
    if not isinstance(core.output, dict):
        return keras.layers.Average()([core.output, other])
    return {name: keras.layers.Average(name=f"{name}_mean")([core.output[name], other[name]]) for name in core.output}


def looks_at_both(network: keras.Model) -> bool:
    """Return whether a network already averages over the mirror image, as :func:`mirrored` does."""
    import keras

    return any(isinstance(layer, keras.layers.Average) for layer in network.layers)
