"""What there is to get at around a sandbox: secrets, files, sockets and processes, all open to everybody by their mode.

Only walls hold here, never permissions: files are 0666 and processes have the user id that jobs run as.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import secrets
import select
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.escapes import Attempt
from tests.requirements import IMAGE
from tests.waiting import DEADLINE_S
from thrum.config import SandboxConfig
from thrum.job import Job, Outcome
from thrum.sandbox import Sandbox, open_sandbox

_MARK = f"mark-{os.getpid()}-"
"""What attempts of this process leave has it in its name: other processes may be running tests, too."""

_WHOLE_BYTES = 64 << 20
"""Of the output all is looked at: on a machine with many processes a secret is not at the end of what they show."""

PREAMBLE = """
import ctypes, errno, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
machine = {"x86_64": 0, "aarch64": 1, "riscv64": 1}[os.uname().machine]
def call(numbers, *arguments):
    ctypes.set_errno(0)
    told = libc.syscall(*(ctypes.c_long(one) for one in (numbers[machine], *arguments)))
    return errno.errorcode.get(ctypes.get_errno(), "done") if told == -1 else "done"
def say():
    print("got out:", env["MARK"], flush=True)
env = os.environ
"""
"""What python scripts may use. `call((x86_64, the others), ...)` is a system call, `done` or the name of its error."""

_VICTIM = """trap 'echo here' USR1; echo here; while :; do sleep 600 & wait; done # "$0" """
"""Says that it is there at its beginning, and whenever it is asked by a signal."""

SHELL = 'say() { echo "got out: $MARK"; }\n'


