"""Mien beside its peers: ``python -m benchmarks.peers --data DIR --photos DIR``.

Makes a throw-away environment for every package of PyPI or npm that brings its weights along, shows all of them the same labelled photos,
PrivateTest crops, pictures and scenes through the package's own code, and writes benchmarks/results/peers.json, the tables of docs/peers.md
and the picture docs/images/peers.png. Environments and predictions are kept under the cache folder, so a run that was stopped goes on, and
a later run only takes the times again. All times of a table are of one run; with ``--keep`` they stay those of the run before. Deleting the
cache folder removes everything.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import Environment, PeerError, environment
from benchmarks.peers.inputs import Inputs, PhotoSet, photo_set, prepare
from benchmarks.peers.report import on_photos, picture, quality, ratios, short_table, sorted_rows, tables, when
from benchmarks.peers.roster import PEERS, ROOT, Peer, mien
from benchmarks.peers.runs import cost, look, predict
from benchmarks.timing import machine
from tools.readme import rewritten

RESULT = ROOT / "benchmarks" / "results" / "peers.json"
PAGE = ROOT / "docs" / "peers.md"
PICTURE = ROOT / "docs" / "images" / "peers.png"
MODELS = ("default", "fer2013", "nano")
MEASURED = ("quality", "whole_photos", "cost")  # what of a row --keep takes from the run before


def main() -> None:
    """Run the peers and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="FER2013's folder or CSV")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="labelled folders of whole photos, DIR/<label>/*.jpg")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every N-th of these photos, for slow packages (default 1)")
    parser.add_argument("--models", nargs="*", default=list(MODELS), metavar="MODEL", help="Mien's rows: shipped models or bundle folders")
    parser.add_argument("--only", nargs="*", metavar="NAME", help=f"none, or some of: {', '.join(peer.name for peer in PEERS)}")
    parser.add_argument("--limit", type=int, metavar="N", help="that many crops, for a try")
    parser.add_argument(
        "--keep", action="store_true", help="take no times; keep those of the run before, and its rows that are left out now"
    )
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
    if options.data is None and not (options.keep and options.photos):
        parser.error("--data is needed: FER2013's folder or CSV; only --photos with --keep goes without it")
    if unknown := set(options.only or ()) - {peer.name for peer in PEERS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected some of {', '.join(peer.name for peer in PEERS)}")
    if options.every < 1:
        parser.error(f"expected --every of 1 or more, got {options.every}")
    photos = photo_set(options.photos, options.cache, every=options.every) if options.photos else None
    inputs = prepare(options.data, options.cache, limit=options.limit, scene_count=options.scenes) if options.data else None
    peers = [
        *map(mien, options.models),
        *(peer for peer in PEERS if options.only is None or peer.name in options.only),
    ]
    result: dict[str, Any] = {
        "machine": machine(),
        "date": datetime.now().astimezone().date().isoformat(),
        "crops": len(inputs.labels) if inputs else None,
        "rows": [
            measure(peer, inputs, options.cache, photos=photos, fresh=options.fresh, seconds=None if options.keep else options.seconds)
            for peer in peers
        ],
    }
    if options.keep and RESULT.is_file():
        earlier = json.loads(RESULT.read_text(encoding="utf-8"))
        result |= {"crops": result["crops"] or earlier["crops"], "rows": with_earlier(result["rows"], earlier)}
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(tables(result))
    else:
        write(result)


def measure(
    peer: Peer, inputs: Inputs | None, cache: Path, *, fresh: bool, seconds: float | None, photos: PhotoSet | None = None
) -> dict[str, Any]:
    """Return a peer's row; one that cannot be installed or run has a ``failure`` in the place of figures.

    Without ``inputs`` the row has no ``quality``, without ``photos`` no ``whole_photos``, and without ``seconds`` nothing is timed and it
    has no ``cost``.
    """
    row: dict[str, Any] = {key: value for key, value in asdict(peer).items() if key in {"name", "adapter", "options", "how", "repairs"}}
    try:
        env = environment(peer, cache, fresh=fresh)
        row |= {
            "version": env.versions[peer.package.lower()],
            "versions": env.versions,
            "installed_mb": env.installed_mb,
            "weights_mb": env.weights_mb(peer),
        }
        if inputs is not None:
            print(f"{peer.name}: predicting", file=sys.stderr, flush=True)
            row["quality"] = quality(predict(peer, env, inputs, cache, fresh=fresh), inputs)
            print(f"{peer.name}: {100 * row['quality']['accuracy']['value']:.2f} % of the crops", file=sys.stderr, flush=True)
        if photos is not None:
            row["whole_photos"] = _on_photos(peer, env, photos, cache, fresh=fresh)
        if inputs is not None and seconds is not None:
            print(f"{peer.name}: timing", file=sys.stderr, flush=True)
            row["cost"] = cost(peer, env, inputs, cache, seconds=seconds)
    except PeerError as failure:
        print(f"{peer.name}: {failure}", file=sys.stderr, flush=True)
        row |= {"requirement": peer.requirements[0], "failure": str(failure)}
    return row


def with_earlier(rows: list[dict[str, Any]], earlier: dict[str, Any]) -> list[dict[str, Any]]:
    """Return ``rows`` with what they lack from the run before: crops, photos and times of rows of the same name, and rows left out now.

    A row says in ``kept`` (quality, whole_photos or cost -> {date, machine, version}) what of it is from which run.
    """
    before = {row["name"]: row for row in earlier["rows"] if "failure" not in row}
    for row in rows:
        old = before.pop(row["name"], None)
        if old is not None and "failure" not in row:
            _keep(row, old, [key for key in MEASURED if key in old and key not in row], earlier)
        if "quality" not in row:
            row.setdefault("requirement", row["name"])
            row.setdefault("failure", "was never shown the crops; add --data DIR")
    for row in before.values():
        _keep(row, row, [key for key in MEASURED if key in row], earlier)
    return rows + list(before.values())


def _keep(row: dict[str, Any], old: dict[str, Any], keys: list[str], earlier: dict[str, Any]) -> None:
    run = {"date": earlier.get("date", "an earlier day"), "machine": earlier["machine"], "version": old["version"]}
    kept = old.get("kept", {})
    row |= {key: old[key] for key in keys} | {"kept": {key: kept.get(key, run) for key in keys}}


def _on_photos(peer: Peer, env: Environment, photos: PhotoSet, cache: Path, *, fresh: bool) -> dict[str, Any]:
    """Return the peer's figures on whole photos, or {failure} where it has none; its other figures stand either way."""
    print(f"{peer.name}: looking at {len(photos.labels)} photos", file=sys.stderr, flush=True)
    try:
        figures = on_photos(look(peer, env, photos, cache, fresh=fresh), photos)
    except PeerError as failure:
        print(f"{peer.name}: {failure}", file=sys.stderr, flush=True)
        return {"failure": str(failure)}
    print(f"{peer.name}: {100 * figures['accuracy']['value']:.1f} % of the photos", file=sys.stderr, flush=True)
    return figures


def write(result: dict[str, Any]) -> None:
    """Write the result with its tables, the page and the picture, and print the tables."""
    done = sorted_rows(result)
    result |= {"table": "\n\n".join(part for part in (short_table(done), ratios(done), when(result)) if part), "page": tables(result)}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    picture(result, PICTURE)
    print(result["page"])


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mien" / "peers"


if __name__ == "__main__":
    main()
