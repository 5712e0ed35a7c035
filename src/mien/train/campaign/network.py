"""A Keras network as pure JAX functions: one training epoch, and probabilities averaged over views."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from numpy.typing import NDArray

from mien.errors import UsageError
from mien.train.campaign.augment import augment, mix
from mien.train.campaign.plan import Views
from mien.train.loop.checkpoint import Arrays, RunState
from mien.train.loop.optimize import compile_for
from mien.train.models import build_model
from mien.train.recipe import Recipe

Array = Any  # a jax.Array, or a tracer of one inside jit
Carry = dict[str, Any]  # state between steps: lists of arrays (trainable, other, optimizer, average) and the number of steps
PREDICT_BATCH = 256
CROP = 40 / 48  # side of a crop as a share of the chip's side, as in Khaireddin & Chen 2021, arXiv:2105.03588


class Network:
    """The network of a recipe with its compiled functions. The weights are in a :data:`Carry`, never in the Keras objects.

    ``average`` has the order of the Keras model's ``weights``, as in :class:`mien.train.loop.checkpoint.RunState`. ``other`` holds the
    variables without a gradient: batch statistics and the seeds of dropout layers.
    """

    def __init__(self, recipe: Recipe, classes: int, steps: int) -> None:
        """Build the network with new weights from the recipe's seed.

        Args:
            recipe: network, augmentation, loss, optimiser and seed.
            classes: labels of the emotion head.
            steps: batches per epoch, for the learning-rate schedule.

        Raises:
            UsageError: the backend of Keras is not JAX.
        """
        if keras.backend.backend() != "jax":
            raise UsageError(f"a campaign needs Keras on JAX, this is {keras.backend.backend()}; set KERAS_BACKEND=jax")
        self._recipe, self._steps = recipe, steps
        keras.utils.set_random_seed(recipe.seed)
        self._judge = build_model(recipe, classes)  # computes probabilities in float32 with the averaged weights
        keras.mixed_precision.set_global_policy(recipe.precision)
        try:
            self._model = build_model(recipe, classes)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        compile_for(self._model, recipe, 0, steps)
        trainable, other = self._model.trainable_variables, self._model.non_trainable_variables
        place = {id(v): (kind, i) for kind, variables in (("trainable", trainable), ("other", other)) for i, v in enumerate(variables)}
        self._weights = [place[id(v)] for v in self._model.weights]
        self._seeds = [place[id(layer.seed_generator.state)] for layer in self._model.layers if getattr(layer, "seed_generator", None)]
        self._epoch = jax.jit(self._scan, donate_argnums=0)
        self._probabilities = jax.jit(self._answer, static_argnames="views")

    @property
    def parameters(self) -> int:
        """Number of weights of the network, heads and batch statistics included."""
        return int(self._model.count_params())

    def initial_state(self) -> RunState:
        """Return the state before the first epoch."""
        weights = [np.array(v) for v in self._model.weights]
        seeds = [np.array(layer.seed_generator.state) for layer in self._model.layers if getattr(layer, "seed_generator", None)]
        return RunState(weights, [np.array(v) for v in self._model.optimizer.variables], seeds, average=weights, best=weights)

    def carry(self, state: RunState) -> Carry:
        """Return a state as arrays on the device."""
        carry: Carry = {
            "trainable": [v.value for v in self._model.trainable_variables],
            "other": [v.value for v in self._model.non_trainable_variables],
            "optimizer": state.optimizer,
            "average": state.average,
            "steps": np.int32(state.steps),
        }
        for (kind, i), array in zip((*self._weights, *self._seeds), (*state.weights, *state.seeds), strict=True):
            carry[kind][i] = array
        copied: Carry = jax.tree.map(lambda array: jnp.array(array, copy=True), carry)  # an epoch frees the memory of its carry
        return copied

    def read_back(self, carry: Carry, state: RunState) -> None:
        """Store the arrays of ``carry`` in ``state``."""
        host = jax.device_get(carry)
        state.weights = [host[kind][i] for kind, i in self._weights]
        state.seeds = [host[kind][i] for kind, i in self._seeds]
        state.optimizer, state.average, state.steps = host["optimizer"], host["average"], int(host["steps"])

    def epoch(self, carry: Carry, images: Array, targets: dict[str, Array], weights: dict[str, Array], number: int) -> tuple[float, float]:
        """Train one epoch and return mean loss and training accuracy. The contents of ``carry`` are replaced in place.

        Args:
            carry: the state after the last epoch.
            images: uint8 (N, side, side[, 3]) on the device.
            targets: distributions (N, classes) per head.
            weights: image weights (N,) per head.
            number: the epoch, counted from 0; with the seed, it determines order and augmentation.
        """
        recipe = self._recipe
        order = np.random.default_rng([recipe.seed, number]).permutation(len(images))
        size = min(recipe.batch_size, len(order))
        order = order[: self._steps * size].reshape(self._steps, size)
        key = jax.random.fold_in(jax.random.key(recipe.seed), number)
        strength = 0.5 if number >= recipe.epochs * (1 - recipe.augment.mild_last) else 1.0
        after, (loss, accuracy) = self._epoch(carry, images, targets, weights, order, key, strength)
        carry.update(after)
        return float(loss), float(accuracy)

    def score(self, average: list[Array], images: Array, labels: NDArray[np.int64]) -> tuple[float, float]:
        """Return (log loss, accuracy) of the emotion head with the averaged weights."""
        p = self.probabilities(average, images, "none")["emotion"]
        return float(-np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-12)).mean()), float((p.argmax(1) == labels).mean())

    def probabilities(self, weights: list[Array] | Arrays, images: Array, views: Views) -> dict[str, NDArray[np.float32]]:
        """Return probabilities (N, classes) per head, averaged over the views of each image, uint8 (N, side, side[, 3]).

        ``weights`` have the order of the Keras model's weights. :func:`views_of` explains ``views``.
        """
        return {head: np.asarray(values) for head, values in self._probabilities(weights, images, views=views).items()}

    def learning_rate(self, step: int) -> float:
        """Return the learning rate after ``step`` steps."""
        self._model.optimizer.iterations.assign(step)
        return float(self._model.optimizer.learning_rate)

    def _scan(
        self, carry: Carry, images: Array, targets: Any, weights: Any, order: Array, key: Array, strength: Array
    ) -> tuple[Carry, tuple[Array, Array]]:
        def step(carry: Carry, inputs: tuple[Array, Array]) -> tuple[Carry, tuple[Array, Array]]:
            rows, step_key = inputs
            change, blend = jax.random.split(step_key)
            chips = augment(change, _with_channel(images[rows]), self._recipe.augment, strength)
            chips, wanted = mix(blend, chips, {head: values[rows] for head, values in targets.items()}, self._recipe.augment)
            return self._step(carry, chips, wanted, {head: values[rows] for head, values in weights.items()})

        carry, (losses, accuracies) = jax.lax.scan(step, carry, (order, jax.random.split(key, len(order))))
        return carry, (losses.mean(), accuracies.mean())

    def _step(self, carry: Carry, chips: Array, targets: Any, weights: Any) -> tuple[Carry, tuple[Array, Array]]:
        def loss_of(trainable: list[Array]) -> tuple[Array, tuple[list[Array], Array]]:
            logits, other, penalties = self._model.stateless_call(trainable, carry["other"], chips, training=True, return_losses=True)
            loss = sum(penalties, start=jnp.float32(0))
            for head, target in targets.items():
                share = self._recipe.loss.votes_weight if head == "votes" else 1.0
                loss += share * (-(target * jax.nn.log_softmax(logits[head])).sum(-1) * weights[head]).mean()
            hits = logits["emotion"].argmax(-1) == targets["emotion"].argmax(-1)
            return loss, (other, hits.mean())

        (loss, (other, accuracy)), gradients = jax.value_and_grad(loss_of, has_aux=True)(carry["trainable"])
        trainable, optimizer = self._model.optimizer.stateless_apply(carry["optimizer"], gradients, carry["trainable"])
        after = {"trainable": trainable, "other": other, "optimizer": optimizer, "steps": carry["steps"] + 1}
        after["average"] = self._averaged(carry["average"], after)
        return after, (loss, accuracy)

    def _averaged(self, average: list[Array], after: Carry) -> list[Array]:
        # The decay is smaller in the first updates, so that the random start fades quickly, as in mien.train.loop.fit.
        keep = jnp.minimum(self._recipe.ema, (1 + after["steps"]) / (10 + after["steps"]))
        return [a + (1 - keep) * (after[kind][i] - a) for a, (kind, i) in zip(average, self._weights, strict=True)]

    def _answer(self, weights: list[Array], images: Array, views: Views) -> dict[str, Array]:
        trainable = [v.value for v in self._judge.trainable_variables]
        other = [v.value for v in self._judge.non_trainable_variables]
        lists = {"trainable": trainable, "other": other}
        for (kind, i), array in zip(self._weights, weights, strict=True):
            lists[kind][i] = array

        def answer(chips: Array) -> dict[str, Array]:
            shown = views_of(_with_channel(chips).astype(jnp.float32), views)
            answers = [self._judge.stateless_call(trainable, other, view, training=False)[0] for view in shown]
            return {head: jnp.stack([jax.nn.softmax(a[head]) for a in answers]).mean(0) for head in answers[0]}

        n = len(images)
        blank = jnp.zeros((-n % PREDICT_BATCH, *images.shape[1:]), images.dtype)
        chunks = jnp.concatenate([images, blank]).reshape(-1, PREDICT_BATCH, *images.shape[1:])
        answers = jax.lax.map(answer, chunks)
        return {head: values.reshape(-1, values.shape[-1])[:n] for head, values in answers.items()}


def _with_channel(images: Array) -> Array:
    return images[..., None] if images.ndim == 3 else images


def views_of(chips: Array, kind: Views) -> list[Array]:
    """Return the views of each chip for test-time augmentation, float32 (N, side, side, C) each.

    The network's probabilities are averaged over them. ``none`` is only the chip. ``flip`` is the chip and its mirror image. ``ten-crop``
    is crops of the four corners and the centre, enlarged to the chip's side, each with its mirror image.
    """
    if kind == "none":
        return [chips]
    if kind == "flip":
        return [chips, chips[:, :, ::-1]]
    side = chips.shape[1]
    crop = round(side * CROP)
    far, middle = side - crop, (side - crop) // 2
    corners = ((0, 0), (0, far), (far, 0), (far, far), (middle, middle))
    crops = [jax.image.resize(chips[:, y : y + crop, x : x + crop], chips.shape, "linear") for y, x in corners]
    return [view for enlarged in crops for view in (enlarged, enlarged[:, :, ::-1])]
