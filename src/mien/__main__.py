"""Makes ``python -m mien`` run the command ``mien``."""

from mien.cli import main

if __name__ == "__main__":
    main()
