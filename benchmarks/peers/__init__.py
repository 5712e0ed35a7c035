"""Mien beside other packages for the same work, each in an environment of its own; see :mod:`benchmarks.peers.__main__`."""
