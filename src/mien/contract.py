"""The contract between training and runtime: what a chip is, and how it becomes the network's input.

One :class:`InputSpec` is stored as ``spec.json`` next to the weights. :func:`model_input` turns chips into the tensor that the network
sees; ``to_input`` of the training wing makes the same tensor, and one golden file pins both. If the meaning of either changes,
:data:`CONTRACT_VERSION` increases.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import BundleError, UsageError
from mien.results import colliding

CONTRACT_VERSION = 1
# Formats of the weights. The word before the dash names the engine.
FORMATS = ("onnx", "onnx-fp16", "onnx-int8", "litert", "litert-int8", "openvino")
LABELS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
# Mean positions of left eye, right eye, nose and mouth corners in FER2013's 48x48 crops, over 1,841 training faces.
FER2013_TEMPLATE = ((14.3, 17.8), (32.7, 18.0), (22.9, 27.8), (15.9, 36.3), (30.9, 36.6))
FER2013_SIDE = 48
# The source of a model's labels: FER2013 itself, the raters of FER+ for the same pictures, or other data.
LABELLERS = ("", "fer2013", "ferplus")
OPTIONAL = ("weights_of", "output_name", "labelled_by")  # keys of spec.json that versions before 0.2 do not have


@dataclass(frozen=True)
class InputSpec:
    """What a model expects and what its outputs mean.

    ``template`` has five points in pixels of the chip. ``temperature`` divides the logits before the softmax (Guo et al. 2017,
    arXiv:1706.04599). A face with a confidence below ``uncertain_below`` is reported as uncertain. ``format`` is one of
    :data:`FORMATS`. ``model_sha256`` is the checksum of the weights.

    spec.json must contain ``contract_version``, ``name``, ``version``, ``labels`` and ``template``; other keys have the defaults below.
    Three keys are written only if they are not empty. ``weights_of`` names a neighbouring bundle folder with the weights, so that models
    with the same network share one file. If the graph has several outputs, ``output_name`` names the one to use. ``labelled_by`` names the
    source of the labels: one of :data:`LABELLERS`.
    """

    name: str
    version: str
    labels: tuple[str, ...] = LABELS
    chip_size: int = FER2013_SIDE
    channels: int = 1
    input_dtype: str = "float32"
    input_range: str = "0..255"
    template: tuple[tuple[float, float], ...] = FER2013_TEMPLATE
    interpolation: str = "area+bilinear"
    border: str = "edge"
    output: str = "logits"
    temperature: float = 1.0
    uncertain_below: float = 0.0
    format: str = "onnx"
    model_sha256: str = ""
    contract_version: int = CONTRACT_VERSION
    weights_of: str = ""
    output_name: str = ""
    labelled_by: str = ""

    def __post_init__(self) -> None:
        """Check the values, except ``version`` and ``model_sha256``.

        Raises:
            BundleError: a value is invalid. The message says what was expected and what was given.
        """
        if self.contract_version != CONTRACT_VERSION:
            raise BundleError(
                f"this bundle follows contract version {self.contract_version}, this Mien reads version {CONTRACT_VERSION}; "
                f"export the model again with this version (mien export), or install the Mien that wrote it"
            )
        text = all(isinstance(label, str) and label for label in self.labels)
        checks: tuple[tuple[str, bool, str], ...] = (
            ("name", isinstance(self.name, str) and bool(self.name), "a name"),
            ("labels", len(self.labels) >= 2 and text and len(set(self.labels)) == len(self.labels), "two or more different names"),
            ("chip_size", isinstance(self.chip_size, int) and 16 <= self.chip_size <= 512, "pixels from 16 to 512"),
            ("channels", self.channels in (1, 3), "1 or 3"),
            ("input_dtype", self.input_dtype in ("float32", "float16", "uint8"), "float32, float16 or uint8"),
            ("input_range", self.input_range in ("0..255", "0..1"), "'0..255' or '0..1'"),
            ("template", np.shape(self.template) == (5, 2) and bool(np.isfinite(self.template).all()), "five points"),
            ("interpolation", self.interpolation == "area+bilinear", "'area+bilinear'"),
            ("border", self.border == "edge", "'edge'"),
            ("output", self.output == "logits", "'logits'"),
            ("temperature", 0 < self.temperature < 100, "a number in (0, 100)"),
            ("uncertain_below", 0 <= self.uncertain_below <= 1, "a probability"),
            ("format", self.format in FORMATS, f"one of {', '.join(FORMATS)}"),
            ("weights_of", is_plain_name(self.weights_of), "the name of a folder beside this one, or empty"),
            ("output_name", isinstance(self.output_name, str), "the name of an output, or empty"),
            ("labelled_by", self.labelled_by in LABELLERS, f"one of {', '.join(map(repr, LABELLERS))}"),
        )
        for key, good, expected in checks:
            if not good:
                raise BundleError(f"spec.json: {key} must be {expected}, got {getattr(self, key)!r}")
        if twice := colliding(self.labels):
            raise BundleError(f"spec.json: labels must differ from the columns of the results, got {twice!r}, which is one; rename it")

    @property
    def engine(self) -> str:
        """The engine that runs the weights: ``onnx``, ``litert`` or ``openvino``."""
        return self.format.split("-", maxsplit=1)[0]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one chip as an input of the network, (H, W, C)."""
        return (self.chip_size, self.chip_size, self.channels)

    def updated(self, **changes: Any) -> InputSpec:
        """Return a copy with some values replaced."""
        return replace(self, **changes)

    def to_json(self) -> str:
        """Return the text of spec.json."""
        values = {key: value for key, value in asdict(self).items() if value or key not in OPTIONAL}
        return json.dumps(values, indent=2) + "\n"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InputSpec:
        """Return the spec from parsed JSON.

        Raises:
            BundleError: a key is missing, unknown, or has a bad value.
        """
        known = {field.name for field in fields(cls)}
        if missing := sorted({"contract_version", "name", "version", "labels", "template"} - set(values)):
            raise BundleError(f"spec.json lacks {', '.join(missing)}")
        if unknown := sorted(set(values) - known):
            raise BundleError(f"spec.json has unknown keys {', '.join(unknown)}; this Mien knows {', '.join(sorted(known))}")
        try:
            points = tuple((float(x), float(y)) for x, y in values["template"])
            return cls(**{**values, "labels": tuple(values["labels"]), "template": points})
        except (TypeError, ValueError) as error:
            raise BundleError(f"spec.json does not hold what it should: {error}") from None

    @classmethod
    def read(cls, file: Path) -> InputSpec:
        """Return the spec from a ``spec.json`` file."""
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BundleError(f"{file.parent} has no spec.json; a bundle holds a model and its spec.json") from None
        except (OSError, ValueError) as error:
            raise BundleError(f"{file} is not readable JSON: {error}") from None
        if not isinstance(values, dict):
            raise BundleError(f"{file} should hold a JSON object, got {type(values).__name__}")
        return cls.from_dict(values)


