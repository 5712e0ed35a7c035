"""API keys: the service knows hashes, callers send the key."""

import subprocess
import sys

import pytest

from mien.serve.guard.keys import hash_of, key_in, new_key, opens


def test_a_new_key_comes_with_its_hash():
    done = subprocess.run([sys.executable, "-m", "mien", "serve", "--new-key"], capture_output=True, text=True, check=True)
    words = dict(line.split() for line in done.stdout.splitlines())
    assert hash_of(words["key"]) == words["sha256"]


def test_a_key_opens_when_its_hash_is_known():
    key, other = new_key(), new_key()
    assert opens(key, [hash_of(other), hash_of(key)])
    assert not opens(key, [hash_of(other)])
    assert not opens(hash_of(key), [hash_of(key)])  # the hash is no key
    assert not opens(None, [hash_of(key)])
    assert not opens("", [hash_of(key)])
    assert not opens("\udce9", [hash_of(key)])  # bytes that are not UTF-8
    assert opens(None, [])  # a service without keys is open


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        pytest.param({"authorization": "Bearer mien_x"}, "mien_x", id="bearer"),
        pytest.param({"authorization": "bearer  mien_x "}, "mien_x", id="bearer-in-other-writing"),
        pytest.param({"x-api-key": "mien_x"}, "mien_x", id="x-api-key"),
        pytest.param({"authorization": "Basic bWllbg==", "x-api-key": "mien_x"}, "mien_x", id="another-scheme"),
        pytest.param({"authorization": "Bearer mien_x", "x-api-key": "mien_y"}, "mien_x", id="both"),
        pytest.param({}, None, id="none"),
    ],
)
def test_where_a_key_is_looked_for(headers, key):
    assert key_in(headers) == key
