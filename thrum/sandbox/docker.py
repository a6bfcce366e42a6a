"""`docker`: programs in containers of a local docker engine, from an image that the configuration names.

Each job is a `docker run` of its own, as our child, so that limits, output and the end of a run are those of every
sandbox (`thrum.sandbox.process`). Which programs there are is the image's affair; it needs bash and git. As root, jobs
are UID; as an ordinary user who may use the engine, they are that user. The engine itself decides what a container may
do beyond what is asked here, by its own seccomp filter, and whoever may use it is as good as root.

A container ends with us in two ways: its first process sees our pipe end (`thrum.sandbox.container`), and a guard, a
shell of a few lines that outlives us, removes what we leave. A program can get at the first, but not at the second.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from thrum.config import SandboxConfig
from thrum.errors import SandboxError
from thrum.job import Ending, Job, Outcome
from thrum.sandbox import arguments, homes, marks, process, profile
from thrum.sandbox.bubblewrap import ENDS_A_PROGRAM, HOME, UID, USER
from thrum.sandbox.container import FIRST, Container, Feed, Status
from thrum.sandbox.disk import Disk
from thrum.sandbox.endings import ended_by_itself, limit_met, out_of_memory, too_many_processes
from thrum.sandbox.engine import LIFE, OWNER, find_engine
from thrum.sandbox.mounts import Mount, plan, refuse_private

if TYPE_CHECKING:
    from thrum.sandbox.outlet import Outlet

log = logging.getLogger(__name__)

_SCRATCH = ("/tmp", "/var/tmp", "/dev/shm", HOME)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ALLOW_NEEDS_ROOT = "with the sandbox 'docker' an allow list needs root, to whom the network of a container belongs"
_ALLOW_REMEDY = 'start Thrum as root, use backend = "os-native", which does it for every user, or set network = true'

_GUARD = """
read -r done && exit
for pass in 1 2 3; do
    found=$("$0" ps --all --quiet --no-trunc --filter "label=$1") && [ -n "$found" ] && "$0" rm --force --volumes $found
    sleep 1
