"""Measures a model on labelled faces: metrics with intervals, calibration, groups, robustness, and the comparison of two models."""
