"""Packs the small results of a campaign into a few files of limited size, which are easy to copy from another machine."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from mien.errors import UsageError
from mien.train.campaign.plan import Campaign
from mien.train.campaign.run import ENSEMBLE, PREDICTIONS, RESULT, SOFT_LABELS
from mien.train.loop.checkpoint import load_state, save_state
from mien.train.loop.run_folder import CHECKPOINT, CONFIG, ENVIRONMENT, HISTORY, HISTORY_CSV

PART_BYTES = 15 * 2**20
SMALL = (CONFIG, ENVIRONMENT, HISTORY, HISTORY_CSV, RESULT, PREDICTIONS)


def pack(campaign: Campaign, out: Path, folder: Path, part_bytes: int = PART_BYTES) -> list[Path]:
    """Write ``campaign.tar.00``, ``.01``... to ``folder`` and return the files; ``cat campaign.tar.* | tar -x`` unpacks them.

    They contain the configuration, the history, the figures and the probabilities of every net that has started. For finished nets with
    ``keep_weights``, they also contain a checkpoint with only the best weights; it can be exported, but not trained further. When they
    are unpacked into an empty ``out``, the campaign continues with the nets that are not finished.

    Raises:
        UsageError: ``folder`` is ``out`` or is inside it, so that the files would be packed into themselves.
    """
    if folder.resolve().is_relative_to(out.resolve()):
        raise UsageError(f"expected a folder outside {out} to pack into, got {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("campaign.tar.*"):
        old.unlink()
    scratch = out / ".pack"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    archive = scratch / "campaign.tar"
    with tarfile.open(archive, "w") as tar:
        for name in (ENSEMBLE, SOFT_LABELS):
            if (out / name).exists():
                tar.add(out / name, name)
        for net in campaign.nets:
            source = out / net.name
            finished = (source / RESULT).exists()
            for name in SMALL if finished else ("history.csv",):
                if (source / name).exists():
                    tar.add(source / name, f"{net.name}/{name}")
            if finished and net.keep_weights and (source / CHECKPOINT).exists():
                state = load_state(source / CHECKPOINT)
                state.weights, state.optimizer, state.seeds, state.average = [], [], [], []
                save_state(scratch / CHECKPOINT, state)
                tar.add(scratch / CHECKPOINT, f"{net.name}/{CHECKPOINT}")
    parts: list[Path] = []
    with archive.open("rb") as whole:
        while block := whole.read(part_bytes):
            parts.append(folder / f"campaign.tar.{len(parts):02d}")
            parts[-1].write_bytes(block)
    shutil.rmtree(scratch)
    return parts
