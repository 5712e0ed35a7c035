"""Converts a Keras network to LiteRT, in float32 and in 8-bit integers."""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from mien.bundles import Bundle
from mien.classify import Classifier
from mien.contract import model_input
from mien.errors import ExportError, MissingExtraError
from mien.train.export.bundle import require_tensorflow
from mien.train.loop.trained import mirrored
from mien.train.models import open_network

# Operators with weights, and operators that only move values. Sums stay in float32, as in mien.train.export.formats.graphs.
QUANTIZED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "AVERAGE_POOL_2D", "MAX_POOL_2D", "PAD")
SAME_NETWORK = 0.1  # largest difference of a logit between a bundle and its Keras source; float16 weights cause a tenth of it


def source_of(bundle: Bundle, file: Path, chips: NDArray[np.uint8]) -> keras.Model:
    """Return the network in a ``.keras`` file or its average over mirror images, depending on which one the bundle was made from.

    Args:
        bundle: the bundle that was exported from the file.
        file: the Keras source, chips -> logits.
        chips: some chips for the comparison, uint8 (N, S, S[, 3]).

    Raises:
        ExportError: neither gives the answers of the bundle.
        BundleError: the file is missing or is not a Keras network.
    """
    core = open_network(file)
    wanted, inputs = Classifier(bundle).logits(chips), model_input(chips, bundle.spec).astype(np.float32)
    heads = [core]
    if len(core.outputs) > 1:  # the source of several models; an exported bundle no longer names its output
        first = bundle.spec.output_name or bundle.spec.name
        names = sorted(core.output_names, key=lambda name: name != first)
        heads = [keras.Model(core.input, core.output[name]) for name in names]
    differences = []
    for output in (output for head in heads for output in (head.output, mirrored(head))):
        network = keras.Model(core.input, layers.Identity(name="logits")(output))
        answers = keras.ops.convert_to_numpy(network(inputs, training=False))
        if answers.shape == wanted.shape and (difference := float(np.abs(answers - wanted).max())) <= SAME_NETWORK:
            return network
        differences.append(f"{answers.shape[1:]} values" if answers.shape != wanted.shape else f"{difference:.2g}")
    raise ExportError(
        f"{file} is not the source of {bundle.folder}: its logits differ by {differences[0]}, averaged with the mirror image by "
        f"{differences[1]}; give the .keras file that the bundle was exported from (--keras)"
    )


def to_litert(model: keras.Model) -> bytes:
    """Return the ``.tflite`` form of a network with one input and one output, for one chip per call.

    With a fixed batch size, every accelerator of a phone can run the whole graph.

    Raises:
        ExportError: the backend of Keras is not TensorFlow.
    """
    require_tensorflow()
    shape = model.input.shape
    model(np.zeros((1, *shape[1:]), np.float32))  # Keras exports only a model that has been called
    with tempfile.TemporaryDirectory(prefix="mien-litert-") as scratch:
        file = Path(scratch) / "model.tflite"
        signature = [keras.InputSpec(shape=(1, *shape[1:]), dtype="float32", name="chips")]
        model.export(file, format="litert", verbose=False, input_signature=signature)
        return file.read_bytes()


def int8(model: bytes, rows: NDArray[np.float32]) -> bytes:
    """Return a ``.tflite`` whose layers compute in 8-bit integers. The chips ``rows`` (N, H, W, C) set their ranges.

    Raises:
        MissingExtraError: the quantizer is not installed.
    """
    quantizer = _quantizer(model)
    for name in QUANTIZED:
        quantizer.add_static_config(".*", name, activation_num_bits=8, weight_num_bits=8)
    (key,) = _signatures(model)
    (given,) = _signatures(model)[key]["inputs"]
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():  # hide its progress bar and its message about memory
        warnings.simplefilter("ignore")
        ranges = quantizer.calibrate({key: [{given: row[None]} for row in rows]}, num_threads=1)
    return bytes(quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model)


def int8_weights(model: bytes) -> bytes:
    """Return a ``.tflite`` whose weights are stored in 8 bits. It computes in float32.

    Raises:
        MissingExtraError: the quantizer is not installed.
    """
    quantizer = _quantizer(model)
    for name in QUANTIZED[:3]:
        quantizer.add_weight_only_config(".*", name, num_bits=8)
    return bytes(quantizer.quantize(enable_progress_bar=False, enable_progress_report=False).quantized_model)


def _quantizer(model: bytes) -> Any:
    try:
        from ai_edge_quantizer.quantizer import Quantizer
    except ModuleNotFoundError:
        raise MissingExtraError("ai-edge-quantizer", "edge") from None
    return Quantizer(bytearray(model))


def _signatures(model: bytes) -> dict[str, Any]:
    from ai_edge_litert.interpreter import Interpreter

    signatures: dict[str, Any] = Interpreter(model_content=model).get_signature_list()
    return signatures
