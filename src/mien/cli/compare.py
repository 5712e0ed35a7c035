"""``mien compare``: two models on the same faces."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.console import say, show, training_wing
from mien.cli.evaluate import UNLESS_SAID, load_splits
from mien.cli.options import FacesData, SplitVotes, Threads
from mien.errors import UsageError

if TYPE_CHECKING:
    from mien.train.evaluation.evaluate import Evaluation, Model

SHOWN = 10  # number of the most frequent disagreements that are printed


def compare(
    model_a: Annotated[str, typer.Argument(metavar="A", help="A shipped model's name, a bundle folder, or a run folder.")],
    model_b: Annotated[str, typer.Argument(metavar="B", help="The model to compare with A: a name, a bundle folder, or a run folder.")],
    data: FacesData = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="private, public, test, clean, ferplus, ferplus-public, ferplus7, ferplus7-public, val, or a folder of face crops, "
            "<label>/*.jpg. " + UNLESS_SAID
        ),
    ] = None,
    votes: SplitVotes = None,
    threads: Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON instead of tables.")] = False,
) -> None:
    """Test whether two models differ, print by how much, and show where they disagree."""
    with training_wing():
        from mien.train.data.splits import FERPLUS_NAMES
        from mien.train.evaluation.compare import compare as compare_evaluations
        from mien.train.evaluation.evaluate import evaluate, open_model

    if split == "all":
        raise UsageError("compare takes one split at a time; 'all' is for mien evaluate")

    models = [open_model(name, threads=threads) for name in (model_a, model_b)]
    if split is None and [set(model.spec.labels) == set(FERPLUS_NAMES) for model in models].count(True) == 1:
        split = "ferplus"  # both models can be measured on these labels
    elif split is None and votes and len({model.spec.labelled_by for model in models}) > 1:
        split = "ferplus7"  # what people see, for models that answer the labels of different people
        say("compared under FER+'s seven labels; --split private compares under FER2013's")

    def judge(model: Model) -> Evaluation:
        loaded, splits = load_splits(model.spec, data, split, votes)
        return evaluate(model, loaded, splits)

    a, b = map(judge, models)
    result = compare_evaluations(a, b, a.splits[0].name)
    if as_json:
        typer.echo(json.dumps(result, indent=1))
    else:
        _print(result)


def _print(result: dict[str, Any]) -> None:
    from rich.table import Table

    for name in ("a", "b"):
        share = result[name]
        show(f"{name.upper()}  {share['value']:.2%} ({share['low']:.2%} to {share['high']:.2%}) on {result['n']} faces")
    d, p = (100 * result["difference"][key] for key in ("value", "low", "high")), result["p"]
    difference = "A - B  {:+.2f} points (95 % interval {:+.2f} to {:+.2f})".format(*d)
    show(
        f"{difference}; McNemar p = {p['exact']:.3g} (mid-p {p['mid_p']:.3g})",
        f"both right {result['both_right']}, only A {result['only_a']}, only B {result['only_b']}, both wrong {result['both_wrong']}; "
        f"equal answers {result['agreement']:.1%}\n",
    )
    labels = Table("label", show_edge=False)
    disagreements = Table("A says", "B says", show_edge=False, title=f"{SHOWN} most frequent disagreements", title_style="")
    for column in ("faces", "only A right", "only B right"):
        labels.add_column(column, justify="right")
    for column in ("faces", "A right", "B right"):
        disagreements.add_column(column, justify="right")
    for label, row in result["by_label"].items():
        labels.add_row(label, str(row["n"]), str(row["only_a"]), str(row["only_b"]))
    for row in result["disagreements"][:SHOWN]:
        disagreements.add_row(row["a"], row["b"], str(row["n"]), str(row["a_right"]), str(row["b_right"]))
    show(labels, "", disagreements)
