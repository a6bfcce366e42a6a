"""A work tree for agents or checks: made to match a commit, lent to untrusted programs, harvested.

What a program could have planted in the tree (configuration, hooks, filters) must never run outside a
sandbox. So no git command runs on the tree from outside: what must be done outside is done to single files,
by hand and without following links; everything else is a job in the sandbox, like the program itself.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from thrum.errors import GitError, SandboxError
from thrum.files import remove_tree
from thrum.git.program import LONG_WALL_S, environment, git_dir_config, write_git_dir
from thrum.git.repository import Repository
from thrum.job import Ending, Job, Outcome
from thrum.sandbox import Sandbox
from thrum.values import dataclass

log = logging.getLogger(__name__)

BRANCH = "work"
"""The branch that an agent finds itself on."""

AGENT = {"name": "Thrum agent", "email": "agent@thrum.invalid"}

CACHES = (
    *("__pycache__/", "*.py[co]", "*.egg-info/", ".pytest_cache/", ".mypy_cache/", ".ruff_cache/", ".hypothesis/"),
    *(".tox/", ".nox/", ".coverage", ".dmypy.json"),
)
"""What runs of tests and linters leave, in gitignore's form: where it is neither tracked nor added on purpose it is
nobody's work. Committed, most of it is protected: tools believe it without a look at its source."""

BEYOND_USE = "git-beyond-use"
"""Where the latest git directory lies that no harvest could be made with."""

_BUNDLE = "harvest.bundle"

_PREPARE = """
set -e
git reset --hard --quiet "$1"
[ -z "$2" ] || git read-tree --reset -u "$2"
git clean -ffdxq
"""

