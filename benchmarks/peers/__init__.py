"""Compares Mien with other packages for the same task, each in its own environment; see :mod:`benchmarks.peers.__main__`."""
