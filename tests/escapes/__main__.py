"""Prints the table of docs/security.md."""

import sys

from tests.escapes.suite import table

sys.stdout.write(table())
