"""Chips -> calibrated probabilities, in small batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.bundles import Bundle
from mien.contract import InputSpec, model_input
from mien.engines import open_session
from mien.errors import BundleError
from mien.results import Emotions

MICRO_BATCH = 32  # larger batches are no faster on a CPU and take more memory


class Classifier:
    """A loaded model: chips in, probabilities out."""

    def __init__(self, bundle: Bundle, *, threads: int | None = None, providers: Sequence[str] | None = None) -> None:
        """Open the bundle's graph and run it once.

        Raises:
            BundleError: the graph's input or output does not fit its spec.json.
        """
        self.bundle = bundle
        self.spec: InputSpec = bundle.spec
        self._session = open_session(bundle, threads=threads, providers=providers)
        outputs = [self.spec.output_name] if self.spec.output_name else list(self._session.outputs)
        if len(self._session.inputs) != 1 or len(outputs) != 1 or outputs[0] not in self._session.outputs:
            raise BundleError(
                f"{bundle.model_path} should have one input and {f'the output {outputs[0]!r}' if self.spec.output_name else 'one output'}, "
                f"has {self._session.inputs}, {self._session.outputs}"
            )
        (self._input,), (self._output,) = self._session.inputs, outputs
        shape = (1, *(s for s in (self.spec.chip_size, self.spec.chip_size, 3 if self.spec.channels == 3 else None) if s))
        try:
            logits = self.logits(np.zeros(shape, np.uint8))
        except BundleError:
            raise
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise BundleError(f"{bundle.model_path} does not take chips of {self.spec.input_shape}: {reason}") from None
        if logits.shape != (1, len(self.spec.labels)):
            raise BundleError(
                f"{bundle.model_path} answers {logits.shape[1:]} values a chip, spec.json names {len(self.spec.labels)} labels"
            )

    def logits(self, chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return raw logits (N, labels) float32 for chips, uint8 (N, S, S) grey or (N, S, S, 3) RGB."""
        if not len(chips):
            return np.zeros((0, len(self.spec.labels)), np.float32)
        parts = []
        for start in range(0, len(chips), MICRO_BATCH):
            values = model_input(chips[start : start + MICRO_BATCH], self.spec)
            parts.append(self._session.run({self._input: values}, [self._output])[self._output])
        logits = np.concatenate(parts).astype(np.float32)
        if not np.isfinite(logits).all():
            raise BundleError(f"model {self.spec.name!r} answered values that are not finite; its weights are damaged")
        return logits

    def probabilities(self, chips: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return calibrated probabilities (N, labels), where each row sums to 1."""
        return softmax(self.logits(chips), self.spec.temperature)

    def emotions(self, probabilities: NDArray[np.float64]) -> Emotions:
        """Return one row of :meth:`probabilities`, shape (labels,), as a record."""
        return Emotions(self.spec.labels, tuple(float(p) for p in probabilities))

    def is_uncertain(self, emotions: Emotions) -> bool:
        """Return whether the confidence is below the model's threshold ``uncertain_below``."""
        return emotions.confidence < self.spec.uncertain_below


def softmax(logits: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return softmax(logits / temperature) over the last axis, in double precision.

    >>> softmax(np.array([[0.0, 0.0]], np.float32)).tolist()
    [[0.5, 0.5]]
    """
    scaled = np.asarray(logits, np.float64) / temperature
    odds = np.exp(scaled - scaled.max(-1, keepdims=True))
    return np.asarray(odds / odds.sum(-1, keepdims=True), np.float64)
