"""Opens and writes bundles. A bundle is a folder ``{model.onnx, spec.json, metrics.json, card.md}`` with one model.

Instead of ``model.onnx`` it may have the files of another engine; ``format`` in spec.json says which.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.contract import InputSpec
from mien.errors import BundleError, UsageError

DEFAULT = "default"
MODEL_FILE, SPEC_FILE, METRICS_FILE, CARD_FILE = "model.onnx", "spec.json", "metrics.json", "card.md"
# The files with the weights, per engine. The engine opens the first one.
MODEL_FILES = {"onnx": (MODEL_FILE,), "litert": ("model.tflite",), "openvino": ("model.xml", "model.bin")}


@dataclass(frozen=True)
class Bundle:
    """An open bundle. Its weights match their checksum."""

    folder: Path
    spec: InputSpec

    @property
    def model_path(self) -> Path:
        """The file that the engine opens: the ONNX graph, unless spec.json names another format."""
        return self.model_files[0]

    @property
    def model_files(self) -> tuple[Path, ...]:
        """All files with weights, in this folder or in the neighbouring folder that ``weights_of`` names."""
        folder = self.folder.resolve().parent / self.spec.weights_of if self.spec.weights_of else self.folder
        return tuple(folder / name for name in MODEL_FILES[self.spec.engine])

    def metrics(self) -> dict[str, Any] | None:
        """Return the measured figures, or None if the bundle has none."""
        file = self.folder / METRICS_FILE
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def weights_dir() -> Path:
    """Return the folder with the bundles of the package."""
    return Path(__file__).parent / "weights"


def check_replaceable(folder: Path, overwrite: bool) -> None:
    """Raise UsageError unless ``folder`` is missing, empty, or a bundle that may be replaced."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not overwrite:
        raise UsageError(f"{folder} exists; add --overwrite to replace it, or choose another folder")
    if not (folder / SPEC_FILE).is_file():
        raise UsageError(f"{folder} is no bundle, so it is not replaced; choose another folder")


def shipped() -> tuple[str, ...]:
    """Return the names of the bundles in the package."""
    return tuple(sorted(file.parent.name for file in weights_dir().glob(f"*/{SPEC_FILE}")))


def open_bundle(name_or_path: str | Path = DEFAULT) -> Bundle:
    """Return a shipped bundle by name, or any bundle by folder. A bundle folder with the name of a shipped bundle comes first.

    Raises:
        BundleError: there is no such bundle, one of its files is missing, the weights do not match spec.json, or the bundle has another
            contract version.
    """
    folder = _folder_of(Path(name_or_path))
    if not (folder / SPEC_FILE).is_file() and str(name_or_path) in shipped():
        folder = weights_dir() / str(name_or_path)
    if not folder.is_dir():
        known = ", ".join(shipped()) or "none"
        if folder.is_file():
            raise BundleError(f"expected a bundle's folder or one of {known}, got the file {folder}; {_way_from(folder)}")
        raise BundleError(f"no model called {str(name_or_path)!r}, and there is no such folder; shipped models: {known}")
    spec = InputSpec.read(folder / SPEC_FILE)
    bundle = Bundle(folder, spec)
    for file in bundle.model_files:
        if not file.is_file():
            advice = (
                f"its weights are those of the bundle {spec.weights_of!r} beside it; copy that folder too, or export this model as a "
                f"folder of its own: mien export {spec.name} --out FOLDER"
                if spec.weights_of
                else "copy the whole bundle folder"
            )
            raise BundleError(f"{folder} has a spec.json but no {file.name}; {advice}")
    if (found := sha256(*bundle.model_files)) != spec.model_sha256:
        names = " and ".join(str(file) for file in bundle.model_files)
        raise BundleError(
            f"{names} is not the file that spec.json describes (sha256 {found[:12]}..., expected "
            f"{spec.model_sha256[:12] or 'none'}...); the file is damaged or was replaced: copy or export the bundle again"
        )
    return bundle


def _folder_of(place: Path) -> Path:
    """Return the bundle's folder, also if ``place`` is a file inside it."""
    names = {SPEC_FILE, *(name for names in MODEL_FILES.values() for name in names)}
    return place.parent if place.name in names and place.is_file() and (place.parent / SPEC_FILE).is_file() else place


def _way_from(file: Path) -> str:
    """Return a hint how to make a bundle from a file that is not one, such as a .keras file."""
    kind = file.suffix.lower()
    if kind == ".keras":
        return f"it holds no labels and no calibration: make a bundle with: mien ensemble {file} --data FOLDER --out BUNDLE"
    if kind in (".h5", ".hdf5"):
        return (
            f"it is a Keras file of the old format: save it anew with keras.models.load_model({file.name!r}).save('model.keras'), "
            "then: mien ensemble model.keras --data FOLDER --out BUNDLE"
        )
    if kind in (".onnx", ".tflite", ".xml"):
        name = {".onnx": "model.onnx", ".tflite": "model.tflite", ".xml": "model.xml"}[kind]
        return f"it says nothing of labels and input: put it into a folder as {name}, with a {SPEC_FILE} as docs/contract.md describes"
    return "a bundle is a folder with a model and a spec.json; mien export RUN --out BUNDLE makes one of a run of mien train"


def write_bundle(
    folder: Path, model: bytes | Sequence[bytes] | None, spec: InputSpec, metrics: Mapping[str, Any] | None = None, card: str | None = None
) -> Bundle:
    """Write a bundle and return it. This function fills in the checksum.

    Args:
        folder: created if it does not exist.
        model: the weights; for an engine with several files, one part per file, in the order of :data:`MODEL_FILES`. None if
            ``spec.weights_of`` names the bundle that has them.
        spec: its ``format`` determines the files.
        metrics: content of metrics.json.
        card: text of card.md.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = Bundle(folder, spec).model_files
    if model is not None:
        parts = [model] if isinstance(model, bytes) else list(model)
        for file, content in zip(files, parts, strict=True):
            file.write_bytes(content)
    spec = spec.updated(model_sha256=sha256(*files))
    (folder / SPEC_FILE).write_text(spec.to_json(), encoding="utf-8")
    if metrics is not None:
        (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    if card is not None:
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
    return Bundle(folder, spec)


def put_in_place(draft: Path, folder: Path) -> None:
    """Copy a finished bundle to ``folder``. An older bundle there is removed when the copy of the new one is complete.

    Raises:
        OSError: the disk is full, or the folder must not be written. An older bundle stays.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
        new, old = Path(beside) / "new", Path(beside) / "old"
        shutil.copytree(draft, new)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise


def sha256(*files: Path) -> str:
    """Return the hexadecimal SHA-256 of files, one after another."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as data:
            hashlib.file_digest(data, lambda: digest)
    return digest.hexdigest()
