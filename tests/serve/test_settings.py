"""Settings come from flags and variables; a wrong one is refused and never ignored."""

import math
import subprocess
import sys

import pytest

from mien.cli.serve import serve, settings_from
from mien.errors import UsageError
from mien.serve.guard.keys import hash_of
from mien.serve.setting_texts import SETTINGS
from mien.serve.settings import Settings


def test_every_setting_is_a_flag_and_has_words():
    options = set(serve.__annotations__) - {"return", "new_key"}
    assert options == set(Settings.model_fields) == set(SETTINGS)


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("MIEN_MAX_FACES", "7")
    monkeypatch.setenv("MIEN_API_KEYS", f"{hash_of('a')}, {hash_of('b').upper()}")
    monkeypatch.setenv("MIEN_ALLOW_URL", "true")
    settings = Settings(max_streams=2)
    assert (settings.max_faces, settings.max_streams, settings.allow_url) == (7, 2, True)
    assert settings.api_keys == (hash_of("a"), hash_of("b"))


def test_a_key_in_the_clear_is_refused_and_not_repeated():
    done = subprocess.run([sys.executable, "-m", "mien", "serve", "--api-key", "hunter2"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "SHA-256" in done.stderr
    assert "hunter2" not in done.stderr


def test_a_wrong_setting_is_a_wrong_call():
    with pytest.raises(UsageError, match="max_faces"):
        serve(max_faces=0)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan], ids=str)
@pytest.mark.parametrize("name", [name for name, field in Settings.model_fields.items() if field.annotation is float])
def test_a_setting_without_end_is_a_wrong_call(name, value):
    with pytest.raises(UsageError, match=rf"^{name}: .*finite number.*, got {value}$"):
        settings_from({name: value})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        pytest.param("MIEN_API_KEY", "MIEN_API_KEYS", id="as-the-flag-has-it"),
        pytest.param("MIEN_CORS_ORIGIN", "MIEN_CORS_ORIGINS", id="another-list"),
        pytest.param("MIEN_ALLOWED_HOST", "MIEN_ALLOWED_HOSTS", id="the-third-list"),
        pytest.param("MIEN_MAX_FACE", "MIEN_MAX_FACES", id="a-letter-too-few"),
        pytest.param("mien_min_faces", "MIEN_MIN_FACE", id="a-letter-too-many"),
        pytest.param("MIEN_STOP_TIMEOUT", "MIEN_STOP_TIMEOUT_S", id="without-the-unit"),
    ],
)
def test_a_variable_that_is_nearly_a_settings_is_not_ignored(monkeypatch, name, meant):
    monkeypatch.setenv(name, "hunter2")
    with pytest.raises(UsageError) as refused:
        settings_from({})
    assert str(refused.value) == f"expected the variable {meant}, got {name}; rename it or unset it"


def test_other_peoples_variables_are_left_alone(monkeypatch):
    kubernetes = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_8000_TCP", "PORT_8000_TCP_ADDR", "PORT_8000_TCP_PORT")
    for name in (*kubernetes, "SCREENSHOTS", "FER2013", "FERPLUS", "DATA", "SHOW_FACES", "TEST_INSTALLED", "CI_VENV"):
        monkeypatch.setenv(f"MIEN_{name}", "x")
    assert Settings() == Settings.model_construct()


def test_the_lists_say_how_flag_and_variable_differ():
    for name, field in Settings.model_fields.items():
        if field.default == ():
            assert f"--{name[:-1].replace('_', '-')} again, or MIEN_{name.upper()} with commas" in SETTINGS[name].help
