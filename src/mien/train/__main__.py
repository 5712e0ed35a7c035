"""``python -m mien.train`` is ``mien train``."""

import sys

from mien.cli import main

sys.argv.insert(1, "train")
main()
