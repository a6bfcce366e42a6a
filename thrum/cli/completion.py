"""`thrum completion`: what a shell needs to complete Thrum's commands and options."""

from __future__ import annotations

import click

from thrum.cli import console
from thrum.cli.program import COMPLETE, Command, invocation, thrum


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    For bash: add `eval "$(thrum completion bash)"` to ~/.bashrc.
    """
    from click.shell_completion import get_completion_class

    cls = get_completion_class(shell)
    assert cls is not None
    script = cls(thrum, {}, "thrum", COMPLETE).source()
    if invocation().json:
        console.emit({"shell": shell, "script": script})
    else:
        console.say(script)
