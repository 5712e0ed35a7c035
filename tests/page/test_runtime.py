"""``mien web install-runtime``: only the pinned package gets in, whole or not at all."""

import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import threading

import pytest

from mien.errors import FetchError, UsageError
from mien.serve.browser_runtime import FILES, NPM, VERSION, install, npm_registry, tarball_url, unpack


def tarball(members):
    """Return a package with these files, or links where the content is a path in brackets."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                member.type, (member.linkname,) = tarfile.SYMTYPE, content
                archive.addfile(member)
    return buffer.getvalue()


GOOD = {f"package/dist/{name}": name.encode() for name in FILES}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def registry():
    """A registry on this machine that answers every address with the bytes of ``registry.body``."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self.path)
            self.send_response(server.status)
            self.send_header("Content-Length", str(len(server.body)))
            self.end_headers()
            self.wfile.write(server.body)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.status, server.body = [], 200, tarball(GOOD)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.address = f"http://127.0.0.1:{server.server_port}/npm/"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_not_the_pinned_package_is_not_kept(cache, registry):
    with pytest.raises(FetchError, match="nothing was kept"):
        install(registry.address)
    assert registry.asked == [f"/npm/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"]
    assert not cache.exists()


def test_a_registry_without_it_says_what_to_do(cache, registry):
    registry.status = 404
    with pytest.raises(FetchError, match="--file"):
        install(registry.address)
    assert not cache.exists()


def test_a_file_fetched_by_other_means_is_checked_as_well(cache, tmp_path):
    (tmp_path / "other.tgz").write_bytes(tarball(GOOD))
    with pytest.raises(FetchError, match="SHA-512"):
        install(file=tmp_path / "other.tgz")
    with pytest.raises(UsageError, match="npm pack"):
        install(file=tmp_path / "absent.tgz")
    assert not cache.exists()


def test_only_the_wanted_files_are_unpacked(tmp_path):
    members = {**GOOD, "package/package.json": b"{}", "../outside.js": b"bad", "/tmp/mien-absolute.js": b"bad"}
    folder = unpack(tarball(members), tmp_path / "web" / "runtime")
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "manifest.json"])
    assert json.loads((folder / "manifest.json").read_text())["version"] == VERSION
    assert [path.name for path in tmp_path.rglob("*.js")] == []
    assert sorted(path.name for path in (tmp_path / "web").iterdir()) == ["runtime"]


@pytest.mark.parametrize(
    "members",
    [
        pytest.param(dict(list(GOOD.items())[:2]), id="a file is missing"),
        pytest.param({**GOOD, f"package/dist/{FILES[0]}": ("/etc/passwd",)}, id="a link out of the package"),
    ],
)
def test_a_package_that_is_not_whole_leaves_nothing(tmp_path, members):
    with pytest.raises(FetchError, match="no usable"):
        unpack(tarball(members), tmp_path / "web" / "runtime")
    assert list((tmp_path / "web").iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "npmrc", "expected"),
    [
        pytest.param({}, None, NPM, id="npm's own"),
        pytest.param({"NPM_CONFIG_REGISTRY": "https://a.example/npm/"}, None, "https://a.example/npm/", id="environment"),
        pytest.param(
            {"npm_config_registry": "https://b.example"}, "registry=https://c.example", "https://b.example/", id="environment first"
        ),
        pytest.param({}, 'fund=false\nregistry = "https://c.example"\n', "https://c.example/", id="npmrc"),
        pytest.param({}, "@scope:registry=https://d.example\n", NPM, id="a scope's registry is not for all"),
    ],
)
def test_the_registry_is_the_one_npm_would_ask(tmp_path, environment, npmrc, expected):
    if npmrc:
        (tmp_path / "npmrc").write_text(npmrc)
    assert npm_registry({**environment, "NPM_CONFIG_USERCONFIG": str(tmp_path / "npmrc")}) == expected


def test_a_registry_is_an_http_address():
    with pytest.raises(UsageError, match="npm config get registry"):
        tarball_url("file:///etc/")


def test_the_command_says_where_the_runtime_is(runtime):
    done = subprocess.run(
        [sys.executable, "-m", "mien", "web", "install-runtime"],
        env={**os.environ, "XDG_CACHE_HOME": str(runtime.parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "installed already" in done.stderr
    assert str(runtime) in done.stderr
    assert (runtime / FILES[2]).read_bytes()[:4] == b"\0asm"
