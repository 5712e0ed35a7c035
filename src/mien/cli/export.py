"""``mien export``: a trained run or a bundle -> a bundle in any format that Mien can run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.bundles import DEFAULT
from mien.cli.console import HEADS, check_head, say, training_wing
from mien.cli.options import HeadVotes, OverwriteBundle
from mien.contract import FORMATS
from mien.errors import UsageError

if TYPE_CHECKING:
    from mien.train.export.formats import Export
    from mien.train.export.sources import RunOptions


def export(
    out: Annotated[Path, typer.Option(help="Bundle folder to write.")],
    source: Annotated[str | None, typer.Argument(help="Run folder of mien train, bundle folder, or a shipped model's name.")] = None,
    model: Annotated[str | None, typer.Option(help="The source, given as an option. Default: the shipped model 'default'.")] = None,
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "onnx",  # noqa: A002
    data: Annotated[
        Path | None,
        typer.Option(
            help="The model's data set. A run is calibrated on its validation split; 8-bit ranges are measured on training chips."
        ),
    ] = None,
    keras: Annotated[Path | None, typer.Option(help="Keras source of a bundle, for LiteRT. Default: model.keras in the bundle.")] = None,
    head: Annotated[
        str, typer.Option(help="For a run: emotion, or votes. The head votes answers FER+'s eight labels, which include contempt.")
    ] = "emotion",
    votes: HeadVotes = None,
    name: Annotated[str | None, typer.Option(help="Name in spec.json, for a run. Default: the recipe's.")] = None,
    release: Annotated[str, typer.Option(help="Version in spec.json, for a run.")] = "1.0",
    target_accuracy: Annotated[
        float | None,
        typer.Option(help="For a run: target accuracy on the faces that are not 'uncertain'. Default: 0.8, or the best that is possible."),
    ] = None,
    overwrite: OverwriteBundle = False,
) -> None:
    """Write a model as a bundle in a format of your choice. The result is compared with its source before it is written."""
    if source and model:
        raise UsageError(f"the source is given twice, as {source} and as --model {model}")
    start = source or model or DEFAULT
    with training_wing():
        from mien.train.export.formats import check_free, convert
        from mien.train.export.sources import load_for_run, open_source
        from mien.train.loop.run_folder import is_run

    check_head(head)
    if head != HEADS[0] and not is_run(start):
        raise UsageError(f"--head {head} is for a run of mien train; {start} has one head, its own")
    check_free(out, format, overwrite)
    options: RunOptions = {"head": head, "name": name, "version": release, "target_accuracy": target_accuracy}
    if is_run(start) and format == "onnx":
        with training_wing(networks=True):
            from mien.train.export.bundle import export_run

        bundle = export_run(Path(start), load_for_run(Path(start), data, votes), out, overwrite=overwrite, **options)
    else:
        with (
            training_wing(networks=is_run(start) or format.startswith("litert")),
            open_source(start, data=data, votes=votes, keras_file=keras, **options) as opened,
        ):
            written = convert(opened.bundle, format, out, opened.sample, network=opened.network, overwrite=overwrite)
        bundle = written.bundle
        _say_verdict(written)
    spec = bundle.spec
    say(f"{bundle.folder}: {spec.name} {spec.version}, temperature {spec.temperature:.3f}, uncertain below {spec.uncertain_below:.3f}")


def _say_verdict(export: Export) -> None:
    verdict = export.verdict
    say(f"{export.bundle.spec.format}: {export.method}; {verdict.bytes / 1e6:.2f} MB, {verdict.share:.1%} of float32")
    say(
        f"compared on {verdict.chips:,} chips ({verdict.sample}): {verdict.agreement:.2%} of answers agree, "
        f"largest difference of a probability {verdict.max_probability_difference:.3g}"
    )
    if verdict.accuracy is not None and verdict.source_accuracy is not None:
        say(f"accuracy {verdict.accuracy:.2%}, the source {verdict.source_accuracy:.2%}")
