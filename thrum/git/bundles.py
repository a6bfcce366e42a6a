"""Bundles: commits that come from a sandbox or another host, which we do not trust, and ones that we send.

Refs are not written here (`thrum.git.repository` pins what was imported). Format: gitformat-bundle(5).
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from thrum.errors import GitError
from thrum.files import sync_directory
from thrum.git.program import LONG_WALL_S, run, scratch_git_dir
from thrum.values import dataclass

_LINE_BYTES = 8192
_LINES = 20_000
_OID = rb"[0-9a-f]{40}(?:[0-9a-f]{24})?"
_PREREQUISITE = re.compile(rb"-(" + _OID + rb")(?: .*)?")
_REF = re.compile(rb"(" + _OID + rb") (.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleHeader:
    """What a bundle says of itself: the commit it brings, the commits it needs, where its pack begins."""

    head: str
    needs: tuple[str, ...]
    pack_at: int


def read_header(path: Path, *, limit_bytes: int, object_format: str = "sha1") -> tuple[BundleHeader, int]:
    """The header of a bundle file, and an open descriptor that stands at its pack; the caller closes it.

    The file is opened once and never through a link, so that it is the file that was measured.

    Raises:
        GitError: it is no regular file, larger than `limit_bytes`, or no bundle of exactly one ref.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise GitError(f"the bundle {path} cannot be read: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise GitError(f"the bundle {path} is not a regular file")
        if found.st_size > limit_bytes:
            raise GitError(
                f"the bundle {path} has {found.st_size} bytes, more than the limit of {limit_bytes}",
                remedy="keep large generated files out of commits, or raise `engine.attempt_limit_mb`",
            )
        with os.fdopen(os.dup(descriptor), "rb") as file:
            header = _parse(file, object_format)
        os.lseek(descriptor, header.pack_at, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return header, descriptor


def import_objects(header: BundleHeader, pack: int, *, common_dir: Path, objects: Path, limit_bytes: int) -> None:
    """Bring the objects of a bundle into the store `objects`, if every one of them is sound.

    They are checked in a directory that the repository does not see: that each is well formed by the strictest
    rules of git-fsck(1) (no `.git`, no `..` in a path), and that nothing which `header.head` needs is missing.
    `git fetch` would not do: git 2.39 checks no object of a bundle, whatever `fetch.fsckObjects` says.
    """
    # git prunes old directories of this name: nothing stays for ever if we are killed here.
    with tempfile.TemporaryDirectory(prefix="tmp_objdir-thrum-", dir=objects) as name:
        quarantine = Path(name)
        (quarantine / "info").mkdir()
        (quarantine / "pack").mkdir()
        (quarantine / "info/alternates").write_text(f"{objects}\n")
        variables = {
            "GIT_DIR": str(common_dir),
            "GIT_OBJECT_DIRECTORY": name,
            # A small pack can declare an object of any size; git then asks for that much memory at once.
            "GIT_ALLOC_LIMIT": str(max(4 * limit_bytes, 1 << 30)),
        }
        index = ["index-pack", "--stdin", "--fix-thin", "--strict", f"--max-input-size={limit_bytes}"]
        walk = ["rev-list", "--objects", "--quiet", header.head, "--not", "--all"]
        try:
            try:
                run(index, cwd=common_dir, variables=variables, stdin=pack, wall_s=LONG_WALL_S)
            finally:
                # Also where the pack could not be read: what it builds on may be why.
                _check_commits(header, common_dir, variables)
            run(walk, cwd=common_dir, variables=variables, wall_s=LONG_WALL_S)
        except GitError as error:
            raise GitError(
                f"the bundle was refused: {error.message}",
                command=error.command,
                exit_code_seen=error.exit_code_seen,
                output=error.output,
                remedy=error.remedy,
            ) from error
        _adopt(quarantine / "pack", objects / "pack")


def write_bundle(path: Path, commit: str, *, objects: Path, object_format: str, have: Sequence[str] = ()) -> None:
    """Write a bundle that brings `commit` to a repository that has the commits `have`; replaces `path` at once."""
    partial = path.with_name(f"{path.name}.partial")
    ref = "refs/thrum/bundle"
    with scratch_git_dir(objects, object_format=object_format) as variables:
        run(["update-ref", ref, commit], cwd=path.parent, variables=variables)
        create = ["bundle", "create", "--quiet", str(partial), ref, *(f"^{sha}" for sha in have)]
        run(create, cwd=path.parent, variables=variables, wall_s=LONG_WALL_S)
    os.replace(partial, path)


def _parse(file: BinaryIO, object_format: str) -> BundleHeader:
    lines = _header_lines(file)
    signature = lines[0]
    if signature not in (b"# v2 git bundle", b"# v3 git bundle"):
        raise GitError(f"this is no git bundle: it begins with {signature[:40]!r}")
    needs: list[str] = []
    heads: list[str] = []
    said_format = "sha1"
    for line in lines[1:]:
        if line.startswith(b"@object-format=") and signature.startswith(b"# v3"):
            said_format = line.partition(b"=")[2].decode("ascii", "replace")
        elif match := _PREREQUISITE.fullmatch(line):
            needs.append(match[1].decode())
        elif match := _REF.fullmatch(line):
            heads.append(match[1].decode())
        else:
            raise GitError(f"the bundle has a line that we do not accept: {line[:80]!r}")
    if said_format != object_format:
        raise GitError(f"the bundle has {said_format} objects, the repository {object_format}")
    if len(heads) != 1:
        raise GitError(f"the bundle must bring exactly one ref, not {len(heads)}")
    return BundleHeader(head=heads[0], needs=tuple(needs), pack_at=file.tell())


def _header_lines(file: BinaryIO) -> list[bytes]:
    lines: list[bytes] = []
    while len(lines) < _LINES:
        line = file.readline(_LINE_BYTES)
        if line == b"\n" and lines:
            return lines
        if not line.endswith(b"\n"):
            raise GitError(f"this is no git bundle: its header breaks off after {len(lines)} lines")
        lines.append(line[:-1])
    raise GitError(f"the bundle's header has more than {_LINES} lines")


def _check_commits(header: BundleHeader, common_dir: Path, variables: dict[str, str]) -> None:
    """Refuse a bundle that builds on what is not there, or whose head is there and no commit."""
    asked = "".join(f"{sha}\n" for sha in (*header.needs, header.head)).encode()
    *needs, head = run(["cat-file", "--batch-check"], cwd=common_dir, variables=variables, stdin=asked).text.split("\n")
    missing = [line.split()[0] for line in needs if line.endswith(" missing")]
    if missing:
        raise GitError(f"it builds on commits that are not in the repository: {', '.join(missing[:3])}")
    kind = head.split()[1]
    if kind not in ("commit", "missing"):
        raise GitError(f"{header.head} is a {kind}, not a commit")


def _adopt(source: Path, target: Path) -> None:
    """Move packs into the store; the index comes last, since a pack exists for git once it has one."""
    target.mkdir(exist_ok=True)
    files = sorted(source.iterdir(), key=lambda file: file.suffix == ".idx")
    for file in files:
        os.replace(file, target / file.name)
    sync_directory(target)
