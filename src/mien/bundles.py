"""A bundle is a folder ``{model.onnx, spec.json, metrics.json, card.md}``: a model that can be opened, checked and cited."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.contract import InputSpec
from mien.errors import BundleError

DEFAULT = "default"
MODEL_FILE, SPEC_FILE, METRICS_FILE, CARD_FILE = "model.onnx", "spec.json", "metrics.json", "card.md"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle whose weights match their checksum."""

    folder: Path
    spec: InputSpec

    @property
    def model_path(self) -> Path:
        """The ONNX graph."""
        return self.folder / MODEL_FILE

    def metrics(self) -> dict[str, Any] | None:
        """Return the measured figures, or None where the bundle has none."""
        file = self.folder / METRICS_FILE
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def weights_dir() -> Path:
    """Return the folder of the bundles inside the package."""
    return Path(__file__).parent / "weights"


def shipped() -> tuple[str, ...]:
    """Return the names of the bundles inside the package."""
    return tuple(sorted(file.parent.name for file in weights_dir().glob(f"*/{SPEC_FILE}")))


def open_bundle(name_or_path: str | Path = DEFAULT) -> Bundle:
    """Return a shipped bundle by name, or any bundle by its folder.

    Raises:
        BundleError: no such bundle, a file of it is missing, the weights are not the ones that spec.json was written for, or the
            bundle follows another contract version.
    """
    folder = Path(name_or_path)
    if not folder.is_dir():
        folder = weights_dir() / str(name_or_path)
        if not str(name_or_path) or str(name_or_path) not in shipped():
            known = ", ".join(shipped()) or "none"
            raise BundleError(f"no model called {str(name_or_path)!r} and no such folder; shipped models: {known}")
    spec = InputSpec.read(folder / SPEC_FILE)
    model = folder / MODEL_FILE
    if not model.is_file():
        raise BundleError(f"{folder} has a spec.json but no {MODEL_FILE}; copy the whole bundle folder")
    if (found := sha256(model)) != spec.model_sha256:
        raise BundleError(
            f"{model} is not the file that spec.json describes (sha256 {found[:12]}..., expected {spec.model_sha256[:12] or 'none'}...); "
            f"the file is damaged or was replaced: copy or export the bundle again"
        )
    return Bundle(folder, spec)


def write_bundle(folder: Path, model: bytes, spec: InputSpec, metrics: Mapping[str, Any] | None = None, card: str | None = None) -> Bundle:
    """Write a bundle and return it; the checksum is filled in here."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(model)
    spec = spec.updated(model_sha256=hashlib.sha256(model).hexdigest())
    (folder / SPEC_FILE).write_text(spec.to_json(), encoding="utf-8")
    if metrics is not None:
        (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    if card is not None:
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
    return Bundle(folder, spec)


def sha256(file: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
