"""`python -m thrum` is the `thrum` command."""

import sys

from thrum.cli import main

if __name__ == "__main__":
    sys.exit(main())
