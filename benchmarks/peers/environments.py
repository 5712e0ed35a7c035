"""Makes one environment per peer under the cache folder, and measures it. It is separate from the environment of this process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.peers.roster import CHECKOUT, ROOT, Peer

INSTALL_LIMIT_S = 1800
MB = 1e6
NOTABLE = ("numpy", "tensorflow", "torch", "opencv-python", "opencv-contrib-python", "onnxruntime", "@tensorflow/tfjs-core")


class PeerError(Exception):
    """A peer cannot be installed or run. The message is one line for its row."""


@dataclass(frozen=True)
class Environment:
    """The installed packages of a peer, with notes. ``versions`` are those of the peer and of notable dependencies."""

    key: str
    folder: str
    packages: str
    versions: dict[str, str]
    installed_mb: float

    def command(self, peer: Peer, job: Path) -> list[str]:
        """Return the command that runs the peer's adapter on a job. Start it in ``folder``."""
        program = "node" if peer.npm else str(_python(Path(self.folder)))
        return [program, str(Path(__file__).parent / "adapters" / peer.adapter), str(job)]

    def weights_mb(self, peer: Peer) -> float:
        """Return the size of the files of the expression network, in MB."""
        files = [file for pattern in peer.weights for file in _found(Path(self.packages), pattern)]
        if not files:
            raise PeerError(f"no file {', '.join(peer.weights)} in {self.packages}")
        return sum(file.stat().st_size for file in files) / MB


# Packages of a new environment, made by uv or by venv (up to Python 3.11 with setuptools).
IN_EMPTY = {"_virtualenv.py", "_virtualenv.pth", "pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils"}


def environment(peer: Peer, cache: Path, *, fresh: bool = False) -> Environment:
    """Return the environment of a peer. Make it if it does not exist, if it has another version, or if ``fresh`` is set.

    Raises:
        PeerError: the installer failed; the message is its last line.
    """
    requirements = (*peer.requirements, *peer.repairs)
    key = _key(requirements)
    folder = cache / "environments" / f"{peer.adapter.split('.')[0].removeprefix('with_')}-{key}"
    note = folder / "environment.json"
    if note.is_file() and not fresh:
        return Environment(**json.loads(note.read_text(encoding="utf-8")))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"installing {' '.join(requirements)}", file=sys.stderr, flush=True)
    packages = _npm(folder, requirements) if peer.npm else _pip(folder, requirements)
    made = Environment(
        key=key,
        folder=str(folder),
        packages=str(packages),
        versions=_versions(packages, peer),
        installed_mb=sum(file.stat().st_size for file in packages.rglob("*") if file.is_file() and not _by_installer(file, packages)) / MB,
    )
    note.write_text(json.dumps(asdict(made), indent=1), encoding="utf-8")
    return made


def call(command: list[str], folder: Path, limit_s: float, **variables: str) -> None:
    """Run a command in ``folder``.

    Raises:
        PeerError: it cannot start, fails or takes longer than ``limit_s``; the message is its last line of text.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
        )
    except FileNotFoundError:
        raise PeerError(f"{command[0]} is not on this machine") from None
    except subprocess.TimeoutExpired:
        raise PeerError(f"took longer than {limit_s:.0f} s") from None
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        told = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else f"exit status {done.returncode}")
        raise PeerError(told.replace(f"{folder}{os.sep}", ""))


def _key(requirements: tuple[str, ...]) -> str:
    digest = hashlib.sha256("\n".join(requirements).encode())
    if CHECKOUT in requirements:
        for file in sorted((ROOT / "src").rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def installer(folder: Path | None = None) -> list[str]:
    """Return the start of an install command (uv if installed), for the environment in ``folder`` or for this Python."""
    uv = _uv()
    python = sys.executable if folder is None else str(_python(folder))
    return [uv, "pip", "install", "--quiet", "--python", python] if uv else [python, "-m", "pip", "install", "--quiet"]


def _pip(folder: Path, requirements: tuple[str, ...]) -> Path:
    uv = _uv()
    empty = [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
    call([*empty, str(folder)], folder, INSTALL_LIMIT_S)
    again = ["--reinstall-package", "mien"] if uv and CHECKOUT in requirements else []  # uv caches the wheel of a checkout
    call([*installer(folder), *again, *requirements], folder, INSTALL_LIMIT_S)
    (packages,) = folder.glob("[lL]ib/**/site-packages")
    return packages


def _uv() -> str | None:
    return shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))


def _npm(folder: Path, requirements: tuple[str, ...]) -> Path:
    (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    call(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *requirements], folder, INSTALL_LIMIT_S)
    return folder / "node_modules"


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _versions(packages: Path, peer: Peer) -> dict[str, str]:
    wanted = {name.lower().replace("_", "-") for name in (peer.package, *NOTABLE)}
    if peer.npm:
        files = {name: packages / name / "package.json" for name in wanted}
        return {name: json.loads(file.read_text(encoding="utf-8"))["version"] for name, file in sorted(files.items()) if file.is_file()}
    found = {}
    for info in packages.glob("*.dist-info"):
        name, version = info.name.removesuffix(".dist-info").rsplit("-", 1)
        found[name.lower().replace("_", "-")] = version
    return {name: found[name] for name in sorted(wanted) if name in found}


def _by_installer(file: Path, packages: Path) -> bool:
    return file.suffix == ".pyc" or file.relative_to(packages).parts[0].split("-")[0] in IN_EMPTY


def _found(packages: Path, pattern: str) -> list[Path]:
    return [Path(pattern)] if Path(pattern).is_absolute() else sorted(packages.glob(pattern))
