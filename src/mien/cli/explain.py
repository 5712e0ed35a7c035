"""``mien explain``: which parts of each face the answer rests on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.words import PICTURE_ENDINGS, check_ending, check_free, check_no_input, say, training_wing
from mien.errors import UsageError

MARGIN = 0.15  # shown around a face's box, in its sides
MOST_CLOSEUPS = 24  # of a crowd's largest faces; the photo itself shows all


def explain(
    photo: Annotated[str, typer.Argument(help="A photo: file or http(s) URL.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture to write.")] = Path("explained.jpg"),
    model: Annotated[str, typer.Option(help="default, nano, ferplus, or a bundle folder.")] = "default",
    label: Annotated[str | None, typer.Option(help="Explain this label instead of each face's most probable one.")] = None,
    grad_cam: Annotated[Path | None, typer.Option(help="Run folder: draw the Grad-CAM of its Keras network instead.")] = None,
    detector: Annotated[str, typer.Option(help="auto, or a YuNet .onnx file.")] = "auto",
    max_pixels: Annotated[int, typer.Option(help="Width times height of a picture; larger ones are refused.")] = 250_000_000,
    max_bytes: Annotated[int, typer.Option(help="Size of a picture's file, in bytes; larger ones are refused.")] = 200_000_000,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the picture if it exists.")] = False,
) -> None:
    """Cover each face bit by bit, and draw where that changes the answer: warm parts speak for it, cold ones against it."""
    import numpy as np
    from PIL import Image

    from mien.align import chip
    from mien.bundles import open_bundle
    from mien.classify import Classifier
    from mien.draw import Closeup, add_closeups, annotate
    from mien.explain import COLD, DECISIVE, WARM, by_part, occlusion_map, overlay, strongest
    from mien.geometry import grown
    from mien.media.images import ReadLimits, read_photo
    from mien.pipeline import Pipeline

    check_ending(output, PICTURE_ENDINGS)
    check_free(output, overwrite)
    check_no_input(output, [Path(photo)])
    classifier = Classifier(open_bundle(model))
    spec = classifier.spec
    if label is not None and label not in spec.labels:
        raise UsageError(f"no label {label!r}; this model's labels are {', '.join(spec.labels)}")
    limits = ReadLimits(max_bytes=max_bytes, max_pixels=max_pixels)
    frame = read_photo(photo, limits=limits).frame_rgb
    result = Pipeline(classifier=classifier, detector=detector, limits=limits).analyze(frame)
    network = None
    if grad_cam:
        with training_wing():
            from mien.train.export import inference_model
            from mien.train.gradcam import grad_cam as cam_of
        network = inference_model(grad_cam)
        if network.input_shape[1:] != spec.input_shape or network.output_shape[1] != len(spec.labels):
            raise UsageError(f"{grad_cam} and {model} take other chips or give other labels; name the bundle of that run with --model")
    drawn = frame
    grey = np.asarray(Image.fromarray(frame).convert("L").convert("RGB"))  # warm colours are lost on skin
    closeups: list[Closeup] = []
    for number, face in enumerate(result.faces, 1):
        told = label or face.top
        cut = chip(frame, face.landmarks, spec)
        heat = cam_of(network, cut, spec.labels.index(told)) if network else occlusion_map(classifier, cut, told)
        full_at = 0.0 if network else DECISIVE
        drawn = overlay(drawn, heat, face.landmarks, spec, full_at=full_at)
        shares = "support: " + ", ".join(f"{part} {share:.0%}" for part, share in by_part(heat, spec).items())
        if np.abs(heat).max() < full_at:
            shares = f"no part decides alone: covering one changes the probability by {strongest(heat):.1%} at most"
        typer.echo(f"face {number}: {told} {face.emotions[told]:.3f}; {shares}")
        x0, y0, x1, y1 = grown(face.box_xyxy, MARGIN, result.width, result.height)
        marked = overlay(grey[y0:y1, x0:x1], heat, [(x - x0, y - y0) for x, y in face.landmarks], spec, full_at=full_at)
        closeups.append(Closeup(frame[y0:y1, x0:x1], marked, f"#{number} {told} {face.emotions[told]:.2f}", shares))
    if not result.faces:
        say(f"no face found in {photo}")
    picture = annotate(drawn, result)
    if closeups:
        picture = add_closeups(picture, closeups[:MOST_CLOSEUPS], ((WARM, "speaks for the label"), (COLD, "speaks against it")))
    Image.fromarray(np.ascontiguousarray(picture)).save(output, quality=92)
    say(f"picture: {output.resolve()}")
