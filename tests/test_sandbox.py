"""Sandboxes against programs that mean ill: real processes, real namespaces, real limits."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.requirements import IMAGE, missing, needs
from tests.waiting import until
from thrum.config import SandboxConfig
from thrum.errors import SandboxError
from thrum.job import Ending, Job, Outcome
from thrum.sandbox import Sandbox, marks, open_sandbox, process, sweep
from thrum.sandbox.bubblewrap import HOME, UID
from thrum.sandbox.mounts import Access, Mount, plan
from thrum.sandbox.process import StopEvent

AS_ROOT = os.geteuid() == 0
LIMITED = SandboxConfig(memory_limit_mb=96, pids_limit=40, file_size_limit_mb=1)
BARELY = SandboxConfig(memory_limit_mb=0, pids_limit=0, file_size_limit_mb=1)
UNLIMITED = SandboxConfig(memory_limit_mb=0, pids_limit=0, file_size_limit_mb=0)


@dataclass
class Room:
    """A sandbox with a directory in which its jobs may write."""

    sandbox: Sandbox
    work: Path

    def run(self, script: str, *, stop: threading.Event | None = None, **settings: Any) -> Outcome:
        return self.program("sh", "-c", script, stop=stop, **settings)

    def program(
        self,
        *argv: str,
        stop: threading.Event | None = None,
        on_output: Callable[[bytes], None] | None = None,
        **settings: Any,
    ) -> Outcome:
        told = {"cwd": str(self.work), "writable": (str(self.work),), "wall_s": 60.0, **settings}
        return self.sandbox.run(Job(argv=argv, **told), stop=stop, on_output=on_output)

    def python(self, script: str, **settings: Any) -> Outcome:
        return self.program("/usr/bin/python3", "-c", script, **settings)


def new_name() -> str:
    return f"test-{os.getpid()}-{secrets.token_hex(4)}"


def make_room(tmp_path: Path, config: SandboxConfig, private: tuple[str, ...] = ()) -> Room:
    return with_work(open_sandbox(config, name=new_name(), private=private), tmp_path)


def with_work(sandbox: Sandbox, tmp_path: Path) -> Room:
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    if sandbox.uid is not None:
        os.chown(work, sandbox.uid, sandbox.uid)
    return Room(sandbox, work)


def kept(config: SandboxConfig) -> Iterator[Sandbox]:
    """Opened once for all tests, as for all jobs of its owner: each time takes as long as a run."""
    with open_sandbox(config, name=new_name()) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def none() -> Iterator[Sandbox]:
    yield from kept(replace(BARELY, backend="none"))


@pytest.fixture(scope="module")
def native() -> Iterator[Sandbox]:
    yield from kept(BARELY)


@pytest.fixture(scope="module")
def docker() -> Iterator[Sandbox]:
    yield from kept(replace(BARELY, backend="docker", image=IMAGE))


@pytest.fixture(scope="module")
def unlimited() -> Iterator[Sandbox]:
    yield from kept(UNLIMITED)


@pytest.fixture(scope="module")
def tight() -> Iterator[Sandbox]:
    yield from kept(LIMITED)


@pytest.fixture(
    params=["none", pytest.param("native", marks=needs("bwrap")), pytest.param("docker", marks=needs("docker"))]
)
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Room:
    """Each sandbox without limits that need control groups."""
    return with_work(request.getfixturevalue(request.param), tmp_path)


@pytest.fixture
def cell(unlimited: Sandbox, tmp_path: Path) -> Room:
    """`os-native` without limits."""
    return with_work(unlimited, tmp_path)


@pytest.fixture
def limited(tight: Sandbox, tmp_path: Path) -> Room:
    """`os-native` with tight limits."""
    return with_work(tight, tmp_path)


@pytest.fixture(scope="module", autouse=True)
def _no_litter() -> Iterator[None]:
    yield
    # Those of this process alone: tests may run in several at once.
    sweep(f"test-{os.getpid()}-")


def processes_with(text: str) -> list[int]:
    """The living processes whose command line holds the text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if text.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


# --- What each sandbox does ---------------------------------------------------------------------------------


