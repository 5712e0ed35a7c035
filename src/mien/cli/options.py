"""Options that several verbs share. Each name has one meaning and one description."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Option(help="default, nano, fer2013, ferplus, or a bundle folder.")]
Detector = Annotated[str, typer.Option(help="auto, or a YuNet .onnx file.")]
MinFace = Annotated[
    str,
    typer.Option(help="Minimum shorter side of a face, in pixels. auto: 20, or 1/96 of the picture's longer side if that is larger."),
]
MaxPixels = Annotated[int, typer.Option(help="Maximum width times height of a picture, in pixels. Larger ones are refused.")]
MaxBytes = Annotated[int, typer.Option(help="Maximum size of a picture's file, in bytes. Larger ones are refused.")]
DownloadTimeout = Annotated[float, typer.Option(help="Time limit of one download, in seconds.")]
ModelThreads = Annotated[int, typer.Option(help="CPU threads for the model. Reading and face detection use threads of their own.")]
Threads = Annotated[int | None, typer.Option(help="Number of CPU threads. Default: one per core.")]
TrainingData = Annotated[Path, typer.Option(help="Folder with train/<label>/*.jpg, or fer2013.csv.")]
FacesData = Annotated[Path | None, typer.Option(help="Folder with train/ and test/, or fer2013.csv. Not needed for --split FOLDER.")]
SplitVotes = Annotated[Path | None, typer.Option(help="CSV file with the FER+ votes. Needed for the splits that begin with ferplus.")]
HeadVotes = Annotated[Path | None, typer.Option(help="CSV file with the FER+ votes. Needed for --head votes.")]
Exclude = Annotated[Path | None, typer.Option(help="CSV with a column 'file': images to leave out, such as the exclude.csv of mien audit.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
OverwriteBundle = Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that exists.")]
