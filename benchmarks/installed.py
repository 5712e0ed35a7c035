"""What `pip install mien` brings along, read from the installed packages' own records."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def runtime_packages() -> set[str]:
    """Return the names of Mien and everything it requires without extras, as far as this system and Python need it."""
    found: set[str] = set()
    todo = ["mien"]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # a requirement for another system or Python
        found.add(name)
        todo += [re.split(r"[\s;<>=!~\[(]", line)[0].lower() for line in requires if "extra ==" not in line]
    return found


def installed_mb(packages: set[str]) -> float:
    """Return the size of the packages' files in MB (10^6 bytes)."""
    paths = [Path(str(file.locate())) for name in packages for file in distribution(name).files or []]
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6
