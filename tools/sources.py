"""Finds the Keras source and the training history of each shipped model in the repository."""

from __future__ import annotations

from pathlib import Path

MODELS = Path(__file__).parent.parent / "models"
KERAS_SOURCES = {"default": "emotion_recognition.keras", "nano": "nano.keras"}
HISTORIES = {"default": "training_history", "nano": "nano_history"}


def keras_source(model: str) -> Path | None:
    """Return the Keras source of a shipped model, or None if the repository has none with that name."""
    return MODELS / KERAS_SOURCES[model] if model in KERAS_SOURCES else None
