"""Measures a model on labelled faces: metrics with intervals, calibration, groups, robustness, and comparisons of two models."""
