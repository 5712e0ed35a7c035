"""What a runtime install is: light, without a training framework, and silent when imported."""

import subprocess
import sys

import mien
from benchmarks.installed import installed_mb, runtime_packages

HEAVY = {
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "torch",
    "jax",
    "opencv-python",
    "opencv-python-headless",
    "scipy",
    "pandas",
    "scikit-image",
}
LIMIT_MB = 300


def test_the_runtime_needs_no_training_framework():
    packages = runtime_packages()
    assert {"numpy", "onnxruntime", "pillow"} <= packages
    assert not packages & HEAVY


def test_the_runtime_is_under_300_mb():
    assert installed_mb(runtime_packages()) < LIMIT_MB


def test_importing_loads_nothing_heavy_and_says_nothing():
    code = "import sys, mien; print(sorted({m.split('.')[0] for m in sys.modules} & {'numpy','PIL','onnxruntime','rich','typer','keras'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_public_names_are_sorted_and_there():
    assert mien.__all__ == sorted(mien.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    for name in mien.__all__:
        assert getattr(mien, name) is not None
    assert set(dir(mien)) == set(mien.__all__)


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(mien, "analyse_feelings")
