"""Programs that maintain this repository: shipped models and generated pages. Each file is one command, ``python -m tools.NAME``."""
