"""The command line."""

import argparse
import sys
from pathlib import Path

from tally.report import report
from tally.words import count_words


def main(argv: list[str] | None = None) -> int:
    """Print how often each word occurs; the exit code."""
    parser = argparse.ArgumentParser(prog="tally", description="Counts the words of a text.")
    parser.add_argument("file", type=Path, nargs="?", help="standard input where there is none")
    options = parser.parse_args(argv)
    text = options.file.read_text() if options.file else sys.stdin.read()
    lines = report(count_words(text))
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
