"""`thrum task`: the group; its commands are in the modules that it imports."""

from __future__ import annotations

import click

from thrum.cli.adding import add
from thrum.cli.deciding import approve, cancel, reject, retry
from thrum.cli.listing import list_
from thrum.cli.program import Group
from thrum.cli.reading import diff, log
from thrum.cli.showing import show


@click.group(cls=Group)
def task() -> None:
    """Queue tasks, look at them, and decide about them."""


for command in (add, list_, show, diff, log, approve, reject, retry, cancel):
    task.add_command(command)