# Exit code 3 means that the git directory is beyond use. The configuration is put back first, so that a filter
# or hook of the agent's has no part in its own harvest; commits are made by plumbing, which asks no hook.
_HARVEST = """
base=$1 start=$2 out=$3 objects=$4 config=$5 message=$6 leaves=$7
git=.git
[ -d $git ] && [ ! -L $git ] || exit 3
find $git \\( -name '*.lock' -type f -o ! -type f ! -type d ! -type l \\) -exec rm -f {} +
rm -rf "$out/harvest.bundle" "$out/harvest.bundle.lock" $git/config $git/config.worktree $git/commondir $git/shallow \\
    $git/info $git/objects/info $git/refs/replace
mkdir -p $git/refs $git/objects/info $git/info && printf %s "$leaves" >$git/info/exclude || exit 3
printf %s "$config" >$git/config && printf '%s\\n' "$objects" >$git/objects/info/alternates || exit 3
[ -f $git/index ] || git read-tree "$start" || exit 3
git add --all --ignore-errors . && added=all || added=part
tree=$(git write-tree) || exit 3
trees() { git rev-parse --verify --quiet "$1^{commit}" && git rev-parse "$1^{tree}" "$start^{tree}"; }
known=$(trees HEAD) || known=$(trees "$base") || exit 3
set -- $known
head=$1
if [ "$tree" = "$3" ]; then
    aside=$(git for-each-ref --format='%(refname:lstrip=2)' --no-merged "$head" refs/heads | tr '\\n' ' ')
    echo "thrum-harvest $base nothing $added $aside"
    exit 0
fi
[ "$tree" = "$2" ] || head=$(git commit-tree "$tree" -p "$head" -m "$message") || exit 3
git merge-base --is-ancestor "$base" "$head" || head=$(git commit-tree "$tree" -p "$base" -m "$message") || exit 3
git update-ref refs/thrum/harvest "$head" || exit 3
git bundle create --quiet "$out/harvest.bundle" refs/thrum/harvest "^$base" || exit 3
echo "thrum-harvest $head bundle $added "
"""
_HARVESTED = re.compile(r"thrum-harvest ([0-9a-f]{40,64}) (bundle|nothing) (all|part) (.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvest:
    """What a program left: the commit that holds all of it, and the bundle that brings it, empty if nothing changed.

    `reason` tells a person what was odd about it; usually empty.
    """

    head: str
    bundle: str = ""
    reason: str = ""


class Workspace:
    """A warm work tree of the repository `source` below `directory`, for one owner at a time.

    `tree` is what programs may write; `readable` they must be able to read, or git fails in there. The objects
    of `source` are shared (as with `git clone --shared`), never linked or copied.
    """

    def __init__(self, directory: str | Path, source: str | Path, sandbox: Sandbox) -> None:
        self.directory = Path(directory).absolute()
        self.tree = self.directory / "tree"
        self._state = self.directory / "state"
        self._repository = Repository(source, "")
        self._sandbox = sandbox

    @property
    def readable(self) -> tuple[str, ...]:
        """The object directories that the tree depends on; bind them read-only into each job that runs in it."""
        return tuple(str(directory) for directory in _object_directories(self._repository.objects))

    def prepare(self, commit: str, *, tree: str = "") -> None:
        """Make the tree exactly that of `commit`, with nothing else in it; or with the files of `tree` (any tree-ish).

        HEAD is then at `commit` on a branch of its own, and what `tree` adds is staged. Whatever was in the tree
        is gone: commits, branches, ignored files. If it cannot be reset it is made anew.

        Raises:
            SandboxError: the sandbox, or git inside of it, is not there.
            GitError: also a new tree could not be filled.
        """
        self._state.mkdir(parents=True, exist_ok=True)
        # By root alone when we are root: what lies here decides what counts as unchanged.
        self._state.chmod(0o700)
        outcome = self._reset(commit, tree)
        if not outcome.ok and outcome.ending not in (Ending.NOT_STARTED, Ending.NOT_FOUND):
            log.warning(
                "a work tree could not be reset; it is made anew",
                extra={"tree": str(self.tree), "reason": outcome.reason, "tail": outcome.tail},
            )
            remove_tree(self.tree)
            self._index.unlink(missing_ok=True)
            outcome = self._reset(commit, tree)
        self._demand(outcome, f"the work tree {self.tree} could not be set to {tree or commit}")
        self._keep_index()

    def harvest(
        self,
        base: str,
        out_dir: str | Path,
        *,
        start: str = "",
        message: str = "Changes left uncommitted",
        leaves: tuple[str, ...] = (),
    ) -> Harvest:
        """Commit what is uncommitted and write everything since `base` as a bundle into `out_dir`.

        `start` (a commit or tree, `base` if empty) is what the program started from: a tree that equals it is no
        change. Works whatever the program did to the clone, and after a harvest that was killed: locks that were left
        are removed, a head that does not descend from `base` is squashed onto it, and if the git directory is beyond
        use it is set aside, and the files are committed as they lie. New files that `.gitignore` excludes are not part
        of it, nor those that `CACHES` or a pattern of `leaves` (of the same form) does: what a program leaves beside
        its work.

        Raises:
            SandboxError: the sandbox, or git inside of it, is not there.
            GitError: the files could not be committed either.
        """
        out = Path(out_dir).absolute()
        out.mkdir(parents=True, exist_ok=True)
        self._give(out)
        reasons = []
        outcome = self._gather(base, out, start or base, message, leaves)
        if outcome.exit_code == 3:
            reasons.append("its git directory was beyond use, so its files were committed as they lay")
            self._set_git_dir_aside()
            self._write_git_dir(base)
            outcome = self._gather(base, out, start or base, message, leaves)
        self._demand(outcome, f"the work in {self.tree} could not be committed")
        said = _HARVESTED.fullmatch(outcome.tail.rstrip("\n").rpartition("\n")[2])
        if said is None:
            raise GitError(f"the work in {self.tree} could not be committed", output=outcome.tail)
        head, what, added, aside = said.groups()
        if added == "part":
            reasons.append(f"git could not add all files: {outcome.tail.strip().splitlines()[0][:200]}")
        if what == "nothing" and aside.strip():
            reasons.append(f"nothing changed, but there are commits on other branches: {aside.strip()}")
        bundle = str(out / _BUNDLE) if what == "bundle" else ""
        return Harvest(head=head, bundle=bundle, reason="; ".join(reasons))

    # --- Outside, by hand ------------------------------------------------------------------------------------

    @property
    def _index(self) -> Path:
        return self._state / "index"

    def _set_git_dir_aside(self) -> None:
        """Keep the git directory that could not be used: the disk may be at fault, and its commits good."""
        aside, git_dir = self.directory / BEYOND_USE, self.tree / ".git"
        if not self.tree.is_symlink() and git_dir.is_dir() and not git_dir.is_symlink():
            remove_tree(aside)
            os.rename(git_dir, aside)

    def _write_git_dir(self, commit: str) -> None:
        """Replace whatever is at `tree/.git`, of which nothing may be believed, by a fresh git directory."""
        git_dir = self.tree / ".git"
        if self.tree.is_symlink():
            self.tree.unlink()
        self.tree.mkdir(exist_ok=True)
        self.tree.chmod(0o755)
        remove_tree(git_dir)
        write_git_dir(
            git_dir,
            object_format=self._repository.object_format,
            alternate=self._repository.objects,
            bare=False,
            user=AGENT,
            branch=BRANCH,
            commit=commit,
        )
        # Programs that commit by themselves leave caches out as we do.
        (git_dir / "info").mkdir()
        (git_dir / "info/exclude").write_text(_lines(CACHES))
        self._give(self.tree)
        self._give_all(git_dir)

    def _put_index_back(self) -> None:
        if not self._index.exists():
            return
        index = self.tree / ".git/index"
        index.write_bytes(self._index.read_bytes())
        # git takes a file that is not older than the index for suspicious, and compares its content: all are
        # newer than this. Otherwise one of the same size, with its time set back, could pass as unchanged.
        os.utime(index, (1, 1))
        self._give(index)

    def _keep_index(self) -> None:
        """Keep the index that git has just written, before anything untrusted runs."""
        descriptor = os.open(self.tree / ".git/index", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise GitError(f"the index of {self.tree} is not a file")
            partial = self._index.with_suffix(".partial")
            partial.write_bytes(file.read())
        os.replace(partial, self._index)

    def _give(self, path: Path) -> None:
        """Hand a file or directory to the user that jobs run as."""
        uid = self._sandbox.uid
        if uid is not None and uid != os.getuid():
            os.lchown(path, uid, uid)

    def _give_all(self, directory: Path) -> None:
        self._give(directory)
        for parent, directories, files in os.walk(directory):
            for name in (*directories, *files):
                self._give(Path(parent, name))

    # --- Inside ----------------------------------------------------------------------------------------------

    def _reset(self, commit: str, tree: str) -> Outcome:
        self._write_git_dir(commit)
        self._put_index_back()
        return self._inside(_PREPARE, commit, tree)

    def _gather(self, base: str, out: Path, start: str, message: str, leaves: tuple[str, ...]) -> Outcome:
        config = git_dir_config(object_format=self._repository.object_format, bare=False, user=AGENT)
        objects = str(self._repository.objects)
        arguments = (base, start, str(out), objects, config, message, _lines((*CACHES, *leaves)))
        return self._inside(_HARVEST, *arguments, writable=(str(out),))

    def _inside(self, script: str, *arguments: str, writable: tuple[str, ...] = ()) -> Outcome:
        variables = {
            "GIT_DIR": str(self.tree / ".git"),
            "GIT_WORK_TREE": str(self.tree),
            "GIT_AUTHOR_NAME": AGENT["name"],
            "GIT_AUTHOR_EMAIL": AGENT["email"],
            "GIT_COMMITTER_NAME": AGENT["name"],
            "GIT_COMMITTER_EMAIL": AGENT["email"],
        }
        # Nothing in here must outlive a crash of the machine: the bundle is synced when it is imported.
        env = environment(config={"core.fsync": "none"}, variables=variables)
        env.pop("HOME")
        job = Job(
            argv=("sh", "-c", script, "sh", *arguments),
            cwd=str(self.tree),
            env=env,
            writable=(str(self.tree), *writable),
            readable=self.readable,
            wall_s=LONG_WALL_S,
        )
        return self._sandbox.run(job)

    def _demand(self, outcome: Outcome, message: str) -> None:
        if outcome.ok:
            return
        missing = outcome.ending in (Ending.NOT_STARTED, Ending.NOT_FOUND) or outcome.exit_code == 127
        kind, remedy = (SandboxError, "the sandbox must have sh and git") if missing else (GitError, "")
        raise kind(
            f"{message}: {outcome.reason}",
            command=("sh",),
            exit_code_seen=outcome.exit_code,
            output=outcome.tail,
            remedy=remedy,
        )


def _lines(patterns: Sequence[str]) -> str:
    return "".join(f"{pattern}\n" for pattern in patterns)


def _object_directories(first: Path) -> list[Path]:
    """An object directory and those that it borrows from, and they borrow from (git stops at five)."""
    found = [first]
    for directory in found:
        file = directory / "info/alternates"
        lines = file.read_text().split("\n") if file.is_file() and len(found) < 8 else []
        for line in lines:
            borrowed = Path(os.path.normpath(directory / line))
            if line and not line.startswith("#") and borrowed not in found and borrowed.is_dir():
                found.append(borrowed)
    return found
