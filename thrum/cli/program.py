"""The program around all commands: the options that each one takes, how they are found, how errors end it."""

from __future__ import annotations

import contextlib
import errno
import importlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from thrum import __version__
from thrum.cli import console
from thrum.errors import Exit, ThrumError

COMPLETE = "_THRUM_COMPLETE"
"""The variable by which a shell asks for completions."""


@dataclass(slots=True)
class Invocation:
    """What was said by the options that every command takes."""

    directory: str | None = None
    json: bool = False
    verbose: bool = False


def invocation() -> Invocation:
    """The one under way."""
    found = click.get_current_context().find_root().obj
    assert isinstance(found, Invocation)
    return found


def _noted(name: str) -> Any:
    def note(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        root = ctx.find_root()
        if root.obj is None:
            root.obj = Invocation()
        if value:
            setattr(root.obj, name, value)

    return note


def _common_options() -> list[click.Parameter]:
    # is_eager: they must be known when another option is found wanting.
    return [
        click.Option(
            ["--dir", "project_dir"],
            metavar="DIRECTORY",
            type=click.Path(),
            help="The project directory. [default: THRUM_DIR, else the nearest one upwards]",
            expose_value=False,
            is_eager=True,
            callback=_noted("directory"),
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            help="Print JSON, and nothing else, to stdout.",
            expose_value=False,
            is_eager=True,
            callback=_noted("json"),
        ),
        click.Option(
            ["--verbose"],
            is_flag=True,
            help="Log more, and show the traceback of an unexpected error.",
            expose_value=False,
            is_eager=True,
            callback=_noted("verbose"),
        ),
    ]


class Command(click.Command):
    """A command that takes the common options, in front of its own name or behind it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *_common_options()]


class Group(click.Group):
    """A group that imports the module of a command when it is called; all of its commands take the common options.

    `commands_at` says for each name where its command is, as `module:object` below `thrum.cli`.
    """

    def __init__(self, *args: Any, commands_at: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *_common_options()]
        self._commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a newcomer needs them."""
        return list(self._commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, None where there is none."""
        if cmd_name not in self._commands_at:
            return None
        module, _, name = self._commands_at[cmd_name].partition(":")
        command = getattr(importlib.import_module(f"thrum.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, naming the nearest command where there is none of that name."""
        if args and not args[0].startswith("-") and args[0] not in self._commands_at:
            import difflib

            near = difflib.get_close_matches(args[0], self._commands_at, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"There is no command {args[0]!r}.{hint}", ctx=ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=Group,
    commands_at={
        "init": "init:init",
        "check": "check:check",
        "doctor": "doctor:doctor",
        "up": "system:up",
        "down": "system:down",
        "reload": "system:reload",
        "status": "status:status",
        "run": "run:run",
        "task": "program:task",
        "gate": "program:gate",
        "backend": "program:backend",
        "completion": "completion:completion",
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="thrum", message="%(prog)s %(version)s")
def thrum() -> None:
    """Let coding agents work off a backlog of tasks over git repositories; nothing lands that did not pass its
    gates and a person."""


@click.group(
    cls=Group,
    commands_at={
        "add": "adding:add",
        "list": "listing:list_",
        "show": "showing:show",
        "diff": "reading:diff",
        "log": "telling:log",
        "prompt": "reading:prompt",
        "export": "exporting:export",
        "approve": "deciding:approve",
        "reject": "deciding:reject",
        "retry": "deciding:retry",
        "cancel": "deciding:cancel",
    },
)
def task() -> None:
    """Queue tasks, look at them, and decide about them."""


@click.group(cls=Group, commands_at={"run": "gating:run", "list": "gating:list_"})
def gate() -> None:
    """Run the gates by hand, and see what they consist of."""


@click.group(cls=Group, commands_at={"certify": "certifying:certify"})
def backend() -> None:
    """Try out the programs that do the work."""


def run(args: Sequence[str]) -> int:
    """Run the program; whatever goes wrong is told on stderr (with --json on stdout too) and is an exit code."""
    found = Invocation(json="--json" in args, verbose="--verbose" in args)
    try:
        _configure_logging(found.verbose)
        code = _invoked(list(args), found)
        sys.stdout.flush()
        return code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"`{context.command_path} --help` tells how it is called" if context else ""
        return _ended(found, "usage", error.format_message(), hint, Exit.USAGE)
    except ThrumError as error:
        return _ended(found, error.code, error.message, error.remedy, error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _ended(found, "interrupted", "interrupted", "", Exit.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "make room on the disk that holds .thrum/, and try again; what was acknowledged is safe" if full else ""
        return _ended(found, "system", _told(error), hint, Exit.FAILED, unexpected=error)
    except Exception as error:  # noqa: BLE001 - one of the two places: a person gets a sentence, no traceback
        message = f"{type(error).__name__}: {error}"
        hint = "this is a fault in Thrum; --verbose shows where it happened"
        return _ended(found, "internal", message, hint, Exit.FAILED, unexpected=error)


def _invoked(args: list[str], found: Invocation) -> int:
    """What click's own `main` does, but for its own ideas about errors and exit codes."""
    instruction = os.environ.get(COMPLETE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(thrum, {}, "thrum", COMPLETE, instruction)
    try:
        with thrum.make_context("thrum", args, obj=found) as context:
            return int(thrum.invoke(context) or 0)
    except click.exceptions.Exit as end:
        return end.exit_code


def _ended(
    found: Invocation,
    code: str,
    message: str,
    remedy: str,
    exit_code: int,
    *,
    unexpected: BaseException | None = None,
) -> int:
    if unexpected is not None and found.verbose:
        import traceback

        console.note("".join(traceback.format_exception(unexpected)).rstrip())
    # A pipe that nobody reads any more must not hide the exit code.
    with contextlib.suppress(BrokenPipeError):
        console.tell_error(message, remedy)
        if found.json:
            console.emit({"error": error_view(code, message, remedy)})
    return int(exit_code)


def error_view(code: str, message: str, remedy: str) -> dict[str, str]:
    """An error as JSON, in the same shape as that of the HTTP API."""
    return {"code": code, "message": message, "remedy": remedy}


def _told(error: OSError) -> str:
    name = f"{error.filename}: " if error.filename else ""
    return f"{name}{error.strerror or error}"


def _configure_logging(verbose: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, handlers=[handler], force=True)
