"""Turns trained runs into bundles: one run or an ensemble, as ONNX or, in formats/, in the other file formats."""
