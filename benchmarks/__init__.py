"""What the README's figures are measured with; each file is one command, ``python -m benchmarks.NAME``."""
