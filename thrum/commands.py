"""What the words of configured commands name in a repository, for all that can be told without a shell. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from thrum.checks import OPERATOR, shell_words
from thrum.gate import Command
from thrum.values import dataclass

_HERE = "/\x01"
"""The root of the repository; all paths are absolute as long as commands are read."""
ELSEWHERE = "/\x02"
"""A folder for commands that run in another repository."""

_SHELLS = re.compile(r"(?:ba|da|z|k|fi)?sh")
_INTERPRETERS = re.compile(
    r"(?:python[0-9.]*|node|perl|ruby|php|lua|tclsh|Rscript|ocaml|tsx|ts-node|(?:go|deno|bun|coverage) run)(?: |$)"
)
_IMPORTS = re.compile(r"python[0-9.]*|pytest|coverage")
_INLINE = re.compile(r"-[A-Za-z]*[cem]|--(?:test|eval)(?:=.*)?")
"""An option after which no script is run: a text, a module, the tests that follow."""
_MODULE = re.compile(r"-[A-Za-z]*m")
_DOTTED = re.compile(r"\w+(?:\.\w+)*")
_SCRIPT = re.compile(r".*\.(?:sh|bash|zsh|ksh|fish)")
_SETTINGS = re.compile(r".*\.(?:toml|ini|cfg|conf|ya?ml|json5?|rc|txt|in|lock)|(?:.*/)?\.?\w+rc")
_FILE_OPTION = re.compile(
    r"-f|--(?:[\w-]+-)?(?:config(?:uration)?|conf|rc|rcfile|settings|file|makefile|requirements?|require|import|plugin"
    r"|loader|setup)(?:-?files?)?",
    re.IGNORECASE,
)
"""An option whose value is a file by any name, but for the programs to which `-f` says something else."""
_NO_FILE = re.compile(r"test|\[\[?|rm|cp|mv|ln|cut|pytest|unittest")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
_KEYWORDS = frozenset(["!", "if", "then", "elif", "else", "do", "while", "until", "{"])
_WRAPPERS = re.compile(
    "env|exec|time|nice|nohup|command|builtin|timeout|stdbuf|ionice|chrt|taskset|setsid|xvfb-run|unbuffer|xargs|sudo|doas"
    "|npx|bunx|uvx|(?:uv|poetry|pdm|hatch|pipenv|rye|conda|bundle|npm|pnpm|yarn|mise) (?:run|exec|dlx)"
)
"""What runs the command that follows, by its first word or two."""
_WITH_VALUE = re.compile(r"-[sncukoefgCSIPL]|--(?:signal|kill-after|with|python|package|group|extra|chdir|unset)")
"""Options of the wrappers whose value is the next word."""
_CURRENT = re.compile(r"^\$(?:PWD|\{PWD\}|\(pwd\))/")
_NUMBER = re.compile(r"[0-9.]+[smhd]?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A script or settings by a pattern, or a module of Python that is run in a folder."""

    path: str = ""
    below: bool = False
    """Whether the path may be a folder, all of which counts."""
    module: str = ""
    folder: str = ""

    @property
    def patterns(self) -> tuple[str, ...]:
        """What is run, or read as settings."""
        if self.path:
            return (self.path, f"{self.path}/**") if self.below else (self.path,)
        inner = posixpath.join(self.folder, *self.module.split("."))
        return (f"{inner}.py", f"{inner}/__main__.py")


def run_by(command: Command, repo: str, *, interpreted: bool, folder: str = "", path: str = "") -> Iterator[Named]:
    """What a command runs of a repository, or is told of by an option. `path` is its `PYTHONPATH`.

    That is what is run with a slash in its name (`./run`), what a shell or, if `interpreted`, an interpreter is given
    first (`sh ci/t`, `python3 ci/run.py`, `python3 -m ci.run`), any word that ends as a shell script does, and what an
    option names as settings (`--config lint.toml`).
    """
    place = posixpath.join(_HERE, folder)
    for inner, words in _placed(_rooted(command, repo), place):
        yield from _run(words, inner, path.split(":"), interpreted=interpreted)


def compared_by(command: Command, repo: str, *, folder: str = "") -> Iterator[Named]:
    """What of a repository a command that compares may look at: each word that is, or holds, a path or pattern there,
    and all that it runs."""
    place = posixpath.join(_HERE, folder)
    for inner, words in _placed(_rooted(command, repo), place):
        yield from _run(words, inner, (), interpreted=True)
        yield from _looked_at(words, inner)


def _rooted(command: Command, repo: str) -> Command:
    """The command with the repository's place for its placeholder."""

    def put(text: str) -> str:
        return re.sub(re.escape(f"{{repo:{repo}}}"), _HERE, text, flags=re.IGNORECASE)

    return put(command) if isinstance(command, str) else tuple(map(put, command))


def _placed(command: Command, folder: str) -> Iterator[tuple[str, list[str]]]:
    """The simple commands in it, each with the folder that it runs in."""
    if not isinstance(command, str):
        yield folder, list(command)
        return
    outer: list[str] = []
    left: list[str] = []
    words: list[str] = []
    for word in shell_words(command):
        if not OPERATOR.fullmatch(word):
            words.append(word)
            continue
        moved = [one for one in words[1:] if not one.startswith("-")] if words[:1] in (["cd"], ["pushd"]) else []
        if moved:
            left += [folder] if words[0] == "pushd" else []
            folder = posixpath.join(folder, moved[0])
        elif words == ["popd"]:
            folder = left.pop() if left else folder
        elif words:
            yield folder, words
        words = []
        for sign in word:
            if sign == "(":
                outer.append(folder)
            elif sign == ")" and outer:
                folder = outer.pop()


