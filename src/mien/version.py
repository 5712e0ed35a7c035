"""The version of Mien, and nothing else, so that every module can import it. The build also reads it here."""

__version__ = "0.1.0"
