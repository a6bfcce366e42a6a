"""What sandboxes see of /etc: a copy of the little that programs need, kept from run to run and shown as one mount.

To mount or write each of its files for each run would take longer than to start the program. What others may not read
on the host is left out, whoever we are: accounts, private keys, the settings of services.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Mapping

from thrum.sandbox import homes
from thrum.values import dataclass

_FILES = (
    "gai.conf",
    "host.conf",
    "hosts",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "locale.alias",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "ocamlfind.conf",
    "os-release",
    "protocols",
    "services",
    "shells",
    "ssl/openssl.cnf",
    "timezone",
)
_NETWORK_FILES = ("resolv.conf",)
"""For jobs that have the network."""
_DIRECTORIES = ("alternatives", "fonts", "java-*", "pki/ca-trust", "pki/tls", "ssl/certs")
"""Patterns."""

_PUBLIC = stat.S_IROTH | stat.S_IXOTH
_State = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copy:
    path: str
    places: tuple[str, ...]
    seen: tuple[tuple[str, _State], ...]
    """What it was made of, and its own directories, as they were then."""

    @property
    def current(self) -> bool:
        return all(_state(path) == state for path, state in self.seen)


class Etc:
    """The copies of one sandbox, below a directory of its own."""

    def __init__(self, home: str, accounts: Mapping[str, str], *, source: str = "/etc") -> None:
        """`accounts` are the texts of files that are not the host's, by their names."""
        self._home = home
        self._accounts = accounts
        self._source = source
        self._copies: dict[bool, _Copy] = {}

    def directory(self, *, network: bool, places: Iterable[str] = ()) -> str:
        """The directory to be shown as /etc; made anew if the host's has changed, or if somebody tidied this one up.

        `places` are paths on which something else will be mounted: those below /etc are there for it.
        """
        places = tuple(path.removeprefix("/etc/") for path in places if path.startswith("/etc/"))
        copy = self._copies.get(network)
        if copy is None or copy.places != places or not copy.current:
            copy = self._copies[network] = self._made(network, places)
        return copy.path

    def _made(self, network: bool, places: tuple[str, ...]) -> _Copy:
        root = os.path.join(self._home, "etc-open" if network else "etc")
        homes.remove(root)
        copying = _Copying(self._source, root)
        for name in (*_FILES, *_NETWORK_FILES) if network else _FILES:
            copying.file(name)
        for pattern in _DIRECTORIES:
            for name in sorted(glob.glob(pattern, root_dir=self._source)):
                copying.directory(name)
        for name, text in self._accounts.items():
            copying.write(name, text.encode())
        for name in places:
            copying.place(name)
        return _Copy(path=root, places=places, seen=copying.ended())


class _Copying:
    """One copy while it is made; sources are noted before they are read, so that no change goes unseen."""

    def __init__(self, source: str, root: str) -> None:
        self._source = source
        self._root = root
        self._seen = {source: _state(source)}
        self._made = {"": root}
        _make_directory(root)

    def file(self, name: str) -> None:
        content = _public_content(self._note(name))
        if content is not None:
            self.write(name, content)

    def directory(self, name: str) -> None:
        path = self._note(name)
        if not _is_public_directory(path):
            return
        place = self._directory(name)
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_symlink():
                    os.symlink(os.readlink(entry.path), os.path.join(place, entry.name))
                elif entry.is_dir():
                    self.directory(os.path.join(name, entry.name))
                elif entry.is_file():
                    self.file(os.path.join(name, entry.name))

    def place(self, name: str) -> None:
        """Make what the host's file or directory of that name can be mounted on."""
        if os.path.isdir(os.path.join(self._source, name)):
            self._directory(name)
        elif not os.path.lexists(os.path.join(self._root, name)):
            self.write(name, b"")

    def write(self, name: str, content: bytes) -> None:
        place = self._directory(os.path.dirname(name))
        with open(os.path.join(place, os.path.basename(name)), "xb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o444)

    def ended(self) -> tuple[tuple[str, _State], ...]:
        return (*self._seen.items(), *((place, _state(place)) for place in self._made.values()))

    def _note(self, name: str) -> str:
        path = os.path.join(self._source, name)
        self._seen[path] = _state(path)
        return path

    def _directory(self, name: str) -> str:
        """The copy's directory of that name."""
        if name not in self._made:
            self._made[name] = os.path.join(self._directory(os.path.dirname(name)), os.path.basename(name))
            _make_directory(self._made[name])
        return self._made[name]


def _public_content(path: str) -> bytes | None:
    """What is in the file, links followed; None if it is none that everybody may read."""
    try:
        with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
            mode = os.fstat(file.fileno()).st_mode
            return file.read() if stat.S_ISREG(mode) and mode & stat.S_IROTH else None
    except OSError:
        return None


def _is_public_directory(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) and mode & _PUBLIC == _PUBLIC


def _make_directory(path: str) -> None:
    os.mkdir(path)
    os.chmod(path, 0o755)


def _state(path: str) -> _State:
    """What changes when the file does; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
