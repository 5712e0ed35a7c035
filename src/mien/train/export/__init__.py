"""Turns trained runs into bundles: a single run or an ensemble, as ONNX or (in formats/) in another file format."""