done
"""
"""Ends when it is told to, or removes what we left: a container that was just being made may come late."""

_LOOK = r"""
IFS=:
shopt -s nullglob
for folder in $PATH; do
    for file in "${folder:-.}"/*; do
        [ "${file:0:1}" != / ] || [ ! -f "$file" ] || [ ! -x "$file" ] || printf 'program %s\n' "$file"
    done
done
for file in passwd group; do
    [ ! -r "/etc/$file" ] || while read -r line; do printf '%s %s\n' "$file" "$line"; done <"/etc/$file"
done
"""
"""What an image has: programs in the order of its PATH, accounts."""
_MOST_LOOKED_AT = 8 << 20


class Docker:
    """The `docker` sandbox; see `thrum.sandbox.Sandbox` for what each method promises."""

    name = "docker"

    def __init__(
        self, config: SandboxConfig, *, name: str, private: tuple[str, ...] = (), mask: tuple[str, ...] = ()
    ) -> None:
        if not config.image:
            raise SandboxError("the sandbox 'docker' needs an image", remedy="set [sandbox] image")
        if (config.allow or config.setup_allow) and os.geteuid() != 0:
            raise SandboxError(_ALLOW_NEEDS_ROOT, remedy=_ALLOW_REMEDY)
        self.uid: int | None = UID if os.geteuid() == 0 else None
        self._config = config
        self._mark = name
        self._private = private
        self._masked = mask
        self._busy = threading.Lock()
        self._disk = Disk.of(config)
        self._life = secrets.token_hex(8)
        self._runs = 0
        self._late = False
        self._programs: dict[str, str | None] = {}
        self._accounts: dict[str, str] = {}
        refuse_private(config.mount_paths, private)
        plan(readable=config.mount_paths, writable=(), private=private)
        self._engine = find_engine()
        self._demand_limits()
        self.image = self._engine.image(config.image)
        marks.sweep_exactly(name)
        self._engine.remove(*self._engine.labelled(OWNER, name))
        self._home = homes.make(name)
        self._filter = self._write_filter()
        self._guard = self._watched()
        try:
            homes.note_containers(self._home, name)
            self._look_inside()
        except BaseException:
            self.close()
            raise
        if gaps := self.describe()["gaps"]:
            log.warning("sandbox 'docker' has gaps", extra={"sandbox": name, "gaps": gaps})

    def run(
        self,
        job: Job,
        *,
        on_output: Callable[[bytes], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Outcome:
        with self._busy, ExitStack() as stack:
            try:
                mounts = plan(
                    readable=(*self._config.mount_paths, *job.readable),
                    writable=job.writable,
                    private=self._private,
                )
                outlet = stack.enter_context(self._outlet(job))
                launch = self._launch(job, mounts, outlet, stack)
            except SandboxError as error:
                remedy = f" ({error.remedy})" if error.remedy else ""
                return Outcome(ending=Ending.NOT_STARTED, reason=f"{error.message}{remedy}")
            except OSError as error:
                return Outcome(ending=Ending.NOT_STARTED, reason=str(error))
            self._remove_late()
            asked = replace(job, stdin_path=f"/proc/self/fd/{launch.feed.reader}")
            began_at = time.time()
            outcome = process.run(launch, asked, on_output=on_output, stop=stop)
            self._disk.ended(launch.disk)
            self._late = outcome.ending is not Ending.EXITED and not launch.status.ready
            outcome = self._judge(outcome, launch, job, began_at)
            return outcome if outlet is None else outlet.tell(outcome)

    def which(self, program: str) -> str | None:
        if program not in self._programs and "/" in program:
            path = os.path.normpath(os.path.join("/", program))
            outcome = self.run(Job(argv=("bash", "-c", '[ -f "$0" ] && [ -x "$0" ]', path), cwd="/", wall_s=60.0))
            if outcome.ending is not Ending.EXITED:
                raise SandboxError(f"docker does not run the image {self._config.image!r}: {outcome.reason}")
            self._programs[program] = path if outcome.ok else None
        return self._programs.get(program)

    def describe(self) -> dict[str, Any]:
        config = self._config
        amounts = {
            "memory": f"{config.memory_limit_mb} MiB, swap included",
            "cpu": f"{config.cpu_limit:g} processors",
            "pids": f"{config.pids_limit} processes",
        }
        limits = {name: f"docker: {amounts[name]}" for name in self._wanted if name in self._engine.binding}
        if config.file_size_limit_mb:
            limits["file_size"] = f"RLIMIT_FSIZE: {config.file_size_limit_mb} MiB"
        limits |= self._disk.describe()
        gaps = [f"the limit on {name} does not bind: the engine cannot set it" for name in self._missing]
        return {
            "backend": self.name,
            "uid": self.uid,
            "limits": limits,
            "gaps": gaps,
            "image": self.image,
            "engine": self._engine.version,
        }

    def close(self) -> None:
        if self._guard.poll() is None and self._guard.stdin and not self._guard.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.write(b"done\n")
                self._guard.stdin.close()
            self._guard.wait()
            try:
                self._remove_late()
            except SandboxError as error:
                log.warning("a container may be left over", extra={"sandbox": self._mark, "why": error.message})
                return
        homes.remove(self._home)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- Opening -------------------------------------------------------------------------------------------------

    @property
    def _wanted(self) -> tuple[str, ...]:
        config = self._config
        limits = (("memory", config.memory_limit_mb), ("cpu", config.cpu_limit), ("pids", config.pids_limit))
        return tuple(name for name, limit in limits if limit)

    @property
    def _missing(self) -> tuple[str, ...]:
        return tuple(name for name in self._wanted if name not in self._engine.binding)

    def _demand_limits(self) -> None:
        if self._missing and self._config.limits == "enforced":
            raise SandboxError(
                f"limits on {', '.join(self._missing)} cannot be enforced by this docker engine",
                remedy='see the warnings of `docker info`; or set [sandbox] limits = "best-effort" to go without',
            )

    def _write_filter(self) -> str:
        """Where our filter of system calls is, for docker to read; empty if the engine's own does."""
        text = profile.profile(os.uname().machine) if profile.needed(self._engine.version) else None
        if text is None:
            return ""
        path = os.path.join(self._home, "seccomp.json")
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
        return path

    def _watched(self) -> subprocess.Popen[bytes]:
        """A guard that removes our containers when we are gone; in a session of its own, to outlive a terminal."""
        return subprocess.Popen(
            ("/bin/sh", "-c", _GUARD, self._engine.client, f"{LIFE}={self._life}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )

    def _look_inside(self) -> None:
        """Try the sandbox out, and find what the image has."""
        image = self._config.image
        argv = ("bash", "-c", _LOOK)
        outcome = self.run(Job(argv=argv, cwd="/", wall_s=120.0, tail_bytes=_MOST_LOOKED_AT))
        if not outcome.ok:
            bare = '"bash"' in outcome.reason and "not found" in outcome.reason
            raise SandboxError(
                f"the image {image!r} has no bash, which checks and Thrum itself need"
                if bare
                else f"docker does not run the image {image!r}: {outcome.reason}",
                output=outcome.tail,
                remedy="add bash and git to the image" if bare else "",
            )
        accounts: dict[str, list[str]] = {"passwd": [], "group": []}
        for line in outcome.tail.splitlines():
            kind, _, text = line.partition(" ")
            if kind == "program":
                self._programs.setdefault(os.path.basename(text), text)
            else:
                accounts[kind].append(text)
        if self.which("git") is None:
            raise SandboxError(
                f"the image {image!r} has no git, which every attempt and check needs",
                remedy="add git to the image (as in: RUN apt-get install -y git)",
            )
        self._write_accounts(accounts)

    def _write_accounts(self, accounts: dict[str, list[str]]) -> None:
        """The image's accounts, and the one that jobs run as: programs look themselves up."""
        uid, gid = self._ids
        own = {"passwd": f"{USER}:x:{uid}:{gid}:Thrum:{HOME}:/bin/sh", "group": f"{USER}:x:{gid}:"}
        os.chmod(self._home, 0o755)
        for file, lines in accounts.items():
            number = str(uid if file == "passwd" else gid)
            kept = [line for line in lines if line.split(":")[2:3] != [number]]
            path = os.path.join(self._home, file)
            with open(path, "x", encoding="utf-8") as out:
                out.writelines(f"{line}\n" for line in (*kept, own[file]))
            os.chmod(path, 0o644)
            self._accounts[f"/etc/{file}"] = path

    # --- Running -------------------------------------------------------------------------------------------------

    @property
    def _ids(self) -> tuple[int, int]:
        return (UID, UID) if self.uid is not None else (os.getuid(), os.getgid())

    def _outlet(self, job: Job) -> AbstractContextManager[Outlet | None]:
        if job.network or not job.allow:
            return contextlib.nullcontext()
        if self.uid is None:
            raise SandboxError(_ALLOW_NEEDS_ROOT, remedy=_ALLOW_REMEDY)
        # Imported here, so that sandboxes without an allow list do not pay for it.
        from thrum.sandbox.outlet import Outlet

        return Outlet(job.allow, mark=self._mark, mask=self._masked)

    def _launch(self, job: Job, mounts: tuple[Mount, ...], outlet: Outlet | None, stack: ExitStack) -> Container:
        stdin = None
        if job.stdin_path:
            with open(job.stdin_path, "rb") as file:
                stdin = file.read()
        environment = {
            "HOME": HOME,
            "TMPDIR": "/tmp",
            "LANG": "C.UTF-8",
            "USER": USER,
            **(outlet.variables if outlet else {}),
            **job.env,
        }
        for name, value in environment.items():
            if not _VARIABLE.fullmatch(name) or "\0" in value:
                raise SandboxError(f"the variable {name!r} cannot be set: its name or its value holds what none may")
        feed = stack.enter_context(Feed(environment, stdin))
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        stack.callback(os.close, reader)
        stack.callback(os.close, writer)
        self._runs += 1
        name = f"thrum-{re.sub(r'[^A-Za-z0-9_.-]', '_', self._mark)}-{self._life}-{self._runs}"
        watch = self._disk.watch(job.writable, lambda: self._first_of(name))
        first = ("-c", FIRST, "bash", str(feed.stdin_bytes), *job.argv)
        return Container(
            argv=(
                *("/bin/sh", "-c", 'exec "$@" 2>"$0"', f"/proc/self/fd/{writer}", self._engine.client),
                *(*self._options(job, name, mounts), self.image, *first),
            ),
            env={**os.environ, marks.MARK: self._mark},
            cwd="/",
            pass_fds=(writer, feed.reader),
            # Docker sets it in the container; from here it is told where it was met.
            rlimits=process.file_size_limit(self._config.file_size_limit_mb),
            mask=self._masked,
            disk=stack.enter_context(watch) if watch else None,
            engine=self._engine,
            name=name,
            status=Status(reader),
            feed=feed,
            outlet=outlet,
        )

    def _options(self, job: Job, name: str, mounts: tuple[Mount, ...]) -> list[str]:
        engine = self._engine
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            mounts = arguments.sealed(mounts, file.read())
        return [
            *("run", "--name", name, "--label", f"{OWNER}={self._mark}", "--label", f"{LIFE}={self._life}"),
            *arguments.isolation(self._ids, network=job.network),
            *(("--security-opt", f"seccomp={self._filter}") if self._filter else ()),
            *arguments.limits(self._config, binding=engine.binding, processors=engine.processors),
            *arguments.shown(mounts, scratch=_SCRATCH, files=self._accounts),
            *("--workdir", job.cwd),
        ]

    def _first_of(self, container: str) -> int | None:
        """Its first process, as long as it runs."""
        try:
            return self._engine.process(container)
        except SandboxError:
            return None

    def _remove_late(self) -> None:
        """Remove what an engine finished to make only after the run it was for had been given up."""
        if self._late:
            self._engine.remove(*self._engine.labelled(LIFE, self._life))
            self._late = False

    def _judge(self, outcome: Outcome, launch: Container, job: Job, began_at: float) -> Outcome:
        """The outcome of the program, from that of docker's client."""
        if outcome.ending is not Ending.EXITED:
            return outcome
        status, image = launch.status, self._config.image
        if status.missing:
            reason = f"there is no program {job.argv[0]!r} in the sandbox (the image {image!r})"
            return replace(outcome, ending=Ending.NOT_FOUND, exit_code=None, signal=None, reason=reason)
        if not status.began:
            reason = status.complaint or f"docker: {outcome.reason}"
            return replace(outcome, ending=Ending.NOT_STARTED, exit_code=None, signal=None, reason=reason)
        number = outcome.signal or ((outcome.exit_code or 0) - 128)
        if number in ENDS_A_PROGRAM:
            reason, limit = ended_by_itself(launch, None, number), limit_met(launch, number)
            outcome = replace(outcome, exit_code=None, signal=number, reason=reason, limit=limit)
        if outcome.ok or (launch.disk and launch.disk.reason):
            return outcome
        hits = status.hits
        # With scratch space full, the first process itself may get no more memory to tell of it.
        if hits[0] if hits else self._engine.ran_out_of_memory(launch.name, began_at):
            return out_of_memory(outcome, self._config)
        if hits is None:
            return replace(outcome, reason=f"the container ended before its program; {outcome.reason}")
        if hits[1]:
            return too_many_processes(outcome, self._config)
        return outcome
