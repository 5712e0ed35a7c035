"""Mien compared with its peers: ``python -m benchmarks.peers --data DIR``.

It makes a temporary environment for every package of PyPI or npm that contains its weights. The code of each package gets the same
PrivateTest crops, photos and scenes. The command writes benchmarks/results/peers.json, the tables of docs/peers.md and the picture
docs/images/peers.png. The cache folder keeps environments and predictions, so a stopped run can continue, and a later run measures only the
times again. All times of a table are from one run. Delete the cache folder to remove everything.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import PeerError, environment
from benchmarks.peers.inputs import Inputs, prepare
from benchmarks.peers.report import main_table, picture, quality, ratios, sorted_rows, tables
from benchmarks.peers.roster import PEERS, ROOT, Peer, mien
from benchmarks.peers.runs import cost, predict
from benchmarks.timing import machine
from tools.readme import rewritten

RESULT = ROOT / "benchmarks" / "results" / "peers.json"
PAGE = ROOT / "docs" / "peers.md"
PICTURE = ROOT / "docs" / "images" / "peers.png"


def main() -> None:
    """Run the peers and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="FER2013's folder or CSV")
    parser.add_argument("--models", nargs="+", default=["default"], metavar="MODEL", help="Mien's rows: shipped models or bundle folders")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"some of: {', '.join(peer.name for peer in PEERS)}")
    parser.add_argument("--limit", type=int, metavar="N", help="number of crops, for a trial")
    parser.add_argument("--scenes", type=int, default=60, metavar="N", help="scenes with pasted faces (default 60)")
    parser.add_argument("--seconds", type=float, default=2.0, help="time per median (default 2)")
    parser.add_argument("--fresh", action="store_true", help="make environments and predictions anew")
    parser.add_argument("--cache", type=Path, default=_cache(), help="folder for environments and predictions (default %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file; do not change documentation and picture")
    parser.add_argument("--report", action="store_true", help="measure nothing; write tables and picture from the existing figures")
    options = parser.parse_args()
    if options.report:
        write(json.loads(RESULT.read_text(encoding="utf-8")))
        return
    if options.data is None:
        parser.error("--data is needed: FER2013's folder or CSV")
    if unknown := set(options.only or ()) - {peer.name for peer in PEERS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected some of {', '.join(peer.name for peer in PEERS)}")
    inputs = prepare(options.data, options.cache, limit=options.limit, scene_count=options.scenes)
    peers = [
        *map(mien, options.models),
        *(peer for peer in PEERS if not options.only or peer.name in options.only),
    ]
    result = {
        "machine": machine(),
        "crops": inputs.entries["crops"]["shape"][0],
        "rows": [measure(peer, inputs, options.cache, fresh=options.fresh, seconds=options.seconds) for peer in peers],
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(tables(result))
    else:
        write(result)


def measure(peer: Peer, inputs: Inputs, cache: Path, *, fresh: bool, seconds: float) -> dict[str, Any]:
    """Return the row of a peer. A peer that cannot be installed or run has a ``failure`` instead of figures."""
    row: dict[str, Any] = {key: value for key, value in asdict(peer).items() if key in {"name", "adapter", "options", "how", "repairs"}}
    try:
        env = environment(peer, cache, fresh=fresh)
        print(f"{peer.name}: predicting", file=sys.stderr, flush=True)
        row |= {
            "version": env.versions[peer.package.lower()],
            "versions": env.versions,
            "installed_mb": env.installed_mb,
            "weights_mb": env.weights_mb(peer),
            "quality": quality(predict(peer, env, inputs, cache, fresh=fresh), inputs),
        }
        print(f"{peer.name}: {100 * row['quality']['accuracy']['value']:.2f} %; timing", file=sys.stderr, flush=True)
        row["cost"] = cost(peer, env, inputs, cache, seconds=seconds)
    except PeerError as failure:
        print(f"{peer.name}: {failure}", file=sys.stderr, flush=True)
        row |= {"requirement": peer.requirements[0], "failure": str(failure)}
    return row


def write(result: dict[str, Any]) -> None:
    """Write the result with its tables, the page and the picture, and print the tables."""
    done = sorted_rows(result)
    result |= {"table": f"{main_table(done)}\n\n{ratios(done)}", "page": tables(result)}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    picture(result, PICTURE)
    print(result["page"])


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mien" / "peers"


if __name__ == "__main__":
    main()