def test_a_program_runs_and_tells_its_code(room: Room) -> None:
    outcome = room.run("pwd; echo err >&2; exit 3")
    assert (outcome.ending, outcome.exit_code, outcome.tail) == (Ending.EXITED, 3, f"{room.work}\nerr\n")
    assert room.run("true").ok


def test_a_missing_program_is_not_found(room: Room) -> None:
    outcome = room.program("no-such-program")
    assert outcome.ending is Ending.NOT_FOUND
    assert "no-such-program" in outcome.reason


def test_a_file_that_is_no_program_is_not_found(room: Room) -> None:
    (room.work / "tool").write_text("#!/bin/sh\n")
    assert room.program("./tool").ending is Ending.NOT_FOUND


def test_a_program_of_the_work_tree_runs(room: Room) -> None:
    tool = room.work / "tool"
    tool.write_text("#!/bin/sh\necho mine\n")
    tool.chmod(0o755)
    assert room.program("./tool").tail == "mine\n"
    assert room.program("tool", env={"PATH": f"{room.work}:/usr/bin:/bin"}).tail == "mine\n"


def test_a_later_127_is_an_exit_code(room: Room) -> None:
    assert room.run("no-such-program").exit_code == 127


@pytest.mark.parametrize("name", ["KILL", "SEGV", "TERM"])
def test_a_killed_program_is_told_by_its_signal(room: Room, name: str) -> None:
    outcome = room.run(f"kill -{name} $$")
    assert (outcome.exit_code, outcome.signal) == (None, signal.Signals[f"SIG{name}"])
    assert outcome.reason == f"killed by SIG{name}"


def test_high_exit_codes_that_are_no_signal_stay_what_they_are(room: Room) -> None:
    assert room.run("exit 145").exit_code == 145
    assert room.run("exit 255").exit_code == 255


def test_the_environment_is_empty_but_for_what_is_given(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "hush")
    seen = dict(line.split("=", 1) for line in room.program("env", env={"GIVEN": "a b"}).tail.splitlines())
    assert seen.pop("GIVEN") == "a b"
    assert seen.keys() - {"PWD", "OLDPWD", "SHLVL", "_", marks.MARK} == {
        "PATH",
        "HOME",
        "TMPDIR",
        "LANG",
        "USER",
    }


def test_home_and_temporary_directory_are_private_and_new_each_time(room: Room) -> None:
    outcome = room.run('echo 1 >"$HOME/x"; echo 2 >"$TMPDIR/y"; mkdir "$HOME/d"; chmod 0 "$HOME/d"; echo $HOME')
    assert outcome.ok, outcome.tail
    assert outcome.tail.strip() != os.environ.get("HOME")
    assert not Path(outcome.tail.strip(), "x").exists()
    assert room.run('test -e "$HOME/x" || test -e "$TMPDIR/y" || test -e "$HOME/d" || echo new').tail == "new\n"


def test_what_is_written_in_the_work_tree_is_there(room: Room) -> None:
    assert room.run("echo new >file").ok
    assert (room.work / "file").read_text() == "new\n"


def test_a_job_sees_what_it_may_read(room: Room, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "data").write_text("to read")
    assert room.run(f"cat {given}/data", readable=(str(given),)).tail == "to read"


