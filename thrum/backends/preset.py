"""A preset: all that is particular to one agent program, as a value; and what is read from such a program's output."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field

from thrum.failures import Failure
from thrum.values import dataclass

PLACEHOLDERS = (
    *("prompt", "prompt_file", "workdir", "model", "session", "new_session"),
    *("budget_usd", "base_url", "state", "system_prompt"),
)
"""What `{…}` may name in the arguments and variables of a preset.

`new_session` is an id that we choose for a session that begins (a UUID), `session` one that is gone on with; `state`
the folder of the task in which the program keeps its session; `base_url` the address of an API without its `/v1`.
Of `system_prompt` only matters whether there is one: it lies in `Preset.system_prompt_path`.
"""
PROMPT_LIMIT_BYTES = 100 * 1024
"""A longer prompt is no argument; the kernel's limit for one is 128 KiB."""

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """That, and why, a run came to nothing."""

    failure: Failure
    detail: str = ""
    """One line in the program's own words; it may be empty."""
    retry_at: float | None = None
    """Unix seconds from which on it may work again, where the program told."""
    retry_after_s: float | None = None
    """The same as a time span."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a program said of its own run: hints, never a verdict. None and empty mean that it did not say."""

    cost_usd: float | None = None
    input_tokens: int | None = None
    """All that went in, those taken from a cache included."""
    cached_tokens: int | None = None
    output_tokens: int | None = None
    of_session: bool = False
    """Whether cost and tokens count over the whole session, not over this run alone."""
    session: str = ""
    text: str = ""
    """The last that the agent said; the agreed mark for "no change is needed" is looked for here."""
    trouble: Trouble | None = None
    """None: it says that it ended well."""


Reader = Callable[[str, int | None, Mapping[str, str]], Reading]
"""Reads the end of an output, an exit code (None: ended by a signal), and the files that the preset names; whatever
these hold, it does not raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How one agent program is run, and how its output is read."""

    name: str
    program: str
    """The name by which it is looked up."""
    tried_with: str
    """The version that everything here was tried with."""
    args: tuple[str, ...]
    """Arguments of a first run. `{…}` is replaced; an element `[NAME]` stands for `options[NAME]`, which is left out
    where NAME has no value."""
    resume_args: tuple[str, ...] = ()
    """Arguments of a run that goes on with `{session}`; empty: its sessions cannot be gone on with."""
    options: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By the placeholder that an option needs: its arguments."""
    runs_commands: bool = True
    """Whether its model can have it run commands; else it only edits files."""
    prompt_stdin: bool = True
    """Whether the prompt is its standard input; else an argument, or a file, holds it."""
    env: dict[str, str] = field(default_factory=dict)
    """Variables that it needs; values have placeholders too, and those without a value are left out."""
    base_url_env: dict[str, str] = field(default_factory=dict)
    """Variables that send it to `{base_url}` in place of its provider; used only where one is set."""
    keys: dict[str, str]
    """The variables of which one holds its key, the usual one first; each with the host (`host:port`) it is for."""
    state_env: str = ""
    """The variable that names the folder of its state; the folder must exist. Empty: it keeps none that matters."""
    same_directory: bool = True
    """Whether a session can be gone on with only in the directory that it began in."""
    chooses_session: bool = False
    """Whether `{new_session}` is taken, so that the id is known even of a run that was cut off."""
    files: dict[str, str] = field(default_factory=dict)
    """What must lie in the folder of its state before it starts: content by relative path."""
    leaves: tuple[str, ...] = ()
    """Patterns, as git ignores files by, of what it leaves in the work tree that is no part of the change."""
    system_prompt_path: str = ""
    """Where in that folder instructions lie that stand above the prompt; empty: it takes none."""
    reads_files: tuple[str, ...] = ()
    """Files in that folder of which `read` needs the beginning, by relative path."""
    version_args: tuple[str, ...] = ("--version",)
    """Arguments by which it prints its version and ends."""
    end_chars: int = 256 * 1024
    """How much of its output's end `read` needs."""
    read: Reader

    def allow(self, environ: Iterable[str]) -> tuple[str, ...]:
        """The hosts that it must reach, given the names of the variables that are set; of all its keys if none is."""
        names = self.keys.keys() & set(environ) or self.keys.keys()
        return tuple(dict.fromkeys(host for name, host in self.keys.items() if name in names))

    def arguments(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """The arguments of a run, the program's name not among them.

        `values` holds placeholders; what is empty counts as absent. A run that has a `session` goes on with it, if
        it can. Each placeholder is replaced once, and what is put in is not looked at again. In place of a prompt that
        is too long for an argument, the argument says to read `{prompt_file}`.

        Raises:
            KeyError: an argument that is no option needs a placeholder without a value.
        """
        given = {name: value.replace("\0", "") for name, value in values.items() if value}
        if len(given.get("prompt", "").encode(errors="surrogateescape")) > PROMPT_LIMIT_BYTES:
            given["prompt"] = f"Your task stands in the file {given['prompt_file']}. Read all of it, then do it."
        chosen = self.resume_args if self.resume_args and "session" in given else self.args
        return tuple(_filled(argument, given) for element in chosen for argument in self._expanded(element, given))

    def environment(self, values: Mapping[str, str]) -> dict[str, str]:
        """The variables of a run: its own, and those that send it to another address where `base_url` is given."""
        given = {name: value for name, value in values.items() if value}
        named = {**self.env, **(self.base_url_env if "base_url" in given else {})}
        if self.state_env:
            named[self.state_env] = "{state}"
        complete = {name: value for name, value in named.items() if given.keys() >= set(_PLACEHOLDER.findall(value))}
        return {name: _filled(value, given) for name, value in complete.items()}

    def _expanded(self, element: str, given: Mapping[str, str]) -> tuple[str, ...]:
        if not (element.startswith("[") and element.endswith("]")):
            return (element,)
        name = element[1:-1]
        return self.options[name] if name in given else ()


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)
