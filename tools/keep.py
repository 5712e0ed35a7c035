"""A trained run is kept as a member of ensembles to come: ``python -m tools.keep RUN [RUN ...]``.

Writes ``models/members/RECIPE_SEED.keras`` with weights in float16, and the run's history beside it.
``mien ensemble`` and ``python -m tools.ship`` take such files, so networks that were trained at different times, on different machines,
can answer together.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mien.errors import UsageError
from mien.train.loop.run_folder import read_history, read_run, write_json
from mien.train.loop.trained import trained_network
from tools.ship import history_beside, write_source
from tools.sources import MODELS

MEMBERS = MODELS / "members"


def keep(run: Path, folder: Path = MEMBERS, *, last: bool = False) -> Path:
    """Write the network of the run's best epoch, or of its ``last`` one, and its history into ``folder``; return the network's file.

    The network keeps all its heads, and answers one chip: mirror images are averaged where it is used.

    Raises:
        UsageError: a network of the same recipe and seed is there.
    """
    recipe = read_run(run).config["recipe"]
    file = folder / f"{recipe['name']}_{recipe['seed']}.keras"
    if file.exists():
        raise UsageError(f"{file} is there already; remove it first, or keep a run of another seed")
    folder.mkdir(parents=True, exist_ok=True)
    write_source(trained_network(run, last=last), file)
    write_json(history_beside(file), read_history(run))
    return file


def main() -> None:
    """Write the files and say how large they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folder of mien train")
    parser.add_argument("--last", action="store_true", help="the last epoch's weights instead of those that were best on validation")
    options = parser.parse_args()
    for run in options.runs:
        file = keep(run, last=options.last)
        sys.stdout.write(f"{file}: {file.stat().st_size / 1e6:.2f} MB\n")


if __name__ == "__main__":
    main()