def test_standard_input_comes_from_the_file(room: Room, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt"
    prompt.write_text("do it")
    assert room.run("cat", stdin_path=str(prompt)).tail == "do it"
    assert room.run("cat").tail == ""


def test_an_endless_loop_ends_at_its_limit(room: Room) -> None:
    assert room.run("while :; do :; done", wall_s=0.3).ending is Ending.TIMED_OUT


def test_a_silent_program_ends_at_its_limit(room: Room) -> None:
    assert room.run("sleep 60", silence_s=0.3).ending is Ending.SILENT


def test_a_flood_ends_at_its_limit(room: Room) -> None:
    assert room.run("exec tr '\\0' x </dev/zero", output_limit_bytes=1_000_000).ending is Ending.OUTPUT_LIMIT


def test_a_stop_ends_the_run_and_gives_time_for_last_words(room: Room) -> None:
    stop = StopEvent()
    script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 60 & wait; done"
    outcome = room.program("sh", "-c", script, stop=stop, on_output=lambda _: stop.set())
    assert (outcome.ending, outcome.tail) == (Ending.STOPPED, "ready\nbye\n")


def test_a_program_that_ignores_sigterm_is_killed(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_S", 0.3)
    token = f"60.{secrets.randbelow(10**9)}"
    outcome = room.run(f"trap '' TERM; sleep {token} & while :; do :; done", wall_s=0.3)
    assert outcome.ending is Ending.TIMED_OUT
    assert not processes_with(token)


ESCAPES = {
    "background": "sleep {} &",
    "nohup": "nohup sleep {} >/dev/null 2>&1 &",
    "setsid": "setsid sleep {} &",
    "closed output": "setsid sleep {} >/dev/null 2>&1 </dev/null &",
    "double fork": "(setsid sh -c 'sleep {} & sleep {}' &) &",
    "ignored signals": "(trap '' TERM HUP INT; setsid sleep {}) &",
}


@pytest.mark.parametrize("script", ESCAPES.values(), ids=ESCAPES)
def test_nothing_outlives_its_job(room: Room, script: str) -> None:
    token = f"60.{secrets.randbelow(10**9)}"
    outcome = room.run(script.replace("{}", token) + f" until pgrep -f {token} >/dev/null; do :; done; echo started")
    assert outcome.tail == "started\n"
    assert not processes_with(token)


def test_a_file_past_the_limit_is_cut(room: Room) -> None:
    outcome = room.run("exec head -c 3000000 /dev/zero >big")
    assert (room.work / "big").stat().st_size == 1 << 20
    assert outcome.reason == "file size limit of 1 MiB reached"
    assert outcome.limit == "file_size_limit_mb"


def test_descriptors_of_ours_do_not_leak_in(room: Room) -> None:
    held = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(held, True)
    try:
        assert room.run("ls /proc/self/fd | wc -l").tail.strip() == "4"  # ls itself has the directory open
    finally:
        os.close(held)


def test_which_finds_what_a_job_would_run(room: Room) -> None:
    found = room.sandbox.which("sh")
    assert found
    assert room.program(found, "-c", "exit 4").exit_code == 4
    assert room.sandbox.which("no-such-program") is None


def test_an_unknown_sandbox_is_an_error_that_names_the_known() -> None:
    with pytest.raises(SandboxError, match="chroot") as caught:
        open_sandbox(SandboxConfig(backend="chroot"), name=new_name())  # type: ignore[arg-type]
    assert "os-native" in caught.value.remedy


@pytest.mark.parametrize("backend", ["none", "os-native", "docker"])
def test_other_systems_than_linux_are_refused_by_name(monkeypatch: pytest.MonkeyPatch, backend: Any) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match=f"'{backend}' needs Linux, and this is darwin"):
        open_sandbox(SandboxConfig(backend=backend, image=IMAGE), name=new_name())


OWNER = """
import sys
from thrum.config import SandboxConfig
from thrum.job import Job
from thrum.sandbox import open_sandbox
backend, name, work, token = sys.argv[1:]
limits = dict(memory_limit_mb=0, pids_limit=0)
sandbox = open_sandbox(SandboxConfig(backend=backend, **limits), name=name)
script = f"(setsid sleep {token} &) ; touch started; sleep {token}"
sandbox.run(Job(argv=("sh", "-c", script), cwd=work, writable=(work,)))
"""


def killed_owner(room: Room, name: str) -> str:
    """What to look for in command lines, after the process that ran a job was killed in the middle of it."""
    token = f"60.{secrets.randbelow(10**9)}"
    argv = [sys.executable, "-c", OWNER, room.sandbox.name, name, str(room.work), token]
    log = room.work.with_name(f"{name}.log")
    with log.open("wb") as said:
        owner = subprocess.Popen(argv, stderr=said, cwd=Path(__file__).parent.parent)
    looked_for = f"sleep\0{token}"
    until(lambda: len(processes_with(looked_for)) == 2 or owner.poll() is not None)
    assert owner.poll() is None, log.read_text()
    owner.kill()
    owner.wait()
    return looked_for


@needs("bwrap")
def test_a_job_ends_when_its_owner_is_killed(cell: Room) -> None:
    looked_for = killed_owner(cell, new_name())
    until(lambda: not processes_with(looked_for))


def test_without_isolation_what_a_killed_owner_left_is_swept(tmp_path: Path) -> None:
    room = make_room(tmp_path, SandboxConfig(backend="none"))
    prefix = new_name()
    looked_for = killed_owner(room, f"{prefix}.worker")
    assert processes_with(looked_for)
    assert sweep(f"{prefix}-other") == 0
    assert processes_with(looked_for)
    assert sweep(prefix) >= 2
    until(lambda: not processes_with(looked_for))


def test_without_isolation_the_next_owner_of_a_name_sweeps_it(tmp_path: Path) -> None:
    room = make_room(tmp_path, SandboxConfig(backend="none"))
    name = new_name()
    looked_for = killed_owner(room, name)
    open_sandbox(SandboxConfig(backend="none"), name=name)
    until(lambda: not processes_with(looked_for))


def test_a_sweep_spares_us_and_our_ancestors(tmp_path: Path) -> None:
    prefix = new_name()
    script = "import os; from thrum.sandbox import sweep; print(sweep(os.environ['THRUM_MARK']))"
    environment = {**os.environ, marks.MARK: prefix}
    shell = f'sleep 60 & {shutil.which("env")} {sys.executable} -c "{script}"'
    done = subprocess.run(
        ("sh", "-c", shell),
        env=environment,
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_without_isolation_a_warning_says_what_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING),
        open_sandbox(SandboxConfig(backend="none"), name=new_name()) as sandbox,
    ):
        gaps = " ".join(sandbox.describe()["gaps"])
    assert "network" in gaps
    assert "'none'" in caplog.text


