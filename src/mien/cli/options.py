"""Options that several verbs share, so that one name means one thing and is explained in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Option(help="default, nano, fer2013, ferplus, or a bundle folder.")]
Detector = Annotated[str, typer.Option(help="auto, or a YuNet .onnx file.")]
MinFace = Annotated[float, typer.Option(help="Leave out faces whose shorter side is smaller, in pixels.")]
ModelThreads = Annotated[int, typer.Option(help="CPU threads for the model, beside those that read and search.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads. Default: every core.")]
TrainingData = Annotated[Path, typer.Option(help="Folder with train/<label>/*.jpg, or fer2013.csv.")]
FacesData = Annotated[Path | None, typer.Option(help="Folder with train/ and test/, or fer2013.csv. Not needed for --split FOLDER.")]
SplitVotes = Annotated[Path | None, typer.Option(help="FER+ votes, a CSV; needed for the splits ferplus and ferplus-public.")]
HeadVotes = Annotated[Path | None, typer.Option(help="FER+ votes, a CSV; needed for --head votes.")]
Exclude = Annotated[Path | None, typer.Option(help="CSV with a column 'file': images to leave out, as mien audit writes.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
OverwriteBundle = Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that exists.")]
