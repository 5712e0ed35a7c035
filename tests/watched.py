"""A process and its children as the system sees them: whom they connect to, which files they write, and what a fresh home holds after."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

# onnxruntime's uploader looks its host up some twelve seconds after the start.
LINGER_S = 14
# Runs a module as `python -m` does, and stays as long as a caller would who goes on with something else.
LINGER = (
    "import runpy, sys, time; begun = time.monotonic(); sys.argv[:] = sys.argv[1:]; status = 0\n"
    "try: runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
    "except SystemExit as stop: status = stop.code\n"
    f"time.sleep(max(1, {LINGER_S} - (time.monotonic() - begun)))\n"
    "sys.exit(status)"
)
CALLS = "connect,sendto,sendmsg,sendmmsg,open,openat,creat,mkdir,mkdirat"
# An internet address in a line of strace: AF_INET, sin_port=htons(53), sin_addr=inet_addr("8.8.8.8"), and the same for IPv6.
PLACE = re.compile(r'sa_family=AF_INET6?, sin6?_port=htons\((\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"')
# The other end of a socket as strace -yy shows it: 8<UDP:[192.0.2.2:40976->8.8.8.8:53]>, and the same for TCP and IPv6.
OTHER_END = re.compile(r"^\d+ send\w+\(\d+<(?:UDP|TCP)(?:v6)?:\[.*?->\[?([^]>]+?)\]?:(\d+)\]>")
DATAGRAMS = re.compile(r"connect\(\d+<UDP(?:v6)?:")  # such a call sends nothing: it asks the system which of its addresses leads there
SERVICE = re.compile(r'sun_path="([^"]*(?:resolve|nscd)[^"]*)"')  # name look-ups that a service of the system does
WRITTEN = re.compile(r'(?:open|openat|creat|mkdir|mkdirat)\((?:AT_FDCWD(?:<[^>]*>)?, )?"([^"]+)", (?:\S*O_CREAT|0)(?!.*= -1 )')
DNS = 53


@dataclass(frozen=True)
class Watched:
    """What came of a process.

    ``calls`` out of the machine are "address:port", or a service of the system that looks names up; ``written`` are the files and
    folders made outside of those allowed; ``home`` lists the files in its home.
    """

    status: int
    output: str
    calls: tuple[str, ...]
    written: tuple[str, ...]
    home: tuple[str, ...]


def watch(folder: Path, *command: str, allowed: tuple[Path, ...] = (), **environment: str) -> Watched:
    """Run ``command`` below strace with a home, a temporary folder and a working directory of its own in ``folder``.

    Connections to this machine are none that leave it, except those to a name server, which passes the question on.
    """
    if not shutil.which("strace"):
        assert not os.environ.get("CI"), "strace is missing, which .ci/run installs"
        pytest.skip("strace is missing: what a process connects to cannot be seen")
    home, temporary, here, log = (folder / name for name in ("home", "tmp", "here", "strace.log"))
    for place in (home, temporary, here):
        place.mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "VIRTUAL_ENV", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-qq", "-yy", "-s", "300", "-e", "signal=none", "-e", f"trace={CALLS}", "-o", log, *command],
        cwd=here,
        env={**kept, "HOME": str(home), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
    )
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    own = {address.address.partition("%")[0] for addresses in psutil.net_if_addrs().values() for address in addresses}
    named = [(found[2], int(found[1])) for line in lines if not DATAGRAMS.search(line) and (found := PLACE.search(line))]
    named += [(found[1], int(found[2])) for line in lines if (found := OTHER_END.search(line))]
    calls = {f"{address}:{port}" for address, port in named if _leaves(address, port, own)}
    calls |= {found[1] for line in lines if (found := SERVICE.search(line)) and line.rstrip().endswith("= 0")}
    inside = (str(home), str(temporary), str(here), "/dev/", "/proc/", *map(str, allowed))
    made = {str(Path(here, found[1])) for line in lines if (found := WRITTEN.search(line))}
    return Watched(
        done.returncode,
        done.stdout,
        tuple(sorted(calls)),
        tuple(sorted(path for path in made if not path.startswith(inside))),
        tuple(sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())),
    )


def module(*arguments: object) -> tuple[str, ...]:
    """Return the command that runs a Python module and stays for :data:`LINGER_S`."""
    return (sys.executable, "-c", LINGER, *map(str, arguments))


def _leaves(address: str, port: int, own: set[str]) -> bool:
    ip = ip_address(address.removeprefix("::ffff:"))
    return port == DNS or not (ip.is_loopback or ip.is_unspecified or str(ip) in own)