# --- What only isolation does -------------------------------------------------------------------------------


@needs("bwrap")
def test_a_job_has_no_privileges(cell: Room) -> None:
    status = dict(re.findall(r"^(\w+):\t(.*)$", cell.run("cat /proc/self/status").tail, re.MULTILINE))
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[capabilities], 16) == 0, capabilities
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    uid = UID if AS_ROOT else os.getuid()
    assert status["Uid"].split() == [str(uid)] * 4
    if AS_ROOT:
        assert status["Gid"].split() == [str(UID)] * 4
        assert status["Groups"].strip() == ""
    assert cell.sandbox.uid == (UID if AS_ROOT else None)


@needs("bwrap")
def test_a_set_user_id_program_gives_nothing(cell: Room) -> None:
    assert cell.run("su -c id root </dev/null || sudo -n id").exit_code not in (0, None)


@needs("bwrap")
@pytest.mark.parametrize("path", ["/etc/shadow", "/etc/gshadow", "/root", "/var/log", "/run", "/sys/kernel"])
def test_the_host_is_not_there(cell: Room, path: str) -> None:
    assert not cell.run(f"cat {path} || ls {path}").ok


@needs("bwrap")
@pytest.mark.parametrize("path", ["/usr", "/usr/bin", "/etc", "/", "/proc/sys/kernel", "/var", "{given}", "{outside}"])
def test_writing_outside_of_the_work_tree_fails(cell: Room, tmp_path: Path, path: str) -> None:
    given = tmp_path / "given"
    given.mkdir(mode=0o777)
    given.chmod(0o777)
    target = path.format(given=given, outside=tmp_path)
    outcome = cell.run(f"touch {target}/planted", readable=(str(given),))
    # What lies above a mount is no directory of the host, and gone after the job; one may write there.
    assert not outcome.ok or path == "{outside}"
    assert not list(tmp_path.glob("**/planted"))
    assert not Path(target, "planted").exists()


