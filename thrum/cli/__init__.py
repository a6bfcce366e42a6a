"""The `thrum` command. `main` is its entry point; one module holds each group of commands, and is only
imported when one of them is named."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (`thrum.errors.Exit`)."""
    args = list(sys.argv[1:] if argv is None else argv)
    if args == ["--version"]:
        # Answered before click is there: editors and scripts ask for it again and again.
        from thrum import __version__

        sys.stdout.write(f"thrum {__version__}\n")
        return 0
    from thrum.cli.program import run

    return run(args)
