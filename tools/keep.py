"""Stores trained runs as members for later ensembles: ``python -m tools.keep RUN [RUN ...]``.

It writes ``models/members/RECIPE_SEED.keras`` with weights in float16, and the history of the run in the same folder.
``mien ensemble`` and ``python -m tools.ship`` accept such files. So networks that were trained at different times and on different machines
can form an ensemble.
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
    """Write the network of the run's best epoch (with ``last``, of its last epoch) and its history into ``folder``; return the file.

    The network keeps all its heads and does not average over mirror images. Whoever uses it can add that average.

    Raises:
        UsageError: a network with the same recipe and seed exists.
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
    """Write the files and print their sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folder of mien train")
    parser.add_argument("--last", action="store_true", help="use the weights of the last epoch instead of the best epoch on validation")
    options = parser.parse_args()
    for run in options.runs:
        file = keep(run, last=options.last)
        sys.stdout.write(f"{file}: {file.stat().st_size / 1e6:.2f} MB\n")


if __name__ == "__main__":
    main()