@needs("bwrap")
def test_other_processes_are_neither_seen_nor_reached(cell: Room) -> None:
    token = f"60.{secrets.randbelow(10**9)}"
    with subprocess.Popen(("sleep", token)) as stranger:
        try:
            outcome = cell.run(f"kill -9 {stranger.pid}; cat /proc/*/cmdline | tr '\\0' ' '; kill -9 -1; true")
            assert token not in outcome.tail.replace(f"kill -9 {stranger.pid}", "")
            assert stranger.poll() is None
        finally:
            stranger.kill()


@needs("bwrap")
def test_the_network_is_closed_unless_it_is_given(cell: Room) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=10).close()"
        assert not cell.python(script).ok
        assert cell.python(script, network=True).ok


@needs("bwrap")
def test_names_are_looked_up_only_with_the_network(cell: Room) -> None:
    assert not cell.run("test -e /etc/resolv.conf").ok
    if os.path.exists("/etc/resolv.conf"):
        assert cell.run("test -e /etc/resolv.conf", network=True).ok


KERNEL = """
import ctypes, errno, os, platform, socket
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
def call(*arguments):
    ctypes.set_errno(0)
    libc.syscall(*(ctypes.c_long(argument) for argument in arguments))
    return errno.errorcode.get(ctypes.get_errno(), "done")
NEWUSER, NEWNS = 0x10000000, 0x20000
print("unshare", call(272 if x86 else 97, NEWUSER), call(272 if x86 else 97, NEWNS))
print("clone", call(56 if x86 else 220, NEWUSER | 17, 0, 0, 0, 0))
print("clone3", call(435, 0, 0))
print("keyctl", call(250 if x86 else 219, 0, -3, 0))
print("bpf", call(321 if x86 else 280, 0, 0, 0))
print("io_uring", call(425, 1, 0))
libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)
print("mount", errno.errorcode[ctypes.get_errno()])
print("x32", call(0x40000000 + 39) if x86 else "ENOSYS")
try:
    socket.socket(40, socket.SOCK_STREAM)
except OSError as error:
    print("vsock", errno.errorcode[error.errno])
primary, secondary = os.openpty()
try:
    import fcntl
    fcntl.ioctl(secondary, 0x5412, b"x")
except OSError as error:
    print("tiocsti", errno.errorcode[error.errno])
"""


@needs("bwrap")
def test_the_kernel_refuses_what_no_job_needs(cell: Room) -> None:
    outcome = cell.python(KERNEL)
    assert outcome.tail.splitlines() == [
        "unshare EPERM EPERM",
        "clone EPERM",
        "clone3 ENOSYS",
        "keyctl EPERM",
        "bpf EPERM",
        "io_uring EPERM",
        "mount EPERM",
        "x32 ENOSYS",
        "vsock EPERM",
        "tiocsti EPERM",
    ]


@needs("bwrap")
def test_what_programs_need_works(cell: Room) -> None:
    outcome = cell.python(
        "import concurrent.futures as f, getpass, multiprocessing as m, os, pathlib, pty, subprocess, threading\n"
        "m.Lock(); pty.openpty()\n"
        "t = threading.Thread(target=print, args=['thread']); t.start(); t.join()\n"
        "print(f.ProcessPoolExecutor(2, mp_context=m.get_context('spawn')).submit(len, 'abc').result())\n"
        "print(getpass.getuser(), os.path.expanduser('~'), pathlib.Path.home().owner() != '', flush=True)\n"
        "subprocess.run('echo by name >/dev/stdout', shell=True, check=True)\n"
    )
    assert outcome.tail == f"thread\n3\nthrum {HOME} True\nby name\n"


@needs("bwrap")
def test_the_environment_is_not_on_any_command_line(cell: Room) -> None:
    secret = secrets.token_hex(8)
    seen: list[list[int]] = []
    outcome = cell.program(
        "sh",
        "-c",
        'echo "$KEY"',
        env={"KEY": secret},
        on_output=lambda _: seen.append(processes_with(secret)),
    )
    assert outcome.tail == f"{secret}\n"
    assert seen == [[]]