def _run(given: Sequence[str], folder: str, path: Sequence[str], *, interpreted: bool) -> Iterator[Named]:
    """What the words of a simple command in the folder name."""
    words, path = _unwrapped(given, path)
    for place, word in enumerate(words):
        after = words[place + 1 :]
        program = posixpath.basename(word)
        run = [word] if (place == 0 and "/" in word) or word.startswith("./") or _SCRIPT.fullmatch(word) else []
        run += _setting(words, place)
        if place == 0 and word in ("source", "."):
            run += after[:1]
        if _SHELLS.fullmatch(program):
            text, script = _given_to_shell(after)
            run.append(script)
            for inner, simple in _placed(text, folder):
                yield from _run(simple, inner, path, interpreted=interpreted)
        yield from _paths(run, folder)
        if interpreted and _INTERPRETERS.match(" ".join([program, *after[:1]])):
            script = _given(after)
            yield from _paths([script], folder, below="." not in posixpath.basename(script))
        if interpreted and _IMPORTS.fullmatch(program):
            yield from _modules(program, after, folder, path)


def _unwrapped(words: Sequence[str], path: Sequence[str]) -> tuple[list[str], Sequence[str]]:
    """The words without what stands before the program that is run in the end; and the `PYTHONPATH` set there."""
    rest = list(words)
    wrapped = False
    while rest:
        first = rest[0]
        if _ASSIGNMENT.fullmatch(first):
            path = first.partition("=")[2].split(":") if first.startswith("PYTHONPATH=") else path
        elif _WRAPPERS.fullmatch(" ".join(rest[:2])):
            wrapped, rest = True, rest[1:]
        elif _WRAPPERS.fullmatch(first):
            wrapped = True
        elif wrapped and first.startswith("-"):
            rest = rest[1:] if _WITH_VALUE.fullmatch(first) else rest
        elif first not in _KEYWORDS and not (wrapped and _NUMBER.fullmatch(first)):
            break
        rest = rest[1:]
    return rest, path


def _setting(words: Sequence[str], place: int) -> list[str]:
    """The word, or its part after `=`, where it is an option's value and a file to be read."""
    word, before = words[place], words[place - 1] if place else ""
    option, _, value = word.partition("=") if word.startswith("-") else (before, "", word)
    if not option.startswith("-") or not value:
        return []
    named = _FILE_OPTION.fullmatch(option) and not any(_NO_FILE.fullmatch(one) for one in words[:3])
    return [value] if named or _SETTINGS.fullmatch(value) or (option == "-r" and "/" in value) else []


def _given_to_shell(words: Sequence[str]) -> tuple[str, str]:
    """The text, or else the script, that a shell with these arguments runs."""
    texts = False
    rest = list(words)
    while rest and re.match(r"[-+].", rest[0]):
        flags = rest[0][1:]
        texts = texts or re.fullmatch(r"[A-Za-z]*c[A-Za-z]*", flags) is not None
        has_value = re.fullmatch(r"[A-Za-z]*[oO]|-rcfile|-init-file", flags)
        rest = rest[2:] if has_value else rest[1:]
    if not rest:
        return "", ""
    return (rest[0], "") if texts else ("", rest[0])


def _given(words: Sequence[str]) -> str:
    """The script, or the folder, that an interpreter with these arguments runs, if it runs one."""
    for word in words:
        if _INLINE.fullmatch(word):
            return ""
        if not word.startswith("-") and ("/" in word or "." in word):
            return word
    return ""


def _modules(program: str, words: Sequence[str], folder: str, path: Sequence[str]) -> Iterator[Named]:
    """The modules that Python runs with these arguments, or the plugins of pytest: `coverage run` and `cProfile` are
    given one in their turn."""
    option = re.compile("-p") if program == "pytest" else _MODULE
    modules = [word for before, word in pairwise(words) if option.fullmatch(before) and _DOTTED.fullmatch(word)]
    for place in ("", *filter(None, path)):
        inner = _path(posixpath.join(folder, place))
        yield from (Named(module=word, folder=inner) for word in modules if inner is not None)


def _looked_at(words: Sequence[str], folder: str) -> Iterator[Named]:
    """What the words after the program may mean as paths or patterns."""
    rest, _ = _unwrapped(words, ())
    for word in rest[1:] if rest and "/" not in rest[0] else rest:
        inner = [text for found in re.findall(r"\$\(([^()]*)\)|`([^`]*)`", word) for text in found if text]
        inner += [word] if re.search(r"\s", word) else []
        for text in inner:
            for place, simple in _placed(text, folder):
                yield from _looked_at(simple, place)
        rooted = re.findall(rf"{re.escape(_HERE)}/[^\s\"'`)]*", word)
        yield from _paths([word, word.partition("=")[2], *rooted], folder, below=True, signs="")


def _paths(words: Sequence[str], folder: str, *, below: bool = False, signs: str = r"*?\[\]") -> Iterator[Named]:
    """Those of the words that are paths of the repository."""
    for word in filter(None, words):
        path = _path(posixpath.join(folder, _CURRENT.sub("", word, count=1)), signs)
        if path:
            yield Named(path=path, below=below)


def _path(word: str, signs: str = r"*?\[\]") -> str | None:
    """An absolute word as a path of the repository, if it is one that is told without a shell; empty for the root."""
    path = posixpath.normpath(word)
    if path == _HERE:
        return ""
    told = path.startswith(f"{_HERE}/") and not re.search(rf"/[~-]|[$`{{}}\\\s\0{signs}]", path)
    return path.removeprefix(f"{_HERE}/") if told else None
