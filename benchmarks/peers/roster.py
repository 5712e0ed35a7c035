"""Lists the peers: packages of PyPI and npm that contain their weights, and known packages that do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mien.bundles import open_bundle

ROOT = Path(__file__).parent.parent.parent
CHECKOUT = f"mien @ {ROOT.as_uri()}"
TFJS = "4.22.0"


@dataclass(frozen=True)
class Peer:
    """One row of the table.

    ``requirements`` are the packages that pip or npm installs; the first is the peer itself. ``repairs`` maps each further requirement,
    without which a new install fails today, to the reason. ``weights`` are patterns, below site-packages or node_modules, of the files of
    the expression network. Peers with the same requirements share an environment.
    """

    name: str
    adapter: str
    requirements: tuple[str, ...]
    weights: tuple[str, ...]
    how: str  # what runs, for the notes below the table
    options: dict[str, str] = field(default_factory=dict)
    repairs: dict[str, str] = field(default_factory=dict)

    @property
    def npm(self) -> bool:
        """Whether the peer comes from npm and runs in Node.js."""
        return self.adapter.endswith(".cjs")

    @property
    def package(self) -> str:
        """The package's name, without the version."""
        first = self.requirements[0]
        return first.rsplit("@", 1)[0] if self.npm else first.split("==")[0].split(" @ ")[0]


PKG_RESOURCES = "it imports pkg_resources, which setuptools 81 dropped"
HAAR = "it uses OpenCV's Haar cascades, which OpenCV 5 moved out"
FER = {
    "adapter": "with_fer.py",
    "requirements": ("fer==25.10.3",),
    "repairs": {"setuptools<81": PKG_RESOURCES, "opencv-contrib-python<5": HAAR},
}

FACE_API = {
    "adapter": "with_face_api.cjs",
    "requirements": ("@vladmandic/face-api@1.7.15", f"@tensorflow/tfjs@{TFJS}", f"@tensorflow/tfjs-backend-wasm@{TFJS}"),
    "weights": ("@vladmandic/face-api/model/face_expression_model.bin",),
}

PEERS = (
    Peer(
        name="fer",
        weights=("fer/data/emotion_model_quantized.tflite",),
        how="as it comes: TFLite network, Haar cascade, faces from 50 px",
        options={"engine": "tflite"},
        **FER,  # type: ignore[arg-type]
    ),
    Peer(
        name="fer (Keras)",
        weights=("fer/data/emotion_model.hdf5",),
        how="`FER(use_tflite=False)`, Haar cascade; with `mtcnn=True` these TensorFlow and torch abort, both registering LLVM's options",
        options={"engine": "keras"},
        **FER,  # type: ignore[arg-type]
    ),
    Peer(
        name="human",
        adapter="with_human.cjs",
        requirements=(
            "@vladmandic/human@3.3.6",
            f"@tensorflow/tfjs-core@{TFJS}",
            f"@tensorflow/tfjs-converter@{TFJS}",
            f"@tensorflow/tfjs-backend-wasm@{TFJS}",
        ),
        weights=("@vladmandic/human/models/emotion.bin",),
        how="WASM in Node.js; BlazeFace, face mesh and emotion, everything else off",
    ),
    Peer(
        name="face-api",
        how="WASM in Node.js; SSD MobileNet and expressions, as its documentation says; overlooks faces that fill the picture",
        **FACE_API,  # type: ignore[arg-type]
    ),
    Peer(
        name="face-api (margin)",
        how="the same on photos with half a photo's side of grey around them, where its detector finds faces; not its documented way",
        options={"margin": "0.5"},
        **FACE_API,  # type: ignore[arg-type]
    ),
    Peer(
        name="what-the-face",
        adapter="with_what_the_face.py",
        requirements=("what-the-face-classification==0.0.27",),
        weights=("what_the_face_classification/active_model.pth",),
        how="Haar cascade; looks at the first face only, and without one at the whole photo, for which it answers from 60 % certainty on",
        repairs={"setuptools<81": PKG_RESOURCES, "opencv-python<5": HAAR},
    ),
    Peer(
        name="PyEmotion",
        adapter="with_pyemotion.py",
        requirements=("pyemotion==1.0.0",),
        weights=("PyEmotion/model/main_model.pkl",),
        how="MTCNN; draws labels and tells no scores, hence no ECE",
    ),
    Peer(
        name="facex",
        adapter="with_facex.py",
        requirements=("facex==1.1.0",),
        weights=("facex/assets/model_optimized.tflite",),
        how="Haar cascade",
    ),
)

# According to their source, the first use downloads the expression network. With access to only a package index, they cannot run.
NEEDS_DOWNLOAD = {
    "deepface 0.0.103": "fetches its weights from GitHub releases",
    "py-feat 2.1.5": "fetches its weights from Hugging Face",
    "rmn 3.3.0": "fetches its weights from Hugging Face when it is imported",
    "hsemotion-onnx 0.3.1": "fetches its weights from GitHub",
    "emotiefflib 1.1.1": "fetches its weights from GitHub",
}


def mien(model: str) -> Peer:
    """Return Mien itself as a row, installed from this checkout, with a shipped model's name or a bundle folder."""
    folder = Path(model)
    given = str(folder.resolve()) if folder.is_dir() else model
    file = open_bundle(given).model_path  # some shipped models share another one's file
    return Peer(
        name=f"**Mien** ({folder.name})",
        adapter="with_mien.py",
        requirements=(CHECKOUT,),
        weights=(str(file) if folder.is_dir() else f"mien/weights/{file.parent.name}/{file.name}",),
        how="YuNet with libfacedetection's weights, faces from 20 px, five landmarks, ONNX Runtime",
        options={"model": given},
    )