@needs("bwrap", "gcc")
def test_a_preloaded_library_never_runs_with_privileges(cell: Room, tmp_path: Path) -> None:
    source = tmp_path / "evil.c"
    source.write_text(
        "#include <stdio.h>\n#include <unistd.h>\n"
        '__attribute__((constructor)) void f(void) { fprintf(stderr, "uid %d\\n", (int) getuid()); }\n'
    )
    library = cell.work / "evil.so"
    subprocess.run(("gcc", "-shared", "-fPIC", "-o", library, source), check=True)
    outcome = cell.program("true", env={"LD_PRELOAD": str(library)})
    assert set(outcome.tail.splitlines()) == {f"uid {UID if AS_ROOT else os.getuid()}"}


@needs("bwrap")
def test_a_nul_character_in_a_variable_is_no_way_to_options(cell: Room) -> None:
    outcome = cell.run("ls /etc/shadow", env={"A": "b\0--ro-bind\0/etc\0/etc"})
    assert outcome.ending is Ending.NOT_STARTED


@needs("bwrap")
def test_a_path_that_is_not_there_means_not_started(cell: Room) -> None:
    outcome = cell.run("echo ran", readable=("/nonexistent/path",))
    assert (outcome.ending, outcome.exit_code) == (Ending.NOT_STARTED, None)
    assert "/nonexistent/path" in outcome.reason


@needs("bwrap")
def test_private_directories_are_hidden_and_what_is_named_below_them_is_seen(tmp_path: Path) -> None:
    project = tmp_path / "project"
    state = project / ".thrum"
    (state / "work" / "tree").mkdir(parents=True)
    (state / "token").write_text("secret")
    (state / "work" / "tree" / "file").write_text("task")
    (project / "doc").write_text("doc")
    link = tmp_path / "link"
    link.symlink_to(project)
    config = SandboxConfig(memory_limit_mb=0, pids_limit=0, mount_paths=(str(project), str(link)))
    with make_room(tmp_path, config, private=(str(state),)).sandbox as sandbox:
        tree = str(state / "work" / "tree")
        looks = f"cat {project}/doc {link}/doc; cat file; ls -A {state} {link}/.thrum"
        script = f"{looks}; cat {state}/token {link}/.thrum/token"
        outcome = sandbox.run(Job(argv=("sh", "-c", script), cwd=tree, readable=(tree,)))
    assert outcome.tail.startswith("docdoctask")
    assert "secret" not in outcome.tail
    assert f"{link}/.thrum:\n" in outcome.tail
    assert outcome.tail.count("No such file or directory") == 2


@needs("bwrap")
@pytest.mark.parametrize("path", ["/", "/proc", "relative", "/nonexistent/path", "{private}", "{private}/token"])
def test_a_mount_that_would_show_too_much_is_refused(tmp_path: Path, path: str) -> None:
    config = SandboxConfig(memory_limit_mb=0, pids_limit=0, mount_paths=(path.format(private=tmp_path),))
    with pytest.raises(SandboxError):
        open_sandbox(config, name=new_name(), private=(str(tmp_path),))


@needs("bwrap")
def test_programs_that_the_sandbox_does_not_show_are_not_found(
    cell: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "thrum-tool").write_text("#!/bin/sh\necho tool\n")
    (tools / "thrum-tool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    assert cell.sandbox.which("thrum-tool") is None
    assert cell.program("thrum-tool").ending is Ending.NOT_FOUND
    assert cell.program("thrum-tool", readable=(str(tools),)).tail == "tool\n"
    (cell.work / "linked").symlink_to(tools / "thrum-tool")
    assert cell.program("./linked").ending is Ending.NOT_FOUND


@needs("bwrap")
@pytest.mark.skipif(not AS_ROOT, reason="not root")
def test_a_work_tree_below_a_closed_directory_is_reached(cell: Room, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert cell.run("echo new >file && cat file").tail == "new\n"
    assert (cell.work / "file").stat().st_uid == UID


def test_without_bubblewrap_there_is_an_error_and_no_lesser_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match="bubblewrap") as caught:
        open_sandbox(SandboxConfig(), name=new_name())
    assert "install" in caught.value.remedy


def test_a_bubblewrap_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo bubblewrap 0.9.0 && exit\necho "bwrap: no permissions" >&2; exit 1\n'
    )
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SandboxError, match="no permissions"):
        open_sandbox(UNLIMITED, name=new_name())