def is_plain_name(name: object) -> bool:
    """Return whether ``name`` is empty or a plain name, without a way to another folder.

    >>> is_plain_name("default"), is_plain_name("../default")
    (True, False)
    """
    return isinstance(name, str) and not set(name) & set("/\\:\0") and name not in (".", "..")


def template_for(size: int) -> tuple[tuple[float, float], ...]:
    """Return the five points of FER2013, scaled to a chip of ``size`` pixels.

    >>> template_for(96)[0]
    (28.6, 35.6)
    """
    factor = size / FER2013_SIDE
    return tuple((x * factor, y * factor) for x, y in FER2013_TEMPLATE)


def model_input(chips: NDArray[np.uint8], spec: InputSpec) -> NDArray[Any]:
    """Return the network's input (N, H, W, C) from chips, uint8 (N, H, W) grey or (N, H, W, 3) RGB.

    Raises:
        UsageError: the dtype or the shape is wrong.
    """
    side = spec.chip_size
    shape = (side, side) if spec.channels == 1 else (side, side, 3)
    if chips.dtype != np.uint8 or chips.shape[1:] != shape:
        raise UsageError(f"expected chips of uint8 (N, {', '.join(map(str, shape))}), got {chips.dtype} {chips.shape}")
    values = chips.reshape(-1, *spec.input_shape).astype(spec.input_dtype)
    return values / np.asarray(255, spec.input_dtype) if spec.input_range == "0..1" else values
