"""The photograph behind ``mien demo``: astronaut Eileen Collins, NASA, public domain (the crop that scikit-image distributes)."""

from pathlib import Path


def demo_photo() -> Path:
    """Return the path of the bundled portrait, a 512x512 JPEG with one face."""
    return Path(__file__).parent / "astronaut.jpg"