# --- Limits -------------------------------------------------------------------------------------------------


@needs("bwrap", "cgroup-writable")
def test_a_fork_bomb_stays_small_and_is_told(limited: Room) -> None:
    outcome = limited.python(
        "import os, time\n"
        "for n in range(1000):\n"
        "    try:\n"
        "        if os.fork() == 0: time.sleep(60)\n"
        "    except OSError:\n"
        "        print(n); raise SystemExit(1)\n"
    )
    assert 35 <= int(outcome.tail) <= 40
    assert outcome.reason.startswith("limit of 40 processes reached")
    assert outcome.limit == "pids_limit"
    assert limited.run(":(){ :|:& };:", wall_s=1.0).ending is not Ending.NOT_STARTED
    assert limited.run("true").ok


@needs("bwrap", "cgroup-writable")
@pytest.mark.parametrize("where", ["heap", "/tmp", "/dev/shm", "$HOME"])
def test_a_memory_hog_is_ended_and_told(tmp_path: Path, where: str) -> None:
    config = SandboxConfig(memory_limit_mb=96, pids_limit=40, file_size_limit_mb=0)
    room = make_room(tmp_path, config)
    with room.sandbox:
        if where == "heap":
            outcome = room.python("x = b'x' * (1 << 30)")
        else:
            outcome = room.run(f"exec head -c 1073741824 /dev/zero >{where}/big")
        assert not outcome.ok
        assert outcome.ending is Ending.EXITED
        assert outcome.reason == "memory limit of 96 MiB reached"
        assert (outcome.exit_code, outcome.limit) == (None, "memory_limit_mb")
        assert room.run("true").ok


@needs("bwrap", "cgroup-writable")
def test_a_processor_limit_binds(tmp_path: Path) -> None:
    config = SandboxConfig(memory_limit_mb=0, pids_limit=0, cpu_limit=0.2)
    room = make_room(tmp_path, config)
    with room.sandbox:
        outcome = room.python("import time\nwhile time.process_time() < 0.3: pass")
        assert outcome.ok
        assert outcome.duration_s > 0.8


@needs("bwrap", "cgroup-writable")
def test_two_owners_of_one_name_are_refused(limited: Room) -> None:
    name = new_name()
    with open_sandbox(LIMITED, name=name), pytest.raises(SandboxError, match="in use"):
        open_sandbox(LIMITED, name=name)
    open_sandbox(LIMITED, name=name).close()


@needs("bwrap")
@pytest.mark.skipif(not missing("cgroup-writable"), reason="control groups are writable")
def test_limits_that_cannot_bind_are_an_error_unless_best_effort(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SandboxError, match="memory, pids") as caught:
        open_sandbox(LIMITED, name=new_name())
    assert "best-effort" in caught.value.remedy
    effort = SandboxConfig(memory_limit_mb=96, limits="best-effort")
    with caplog.at_level(logging.WARNING), open_sandbox(effort, name=new_name()) as sandbox:
        outcome = sandbox.run(Job(argv=("/usr/bin/python3", "-c", "x = b'x' * (1 << 30)"), cwd="/"))
        assert len(sandbox.describe()["gaps"]) == 2
    assert "MemoryError" in outcome.tail
    assert "gaps" in caplog.text


# --- Which paths are shown (values only) --------------------------------------------------------------------


def test_mounts_are_made_from_the_outside_in() -> None:
    planned = plan(readable=("/a/b/c", "/a", "/a-b"), writable=("/a/b",), private=())
    assert [mount.path for mount in planned] == ["/a", "/a/b", "/a/b/c", "/a-b"]


def test_what_is_readable_and_writable_is_writable() -> None:
    assert plan(readable=("/a", "/b/"), writable=("/b",), private=()) == (
        Mount(path="/a", access=Access.READ),
        Mount(path="/b", access=Access.WRITE),
    )


def test_a_private_path_that_is_not_there_yet_cannot_be_hidden() -> None:
    with pytest.raises(SandboxError, match="must exist"):
        plan(readable=("/usr",), writable=(), private=("/usr/nonexistent",))
