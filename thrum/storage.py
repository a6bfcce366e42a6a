"""Stores on disk: a `thrum.store.Store` over LevelDB, opened with care, looked into and set aside.

The only module that knows LevelDB. It never repairs: what fails its check is moved away as it is.
"""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import plyvel

from thrum.batch import Verification
from thrum.errors import StoreDamagedError, StoreError, StoreInUseError
from thrum.files import sync_directory
from thrum.store import Store, verify

log = logging.getLogger(__name__)

_RETRY_S = 0.02
_SEE_TO_THE_DISK = "see to the disk (space, permissions, health) and start again; what was acknowledged is safe"


def open_store(path: Path, *, repo: str, create: bool = True, deadline_s: float = 0.0, epoch: str = "") -> Store:
    """The store of a repository in the directory `path`, locked for this process until it is closed.

    Without one there, it is made, unless `create` is False. `epoch` as for `Store`. One that another process
    holds is waited for up to `deadline_s`.

    Raises:
        StoreInUseError: another process still holds it at the deadline.
        StoreDamagedError: it fails its check; `set_aside` moves it away.
        StoreError: it cannot be used for a reason outside of it: no space, no permission, a newer format,
            another repository's, none there.
    """
    rows = _lock(path, create, time.monotonic() + deadline_s)
    try:
        return Store(rows, repo=repo, epoch=epoch)
    except BaseException:
        rows.close()
        raise


def examine(path: Path) -> Verification:
    """Verify a store that nobody has open, even one that no longer opens, without changing a byte of it.

    Of one that does not open, LevelDB is then asked for what it can still read, and the chain of hashes says
    how far that is whole; `first_bad_seq` is the first event that may be lost.

    Raises:
        StoreError: there is none at `path`, or no space to copy it.
    """
    if not path.is_dir():
        raise StoreError(f"there is no store at {path}")
    try:
        return _verify_copy(path, paranoid=True)
    except StoreDamagedError as error:
        # What names a file of the copy helps nobody.
        problem = re.sub(r"\S*/thrum-examine-[^/]*/store/", "", error.message)
    try:
        found = _verify_copy(path, paranoid=False)
    except StoreDamagedError:
        found = Verification(ok=False)
    first_bad = found.first_bad_seq or found.events + 1
    return replace(found, ok=False, problem=problem, first_bad_seq=first_bad)


def _verify_copy(path: Path, *, paranoid: bool) -> Verification:
    """What verifying a copy says; the copy, as LevelDB writes even when it only opens."""
    with tempfile.TemporaryDirectory(prefix="thrum-examine-") as scratch, _translated(str(path)):
        copy = Path(scratch, "store")
        # LOCK is left out as closing a file drops all of this process's locks on it (POSIX).
        shutil.copytree(path, copy, ignore=shutil.ignore_patterns("LOCK"))
        with closing(LevelRows(copy, create=False, paranoid=paranoid, name=str(path))) as rows:
            return verify(rows)


def set_aside(path: Path, *, at: float) -> Path:
    """Rename a damaged store to `NAME.damaged-TIME` (UTC of the Unix time `at`) and return where it is now."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    target = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
    path.rename(target)
    sync_directory(path.parent)
    log.error("a damaged store was set aside", extra={"store": str(path), "now_at": str(target)})
    return target


class LevelRows:
    """`thrum.store.Rows` in a LevelDB directory, which this process alone may open until `close`."""

    def __init__(self, path: Path, *, create: bool, paranoid: bool = True, name: str = "") -> None:
        """Open them; `paranoid` refuses what LevelDB else leaves out in silence. `name` is for messages.

        Raises:
            StoreError: as for `open_store`.
        """
        self.name = name or str(path)
        with _translated(self.name):
            if not (path / "CURRENT").exists():
                _refuse_headless(path)
                if not create:
                    # LevelDB would leave an empty directory behind.
                    raise StoreError(f"there is no store at {path}")
                _make_directory(path)
            self._db = plyvel.DB(str(path), create_if_missing=create, paranoid_checks=paranoid)

    def get(self, key: bytes) -> bytes | None:
        with _translated(self.name):
            value: bytes | None = self._db.get(key, verify_checksums=True)
        return value

    def scan(self, prefix: bytes, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        # `prefix` of plyvel cannot be combined with a start.
        stop = prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else None
        with (
            _translated(self.name),
            closing(
                self._db.iterator(
                    start=max(prefix, after),
                    stop=stop,
                    include_start=not after,
                    verify_checksums=True,
                )
            ) as rows,
        ):
            yield from rows

    def write(self, changes: Mapping[bytes, bytes | None], *, sync: bool) -> None:
        rows = self._db.write_batch(transaction=True, sync=sync)
        for key, value in changes.items():
            if value is None:
                rows.delete(key)
            else:
                rows.put(key, value)
        try:
            rows.write()
        except plyvel.Error as error:
            raise StoreError(
                f"{self.name}: the write failed, and this process must end: {_text(error)}",
                remedy=_SEE_TO_THE_DISK,
            ) from error

    def close(self) -> None:
        self._db.close()


def _lock(path: Path, create: bool, deadline: float) -> LevelRows:
    while True:
        try:
            return LevelRows(path, create=create)
        except StoreInUseError:
            if time.monotonic() >= deadline:
                raise
        # Locks of this kind cannot be waited for.
        time.sleep(_RETRY_S)


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """LevelDB's errors as ours, told apart by who must act."""
    try:
        yield
    except plyvel.CorruptionError as error:
        raise StoreDamagedError(
            f"{name} is damaged: {_text(error)}", remedy="`thrum check` says how much of it is whole"
        ) from error
    except plyvel.Error as error:
        text = _text(error)
        if text.startswith("IO error: lock "):
            raise StoreInUseError(
                f"{name} is in use by another process", remedy="wait for it to end, or stop it"
            ) from error
        if text.endswith("No such file or directory"):
            raise StoreDamagedError(f"{name} is damaged: {text}") from error
        raise StoreError(f"{name} cannot be used: {text}", remedy=_SEE_TO_THE_DISK) from error
    except OSError as error:
        raise StoreError(f"{name} cannot be used: {error}", remedy=_SEE_TO_THE_DISK) from error


def _text(error: plyvel.Error) -> str:
    raw = error.args[0] if error.args else ""
    return raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)


def _refuse_headless(path: Path) -> None:
    """LevelDB takes a directory without its CURRENT file for an empty one, and deletes what is in it."""
    if any(path.glob("*.log")) or any(path.glob("*.ldb")) or any(path.glob("*.sst")):
        raise StoreDamagedError(f"{path} is damaged: its file CURRENT is missing")


def _make_directory(path: Path) -> None:
    """Make the directory and its parents so that they are still there after a crash."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_directory(folder.parent)
