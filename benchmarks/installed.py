"""Lists what `pip install mien` installs, from the metadata of the installed packages."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def runtime_packages() -> set[str]:
    """Return the names of Mien and of all its requirements without extras, for this system and this Python."""
    found: set[str] = set()
    todo = ["mien"]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # a requirement of another system or another Python
        found.add(name)
        todo += [re.split(r"[\s;<>=!~\[(]", line)[0].lower() for line in requires if "extra ==" not in line]
    return found


def installed_mb(packages: set[str]) -> float:
    """Return the size of the packages' files in MB (10^6 bytes)."""
    paths = [Path(str(file.locate())) for name in packages for file in distribution(name).files or []]
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6
