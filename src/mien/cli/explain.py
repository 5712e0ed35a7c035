"""``mien explain``: show which parts of each face the answer depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.atomic import atomic_write
from mien.cli.console import PICTURE_ENDINGS, check_ending, check_free, check_no_input, say, training_wing
from mien.cli.options import Detector, DownloadTimeout, MaxBytes, MaxPixels, Model
from mien.errors import UsageError

MAX_CLOSEUPS = 24  # for the largest faces of a crowd; the photo itself shows all of them


def explain(
    photo: Annotated[str, typer.Argument(help="File or http(s) URL of a photo.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File for the picture.")] = Path("explained.jpg"),
    model: Model = "default",
    label: Annotated[str | None, typer.Option(help="Label to explain. Default: the most probable label of each face.")] = None,
    grad_cam: Annotated[
        Path | None, typer.Option(help="Run folder. Draw the Grad-CAM of its Keras network instead of covering parts of the face.")
    ] = None,
    detector: Detector = "auto",
    max_pixels: MaxPixels = 250_000_000,
    max_bytes: MaxBytes = 200_000_000,
    timeout_s: DownloadTimeout = 20,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the picture if it exists.")] = False,
) -> None:
    """Cover each face part by part, and draw where that changes the answer. Warm parts support the answer; cold parts oppose it."""
    import numpy as np
    from PIL import Image

    from mien.align import chip
    from mien.bundles import open_bundle
    from mien.classify import Classifier
    from mien.draw import Closeup, add_closeups, annotate
    from mien.explain import COLD, DECISIVE, WARM, explain_face, occlusion_map, overlay
    from mien.media.images import ReadLimits, read_photo
    from mien.pipeline import Pipeline

    check_ending(output, PICTURE_ENDINGS)
    check_free(output, overwrite)
    check_no_input(output, [Path(photo)])
    classifier = Classifier(open_bundle(model))
    spec = classifier.spec
    if label is not None and label not in spec.labels:
        raise UsageError(f"no label {label!r}; this model's labels are {', '.join(spec.labels)}")
    limits = ReadLimits(max_bytes=max_bytes, max_pixels=max_pixels, timeout_s=timeout_s)
    frame = read_photo(photo, limits=limits).frame_rgb
    result = Pipeline(classifier=classifier, detector=detector, limits=limits).analyze(frame)
    network = None
    if grad_cam:
        with training_wing():
            from mien.train.evaluation.gradcam import grad_cam as cam_of
            from mien.train.loop.trained import inference_model
        network = inference_model(grad_cam)
        if network.input_shape[1:] != spec.input_shape or network.output_shape[1] != len(spec.labels):
            raise UsageError(f"{grad_cam} and {model} take other chips or give other labels; name the bundle of that run with --model")
    drawn = frame
    closeups: list[Closeup] = []
    for number, face in enumerate(result.faces, 1):
        told = label or face.top
        cut = chip(frame, face.landmarks, spec)
        heat = cam_of(network, cut, spec.labels.index(told)) if network else occlusion_map(classifier, cut, told)
        full_at = 0.0 if network else DECISIVE
        drawn = overlay(drawn, heat, face.landmarks, spec, full_at=full_at)
        explained = explain_face(frame, face, heat, spec, full_at=full_at)
        shares = "support: " + ", ".join(f"{part} {share:.0%}" for part, share in explained.shares.items())
        if np.abs(heat).max() < full_at:
            shares = f"no part decides alone: covering one changes the probability by {explained.strongest:.1%} at most"
        typer.echo(f"face {number}: {told} {face.emotions[told]:.3f}; {shares}")
        closeups.append(Closeup(explained.crop_rgb, explained.marked_rgb, f"#{number} {told} {face.emotions[told]:.2f}", shares))
    if not result.faces:
        say(f"no face found in {photo}")
    picture = annotate(drawn, result)
    if closeups:
        picture = add_closeups(picture, closeups[:MAX_CLOSEUPS], ((WARM, "speaks for the label"), (COLD, "speaks against it")))
    with atomic_write(output, ending=f".part{output.suffix}") as draft:
        Image.fromarray(np.ascontiguousarray(picture)).save(draft, quality=92)
    say(f"picture: {output.resolve()}")