class World:
    """The surroundings of one sandbox, and the sandbox itself."""

    def __init__(self, root: Path, backend: str, stack: ExitStack) -> None:
        self.root = root
        self.secret = f"secret-{secrets.token_hex(12)}"
        self.heard: list[bytes] = []
        self._news = threading.Condition()
        self._doors: list[tuple[socket.socket, object]] = []
        self._shared = Path("/dev/shm", f"thrum-escape-{secrets.token_hex(4)}")
        self._shared.write_text(self.secret)
        stack.callback(self._shared.unlink)
        project = root / "project"
        state = project / ".thrum"
        work = state / "work/demo"
        self.tree = work / "slot-0/clone/tree"
        self._files = {
            "HOST_KEY": root / "home/.ssh/id_ed25519",
            "OUTSIDE": root / "outside/target",
            "CONFIG": project / "configs/pipeline.toml",
            "TOKEN": state / "token",
            "STORE": state / "store/demo/000003.log",
            "OTHER_SLOT": work / "slot-1/clone/tree/file",
            "SESSION": work / "sessions/demo-7/claude/session.json",
            "SETUP": work / "setup-agents/3f/bin/tool",
            "PROMPT": work / "slot-0/out/prompt.md",
        }
        harmless = ("OUTSIDE", "CONFIG", "SETUP", "PROMPT")
        self.tree.mkdir(parents=True)
        for name, path in self._files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("as it was\n" if name in harmless else f"{self.secret}\n")
        (root / "run").mkdir()
        for path in root.rglob("*"):
            path.chmod(0o777 if path.is_dir() else 0o666)
        config = SandboxConfig(backend=backend, image=IMAGE, limits="best-effort", mount_paths=(str(project),))  # type: ignore[arg-type]
        name = f"test-escapes-{os.getpid()}-{secrets.token_hex(4)}"
        self.sandbox: Sandbox = stack.enter_context(open_sandbox(config, name=name, private=(str(state),)))
        if self.sandbox.uid is not None:
            os.chown(self.tree, self.sandbox.uid, self.sandbox.uid)
        self._stack = stack
        self.facts = {
            **{key: str(path) for key, path in self._files.items()},
            "TREE": str(self.tree),
            "SHARED": str(self._shared),
            "SHM_KEY": str(self._system_v()),
            **self._listeners(),
        }
        self._leak = os.open(self._files["TOKEN"], os.O_RDONLY)
        os.set_inheritable(self._leak, True)
        stack.callback(os.close, self._leak)

    @contextmanager
    def victim(self) -> Iterator[subprocess.Popen[bytes]]:
        """A process outside with the user id of jobs, with secrets in its environment, arguments and descriptors."""
        uid = self.sandbox.uid
        argv = ("sh", "-c", _VICTIM, f"--key={self.secret}")
        ids = {} if uid is None else {"user": uid, "group": uid, "extra_groups": ()}
        with self._files["TOKEN"].open("rb") as file:
            process = subprocess.Popen(
                argv,
                stdin=file,
                stdout=subprocess.PIPE,
                bufsize=0,
                cwd="/",
                env={"PATH": os.defpath, "KEY": self.secret},
                start_new_session=True,
                **ids,
            )  # type: ignore[call-overload]
        with process:
            try:
                process.stdout.readline()
                yield process
            finally:
                os.killpg(process.pid, signal.SIGKILL)

    def attempt(self, attempt: Attempt) -> tuple[Outcome, list[str]]:
        """Have it tried; how the run ended, and how it got out, if it did."""
        mark = f"{_MARK}{secrets.token_hex(6)}"
        head = PREAMBLE if attempt.python else SHELL
        argv = ("python3", "-c") if attempt.python else ("sh", "-c")
        with self.victim() as victim:
            before, self.heard[:] = self._state(), []
            facts = {**self.facts, "MARK": mark, "VICTIM": str(victim.pid)}
            env = {key: value.replace("$TREE", str(self.tree)) for key, value in attempt.env.items()}
            job = Job(
                # The mark is an argument, too, so that whoever outlives the run is found by it.
                argv=(*argv, head + attempt.script, mark),
                cwd=str(self.tree),
                env={**facts, **env},
                writable=(str(self.tree),),
                readable=(str(self._files["SETUP"].parent.parent), str(self._files["PROMPT"])),
                allow=(f"127.0.0.1:{facts['LISTED']}",) if attempt.allow else (),
                wall_s=120.0,
                tail_bytes=_WHOLE_BYTES,
            )
            outcome = self.sandbox.run(job)
            found = list(self._escaped(mark, outcome, victim, before))
        for pid in outlived(mark):
            os.kill(pid, signal.SIGKILL)
        Path("/dev/shm", mark).unlink(missing_ok=True)
        return outcome, found

    def _escaped(
        self, mark: str, outcome: Outcome, victim: subprocess.Popen[bytes], before: Mapping[str, str]
    ) -> Iterator[str]:
        if self.secret in outcome.tail:
            yield "a secret of the host is in the output"
        if f"got out: {mark}" in outcome.tail:
            yield "the kernel did it"
        after = self._state()
        if changed := sorted(key for key in before.keys() | after if before.get(key) != after.get(key)):
            yield f"changed outside: {', '.join(changed)}"
        self._listened()
        if any(mark.encode() in one for one in self.heard):
            yield "a listener outside heard of it"
        if not _answers(victim):
            yield "a process outside was signalled"
        if outlived(mark):
            yield "a process outlived its run"
        if self.sandbox.uid is not None:
            strangers = [path for path in self.tree.rglob("*") if path.lstat().st_uid != self.sandbox.uid]
            if strangers:
                yield f"files of somebody else: {strangers}"

    def _state(self) -> dict[str, str]:
        """Everything outside of the work tree, by path."""
        found = {}
        for parent, directories, files in os.walk(self.root):
            directories[:] = [name for name in directories if Path(parent, name) != self.tree]
            for name in (*directories, *files):
                path = Path(parent, name)
                told = path.lstat()
                kept = path.read_bytes() if stat.S_ISREG(told.st_mode) else b""
                digest = hashlib.sha256(kept).hexdigest()
                found[str(path)] = f"{told.st_mode} {told.st_uid} {told.st_nlink} {told.st_mtime_ns} {digest}"
        return found | {str(path): "" for path in Path("/dev/shm").glob(f"{_MARK}*")}

    def _listeners(self) -> dict[str, str]:
        """Sockets of every kind that take whatever comes, and how they are reached."""
        bus = str(self.root / "run/broker.ipc")
        hidden = f"thrum-{secrets.token_hex(6)}"
        facts = {"BUS": bus, "ABSTRACT": hidden}
        for name in ("PORT", "LISTED"):
            facts[name] = str(self._listen(socket.AF_INET, ("0.0.0.0", 0)).getsockname()[1])
        for address in (bus, f"\0{hidden}"):
            self._listen(socket.AF_UNIX, address)
        os.chmod(bus, 0o777)
        if os.path.exists("/proc/net/if_inet6"):
            facts["PORT6"] = str(self._listen(socket.AF_INET6, ("::1", 0)).getsockname()[1])
        datagrams = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams.bind(("0.0.0.0", 0))
        self._doors.append((datagrams, datagrams.getsockname()))
        facts["UDP"] = str(datagrams.getsockname()[1])
        threading.Thread(target=self._hear, args=(datagrams,), daemon=True).start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("198.51.100.1", 9))
                facts["ADDRESS"] = probe.getsockname()[0]
            except OSError:
                facts["ADDRESS"] = "127.0.0.2"
        return facts

    def _listen(self, family: int, address: object) -> socket.socket:
        server = self._stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        server.bind(address)  # type: ignore[arg-type]
        server.listen()
        self._doors.append((server, server.getsockname()))
        threading.Thread(target=self._take, args=(server,), daemon=True).start()
        return server

    def _take(self, server: socket.socket) -> None:
        try:
            while True:
                client, _ = server.accept()
                # One that goes without waiting for an answer must not be the last.
                with client, contextlib.suppress(OSError):
                    client.settimeout(20)
                    self._hear(client, once=True)
                    client.sendall(b"HTTP/1.0 200 OK\r\n\r\nwelcome\n")
        except OSError:
            return

    def _listened(self) -> None:
        """Wait until each listener has taken in all that was sent before: they take one after the other."""
        for door, address in self._doors:
            last = f"last-{secrets.token_hex(6)}".encode()
            with socket.socket(door.family, door.type) as one:
                one.connect(address)  # type: ignore[arg-type]
                one.sendall(last)
                with self._news:
                    assert self._news.wait_for(lambda last=last: last in self.heard, timeout=DEADLINE_S), (
                        "a listener is gone"
                    )

    def _hear(self, one: socket.socket, *, once: bool = False) -> None:
        try:
            while data := one.recv(4096):
                with self._news:
                    self.heard.append(data)
                    self._news.notify_all()
                if once:
                    return
        except OSError:
            return

    def _system_v(self) -> int:
        """The key of a shared memory segment that holds the secret."""
        library = ctypes.CDLL(None, use_errno=True)
        library.shmat.restype = ctypes.c_void_p
        key = secrets.randbelow(1 << 30) + 1
        segment = library.shmget(key, 4096, 0o1666)
        assert segment >= 0
        self._stack.callback(library.shmctl, segment, 0, None)
        address = library.shmat(segment, None, 0)
        ctypes.memmove(address, self.secret.encode(), len(self.secret))
        library.shmdt(ctypes.c_void_p(address))
        return key


def _answers(victim: subprocess.Popen[bytes]) -> bool:
    """Whether it still goes on: a signal that it was sent before would be there before the one that asks it."""
    if victim.poll() is None:
        victim.send_signal(signal.SIGUSR1)
    said = select.poll()
    said.register(victim.stdout, select.POLLIN)  # type: ignore[arg-type]
    for _ in range(int(DEADLINE_S / 0.05)):
        if victim.poll() is not None or _status(victim.pid, "State").startswith("T"):
            return False
        if said.poll(50):
            return True
    raise AssertionError(f"it neither goes on nor is gone: {_status(victim.pid, 'State')}")


def outlived(mark: str) -> list[int]:
    """The living processes with this mark among their arguments."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if mark.encode() in Path("/proc", pid, "cmdline").read_bytes() and _status(int(pid), "State")[:1] != "Z":
                found.append(int(pid))
        except OSError:
            continue
    return found


def _status(pid: int, name: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""
