"""The version of Mien, and nothing else, so that any module may read it. The build reads it here, too."""

__version__ = "0.1.0"
