"""Programs that maintain this repository: shipped models, and pages made from code; each is one command, ``python -m tools.NAME``."""
