"""Programs that measure the figures of the README. Each file is one command, ``python -m benchmarks.NAME``."""
