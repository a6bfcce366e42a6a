"""Whether a compiled program does what its fixture says: `compare.py FIXTURE PROGRAM`.

A line `# given NUMBERS expect NUMBERS` of the fixture is one run. Exit code 0: there are such lines, and all of them
came true.
"""

import re
import subprocess
import sys
from pathlib import Path

NUMBERS = r"((?:\s+-?\d+)+)"


def main(argv: list[str]) -> int:
    """Run the program for each line, tell each outcome, and count."""
    fixture, program = argv[1:]
    runs = re.findall(rf"^#\s+given{NUMBERS}\s+expect{NUMBERS}$", Path(fixture).read_text(), re.MULTILINE)
    wrong = 0
    for given, expected in runs:
        ran = subprocess.run([program, *given.split()], capture_output=True, text=True, timeout=30, check=False)
        good = ran.returncode == 0 and ran.stdout.split() == expected.split()
        wrong += not good
        told = "as expected" if good else f"and {' '.join(expected.split())} was expected: {ran.stderr.strip()}"
        print(f"{' '.join(given.split())} -> {' '.join(ran.stdout.split())}, {told}")
    print(f"{len(runs)} runs, {wrong} wrong")
    return 0 if runs and not wrong else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
