"""What only the sandbox `docker` does, with a real engine: isolation, limits, ends, allow lists, a whole attempt."""

from __future__ import annotations

import io
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.projects import ThrumProject
from tests.requirements import IMAGE, needs
from tests.test_network import PREAMBLE, Room
from tests.test_network import port as port  # a fixture
from tests.test_sandbox import AS_ROOT, KERNEL, OWNER, new_name, processes_with
from tests.waiting import until
from thrum.config import SandboxConfig
from thrum.configfile import load
from thrum.errors import ConfigError, SandboxError
from thrum.job import Ending, Job
from thrum.sandbox import homes, open_sandbox, sweep
from thrum.sandbox.arguments import sealed
from thrum.sandbox.bubblewrap import HOME, UID
from thrum.sandbox.engine import OWNER as OWNER_LABEL
from thrum.sandbox.mounts import Access, Mount
from thrum.sandbox.process import StopEvent

PYTHON = "/usr/bin/python3"
SOURCE = Path(__file__).parent.parent


def settings(**more: Any) -> SandboxConfig:
    told = {"image": IMAGE, "memory_limit_mb": 0, "pids_limit": 0, "file_size_limit_mb": 0, **more}
    return SandboxConfig(backend="docker", **told)


def docker(*arguments: str, data: bytes = b"") -> str:
    ran = subprocess.run(("docker", *arguments), input=data, capture_output=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.decode()


def containers(owner: str = "") -> list[str]:
    """The names of containers, running or not, of this owner or of all that this process's tests started."""
    label = f"label={OWNER_LABEL}={owner}" if owner else f"label={OWNER_LABEL}"
    listed = docker("ps", "--all", "--format", "{{.Names}}", "--filter", label).split()
    return [one for one in listed if one.startswith(f"thrum-test-{os.getpid()}-")]


def none_is_left(owner: str = "") -> None:
    """Wait until there are none: an engine lists one that is dead for a moment."""
    until(lambda: containers(owner) == [])


def room(tmp_path: Path, **more: Any) -> Room:
    sandbox = open_sandbox(settings(**more), name=new_name())
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    if sandbox.uid is not None:
        os.chown(work, sandbox.uid, sandbox.uid)
    return Room(sandbox, str(work))


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """A sandbox without limits, for all tests: to open one takes as long as a run."""
    made = room(tmp_path_factory.mktemp("cell"))
    with made.sandbox:
        yield made
    none_is_left()


# --- Isolation ----------------------------------------------------------------------------------------------


@needs("docker")
def test_a_job_has_no_privileges(cell: Room) -> None:
    status = dict(re.findall(r"^(\w+):\t(.*)$", cell.shell("cat /proc/self/status").tail, re.MULTILINE))
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[capabilities], 16) == 0, capabilities
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    uid, gid = (UID, UID) if AS_ROOT else (os.getuid(), os.getgid())
    assert status["Uid"].split() == [str(uid)] * 4
    assert status["Gid"].split() == [str(gid)] * 4
    assert set(status["Groups"].split()) <= {str(gid)}
    assert cell.sandbox.uid == (UID if AS_ROOT else None)


@needs("docker")
def test_the_root_and_what_is_lent_for_reading_are_read_only(cell: Room, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    given.chmod(0o777)
    outcome = cell.shell("grep '^[^ ]* / ' /proc/mounts", readable=(str(given),))
    assert "ro" in outcome.tail.split()[3].split(",")
    places = ("/usr", "/usr/bin", "/etc", "/etc/passwd", "/", "/proc/sys/kernel", "/var", str(given))
    write = "if [ -d $at ]; then touch $at/new; else echo x >>$at; fi && echo $at"
    outcome = cell.shell(
        f"for at in {' '.join(places)}; do {write}; done 2>/dev/null; echo end", readable=(str(given),)
    )
    assert outcome.tail == "end\n"
    assert list(given.iterdir()) == []


@needs("docker")
def test_the_kernel_refuses_namespaces_and_mounts(cell: Room) -> None:
    told = dict(line.split(" ", 1) for line in cell.run(PYTHON, "-c", KERNEL).tail.splitlines())
    refused = {name: told[name] for name in ("unshare", "clone", "keyctl", "bpf", "mount")}
    assert refused == {"unshare": "EPERM EPERM", "clone": "EPERM", "keyctl": "EPERM", "bpf": "EPERM", "mount": "EPERM"}


@needs("docker")
def test_neither_the_host_nor_its_processes_are_there(cell: Room) -> None:
    outcome = cell.shell(f"cat /proc/*/cmdline | tr '\\0' ' '; ls {SOURCE} /var/run/docker.sock")
    assert not outcome.ok
    assert "pytest" not in outcome.tail
    assert outcome.tail.count("No such file") == 2


@needs("docker")
def test_private_directories_are_hidden_and_what_is_named_below_them_is_seen(tmp_path: Path) -> None:
    state = tmp_path / "project" / ".thrum"
    tree = state / "work" / "tree"
    tree.mkdir(parents=True)
    (state / "token").write_text("secret")
    (state / "single").write_text("secret")
    (tree / "file").write_text("task")
    project = str(tmp_path / "project")
    config = settings(mount_paths=(project,))
    with open_sandbox(config, name=new_name(), private=(str(state), str(state / "single"))) as sandbox:
        script = f"cat file; ls -A {state}; cat {state}/token {state}/single"
        outcome = sandbox.run(Job(argv=("sh", "-c", script), cwd=str(tree), readable=(str(tree),)))
    assert outcome.tail.startswith("task")
    assert "secret" not in outcome.tail
    with pytest.raises(SandboxError, match="private"):
        open_sandbox(settings(mount_paths=(str(state / "token"),)), name=new_name(), private=(str(state),))


@needs("docker")
def test_the_environment_is_whole_and_on_no_command_line(cell: Room) -> None:
    secret = secrets.token_hex(8)
    seen: list[list[int]] = []
    job = Job(
        argv=(PYTHON, "-c", "import os; print([os.environ[name] for name in ('KEY', 'LINES_', 'TMOUT', 'IFS')])"),
        cwd="/",
        env={"KEY": secret, "LINES_": 'a\nb "c" $d\n', "TMOUT": "1", "IFS": "x"},
    )
    outcome = cell.sandbox.run(job, on_output=lambda _: seen.append(processes_with(secret)))
    assert outcome.tail == f"{[secret, 'a' + chr(10) + 'b ' + chr(34) + 'c' + chr(34) + ' $d' + chr(10), '1', 'x']}\n"
    assert seen == [[]]


@needs("docker")
@pytest.mark.parametrize("env", [{"A": "b\0PATH=/evil"}, {"a.b": "c"}, {"A\nB": "c"}])
def test_a_variable_that_cannot_be_set_starts_nothing(cell: Room, env: dict[str, str]) -> None:
    assert cell.shell("echo ran", env=env).ending is Ending.NOT_STARTED


@needs("docker")
def test_the_client_is_not_led_by_variables_of_the_job(cell: Room) -> None:
    env = {"DOCKER_HOST": "unix:///nonexistent", "LD_PRELOAD": "/nonexistent.so", "HOME": "/nonexistent"}
    outcome = cell.shell('echo "$DOCKER_HOST $HOME"', env=env)
    assert outcome.tail.splitlines()[-1] == "unix:///nonexistent /nonexistent"


@needs("docker")
def test_what_programs_need_works(cell: Room) -> None:
    outcome = cell.run(
        PYTHON,
        "-c",
        "import getpass, multiprocessing as m, os, pathlib, pty, signal, subprocess\n"
        "m.Lock(); pty.openpty()\n"
        "print(getpass.getuser(), os.path.expanduser('~'), pathlib.Path.home().exists(), flush=True)\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, os.getpid() > 1, flush=True)\n"
        "subprocess.run('echo by name >/dev/stdout; id -un', shell=True, check=True)\n",
    )
    assert outcome.tail == f"thrum {HOME} True\nTrue True\nby name\nthrum\n"


@needs("docker")
def test_a_long_standard_input_is_whole_and_ends(cell: Room, tmp_path: Path) -> None:
    (tmp_path / "prompt").write_bytes(os.urandom(3) * 1_000_000)
    outcome = cell.shell("wc -c; ls -A /tmp", stdin_path=str(tmp_path / "prompt"))
    assert outcome.tail.splitlines()[0] == "3000000"
    assert ".thrum" not in outcome.tail
    assert cell.shell("true", stdin_path=str(tmp_path / "prompt")).ok


@needs("docker")
def test_paths_with_commas_quotes_and_blanks_are_mounted(cell: Room, tmp_path: Path) -> None:
    odd = tmp_path / 'a,b "c=d'
    odd.mkdir()
    (odd / "file").write_text("found")
    assert cell.run("cat", str(odd / "file"), readable=(str(odd),)).tail == "found"
    assert cell.run("true", readable=(f"{tmp_path}/a\nb",)).ending is Ending.NOT_STARTED


@needs("docker", "root")
def test_what_is_mounted_below_something_for_reading_is_for_reading_too(cell: Room, tmp_path: Path) -> None:
    inner = tmp_path / "given" / "inner a"
    inner.mkdir(parents=True)
    subprocess.run(("mount", "-t", "tmpfs", "-o", "mode=1777", "none", inner), check=True)
    try:
        (inner / "file").write_text("found")
        outcome = cell.run("sh", "-c", 'cat "$0/file"; touch "$0/new"', str(inner), readable=(str(tmp_path / "given"),))
        assert "Read-only file system" in outcome.tail, outcome
        assert outcome.tail.startswith("found")
    finally:
        subprocess.run(("umount", inner), check=True)


def test_only_what_lies_in_something_for_reading_is_sealed(tmp_path: Path) -> None:
    inner = [tmp_path / "read" / "a b", tmp_path / "read" / "write" / "c", tmp_path / "other"]
    for path in inner:
        path.mkdir(parents=True)
    mounts = (
        Mount(path=str(tmp_path / "read"), access=Access.READ),
        Mount(path=str(tmp_path / "read/write"), access=Access.WRITE),
    )
    info = "".join(f"1 2 0:3 / {str(path).replace(' ', chr(92) + '040')} rw - tmpfs none rw\n" for path in inner)
    assert sealed(mounts, info) == (*mounts, Mount(path=str(inner[0]), access=Access.READ))


@needs("docker")
def test_a_path_that_is_not_there_means_not_started(cell: Room) -> None:
    outcome = cell.shell("echo ran", readable=("/nonexistent/path",))
    assert (outcome.ending, outcome.exit_code) == (Ending.NOT_STARTED, None)
    assert "/nonexistent/path" in outcome.reason


@needs("docker")
def test_programs_are_those_of_the_image(cell: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thrum-tool").write_text("#!/bin/sh\n")
    (tmp_path / "thrum-tool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert cell.sandbox.which("thrum-tool") is None
    assert cell.sandbox.which(str(tmp_path / "thrum-tool")) is None
    assert cell.sandbox.which("git") == "/usr/bin/git"
    assert cell.sandbox.which("/usr/bin/git") == "/usr/bin/git"
    assert cell.sandbox.image.startswith("sha256:")
    assert cell.run("git", "--version").tail.startswith("git version")


# --- Limits -------------------------------------------------------------------------------------------------


@needs("docker")
def test_limits_bind_and_are_told(tmp_path: Path) -> None:
    with (made := room(tmp_path, memory_limit_mb=96, pids_limit=40, file_size_limit_mb=1)).sandbox:
        heap = made.run(PYTHON, "-c", "x = b'x' * (1 << 30)")
        assert (heap.ending, heap.reason) == (Ending.EXITED, "memory limit of 96 MiB reached")
        assert heap.limit == "memory_limit_mb"
        forks = "import os, time\nfor n in range(99):\n    if os.fork() == 0: time.sleep(60)\n"
        bomb = made.run(PYTHON, "-c", forks.replace("    if", "    print(n, flush=True)\n    if"))
        assert bomb.reason.startswith("limit of 40 processes reached")
        assert bomb.limit == "pids_limit"
        assert int(bomb.tail.partition("Traceback")[0].split()[-1]) == 39
        assert made.shell("head -c 3000000 /dev/zero >big; kill -XFSZ $$").reason == "file size limit of 1 MiB reached"
        assert Path(made.work, "big").stat().st_size == 1 << 20
        assert set(made.sandbox.describe()["limits"]) == {"memory", "pids", "file_size", "disk"}
        assert made.shell("true").ok


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """A sandbox with little memory."""
    with (made := room(tmp_path_factory.mktemp("narrow"), memory_limit_mb=96)).sandbox:
        yield made


@needs("docker")
@pytest.mark.parametrize("where", ["/tmp", "/dev/shm", "$HOME"])
def test_memory_in_scratch_space_counts(narrow: Room, where: str) -> None:
    outcome = narrow.shell(f"exec head -c 1073741824 /dev/zero >{where}/big")
    assert (outcome.ending, outcome.reason) == (Ending.EXITED, "memory limit of 96 MiB reached")


@needs("docker")
def test_a_processor_limit_binds(tmp_path: Path) -> None:
    with (made := room(tmp_path, cpu_limit=0.5)).sandbox:
        script = "import time\nt = time.monotonic()\nwhile time.process_time() < 0.5: pass\nprint(time.monotonic() - t)"
        assert float(made.run(PYTHON, "-c", script).tail) > 0.8
    with (made := room(tmp_path, cpu_limit=10_000)).sandbox:
        assert made.shell("true").ok


# --- What is missing ----------------------------------------------------------------------------------------


@needs("docker")
def test_an_image_that_is_not_there_is_not_pulled(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="'no-such-image:1'") as caught:
        open_sandbox(settings(image="no-such-image:1"), name=new_name())
    assert "docker pull no-such-image:1" in caught.value.remedy


def test_a_client_without_an_engine_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    client = tmp_path / "docker"
    client.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SandboxError, match="no docker engine answers: Cannot connect"):
        open_sandbox(settings(), name=new_name())


@needs("docker")
def test_an_engine_that_is_gone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    with pytest.raises(SandboxError, match=r"no docker engine answers: .*unix:///nonexistent") as caught:
        open_sandbox(settings(), name=new_name())
    assert "DOCKER_HOST" in caught.value.remedy


def test_without_docker_there_is_an_error_and_no_lesser_sandbox(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match="no `docker` on PATH"):
        open_sandbox(settings(), name=new_name())


@pytest.fixture
def bare_image() -> Iterator[str]:
    """An image with bash and nothing else."""
    name = f"thrum-bare:{secrets.token_hex(4)}"
    libraries = re.findall(r"(/\S+) \(0x", subprocess.run(("ldd", "/bin/bash"), capture_output=True, text=True).stdout)
    with io.BytesIO() as data:
        with tarfile.open(fileobj=data, mode="w", dereference=True) as tar:
            for path in ("/bin/bash", *libraries):
                tar.add(path, arcname=path)
        docker("import", "-", name, data=data.getvalue())
    yield name
    docker("image", "rm", name)


@pytest.fixture
def empty_image() -> Iterator[str]:
    """An image with one file that is no program."""
    name = f"thrum-empty:{secrets.token_hex(4)}"
    with io.BytesIO() as data:
        with tarfile.open(fileobj=data, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("nothing"))
        docker("import", "-", name, data=data.getvalue())
    yield name
    docker("image", "rm", name)


@needs("docker")
def test_an_image_without_git_is_refused_by_name(bare_image: str) -> None:
    with pytest.raises(SandboxError, match=f"'{bare_image}' has no git"):
        open_sandbox(settings(image=bare_image), name=new_name())


@needs("docker")
def test_an_image_without_bash_is_refused_by_name(empty_image: str) -> None:
    with pytest.raises(SandboxError, match=f"'{empty_image}' has no bash") as caught:
        open_sandbox(settings(image=empty_image), name=new_name())
    assert "bash and git" in caught.value.remedy


def test_the_configuration_must_name_an_image(tmp_path: Path) -> None:
    project = ThrumProject(tmp_path)
    project.configure()
    pipeline = tmp_path / "configs/pipeline.toml"
    pipeline.write_text(pipeline.read_text().replace('"none"', '"docker"'))
    with pytest.raises(ConfigError, match=r"image.*is empty"):
        load(tmp_path)


# --- Ends ---------------------------------------------------------------------------------------------------


def started_owner(work: Path, name: str, script: str) -> subprocess.Popen[bytes]:
    """A process that runs the script in a container, which has begun."""
    code = OWNER.replace("limits = dict(", f"limits = dict(image={IMAGE!r}, ")
    code = code.replace("script = f", f"script = {script!r}\n_ = f")
    argv = [sys.executable, "-c", code, "docker", name, str(work), "0"]
    log = work.with_name(f"{name}.log")
    with log.open("wb") as said:
        owner = subprocess.Popen(argv, stderr=said, cwd=SOURCE)
    until(lambda: (work / "started").exists() or owner.poll() is not None)
    assert owner.poll() is None, log.read_text()
    return owner


def guards(name: str) -> list[int]:
    """The processes that watch over sandboxes of the process with this name."""
    (container,) = containers(name)
    life = container.rsplit("-", 2)[1]
    return [pid for pid in processes_with(f"thrum.life={life}") if b"read -r done" in command(pid)]


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


RESIST = (
    "trap '' TERM USR1 HUP INT; touch started; kill -STOP $(pgrep -x bash | grep -vx 1); while :; do sleep 60; done"
)
"""A program that stops what watches over it in the container."""


@needs("docker")
@pytest.mark.parametrize("script", ["touch started; setsid sleep 600 & sleep 600", RESIST], ids=["plain", "hostile"])
def test_a_container_is_killed_and_removed_when_its_owner_is_killed(cell: Room, script: str) -> None:
    Path(cell.work, "started").unlink(missing_ok=True)
    name = new_name()
    owner = started_owner(Path(cell.work), name, script)
    assert len(containers(name)) == 1
    owner.kill()
    owner.wait()
    none_is_left(name)


@needs("docker")
def test_a_container_ends_even_where_its_guard_is_killed_with_its_owner(cell: Room) -> None:
    Path(cell.work, "started").unlink(missing_ok=True)
    name = new_name()
    owner = started_owner(Path(cell.work), name, "touch started; sleep 600")
    for pid in guards(name):
        os.kill(pid, signal.SIGKILL)
    owner.kill()
    owner.wait()
    none_is_left(name)


@pytest.fixture
def leftover(cell: Room) -> str:
    """The name of an owner that was killed with its guard, and whose container goes on."""
    Path(cell.work, "started").unlink(missing_ok=True)
    name = new_name()
    owner = started_owner(Path(cell.work), name, RESIST)
    (guard,) = guards(name)
    os.kill(guard, signal.SIGKILL)
    owner.kill()
    owner.wait()
    assert len(containers(name)) == 1
    return name


@needs("docker")
def test_a_sweep_removes_what_is_left_and_then_asks_no_engine(leftover: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sweep(f"{leftover}-other") == 0
    assert len(containers(leftover)) == 1
    with monkeypatch.context() as context:
        context.setenv("DOCKER_HOST", "unix:///nonexistent")
        sweep(leftover)
    assert len(containers(leftover)) == 1
    assert sweep(leftover) == 1
    none_is_left(leftover)
    assert homes.left(leftover) == []
    monkeypatch.setattr(subprocess, "run", None)
    assert sweep(leftover) == 0


@needs("docker")
def test_opening_a_sandbox_removes_what_an_earlier_life_left(leftover: str) -> None:
    open_sandbox(settings(), name=leftover).close()
    none_is_left(leftover)
    sweep(leftover)


@needs("docker")
@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4])
def test_a_stop_at_any_time_leaves_nothing(cell: Room, delay_s: float) -> None:
    stop = StopEvent()
    timer = threading.Timer(delay_s, stop.set)
    timer.start()
    outcome = cell.run("sleep", "600", stop=stop, wall_s=600.0)
    timer.join()
    assert outcome.ending is Ending.STOPPED
    none_is_left()


@needs("docker")
def test_a_client_that_is_killed_takes_its_container_along(cell: Room) -> None:
    def kill(output: bytes) -> None:
        (name,) = containers()
        for pid in processes_with(name):
            os.kill(pid, signal.SIGKILL)

    outcome = cell.sandbox.run(Job(argv=("sh", "-c", "echo began; sleep 60"), cwd="/"), on_output=kill)
    assert (outcome.ending, outcome.signal) == (Ending.EXITED, signal.SIGKILL)
    none_is_left()


@needs("docker")
def test_nothing_is_left_of_a_run_or_a_sandbox(tmp_path: Path) -> None:
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    before, name = held(), new_name()

    def no_more_than(most: tuple[int, int]) -> bool:
        # What earlier tests left may end meanwhile.
        return all(now <= then for now, then in zip(held(), most, strict=True))

    with open_sandbox(settings(), name=name) as sandbox:
        (tmp_path / "prompt").write_bytes(b"x" * 1_000_000)
        within = held()
        for job in (
            Job(argv=("sleep", "60"), cwd="/", stdin_path=str(tmp_path / "prompt"), wall_s=1.0),
            Job(argv=("true",), cwd="/", readable=("/nonexistent",), stdin_path=str(tmp_path / "prompt")),
            Job(argv=("nothing",), cwd="/", stdin_path="/nonexistent"),
        ):
            assert not sandbox.run(job).ok
            assert no_more_than(within)
        sandbox.close()
    assert no_more_than(before)
    assert homes.left(name) == []
    none_is_left()


# --- Network ------------------------------------------------------------------------------------------------


@needs("docker")
def test_the_network_is_closed_unless_it_is_given(cell: Room) -> None:
    gateway = docker("network", "inspect", "bridge", "--format", "{{range .IPAM.Config}}{{.Gateway}} {{end}}").split()
    with socket.create_server(("0.0.0.0", 0)) as server:
        host = gateway[0]
        script = f"import socket; socket.create_connection(({host!r}, {server.getsockname()[1]}), timeout=10).close()"
        assert "unreachable" in cell.run(PYTHON, "-c", script).tail
        assert cell.run(PYTHON, "-c", script, network=True).ok


@needs("docker", "root")
def test_an_allow_list_opens_what_it_names_and_nothing_else(cell: Room, port: int) -> None:
    script = f"""{PREAMBLE}
print(tunnel("127.0.0.1", {port}))
print(urllib.request.urlopen("http://127.0.0.1:{port}/plain", timeout=20).read().decode().strip())
without = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
print(without.open("http://localhost:{port}/direct", timeout=20).read().decode().strip())
try:
    tunnel("evil.example", 443)
except OSError as error:
    print(error)
for host in ("1.1.1.1", "10.0.0.1", "169.254.169.254", "198.18.0.1"):
    print(fails(socket.AF_INET, socket.SOCK_STREAM, host, 443), fails(socket.AF_INET, socket.SOCK_DGRAM, host, 53))
print(fails(socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1", {port - 1}))
print(sorted(os.listdir("/proc/self/fd")))
sys.exit(3)
"""
    outcome = cell.run(PYTHON, "-c", script, allow=(f"127.0.0.1:{port}",))
    assert outcome.tail.splitlines() == [
        *("reached /tunnel", "reached /plain", "reached /direct", "Tunnel connection failed: 403 Forbidden"),
        *["ENETUNREACH ENETUNREACH"] * 4,
        *("ECONNREFUSED", "['0', '1', '2', '3']"),
    ]
    assert outcome.refused == {"evil.example:443": 1}
    assert outcome.reason == "exit code 3; not on the allow list: evil.example:443 (1)"


@needs("docker", "root")
def test_with_an_allow_list_ends_are_as_without(cell: Room) -> None:
    allow = ("api.example.com",)
    assert cell.run("sh", "-c", "exit 7", allow=allow).exit_code == 7
    assert cell.run("no-such-program", allow=allow).ending is Ending.NOT_FOUND
    assert cell.run("sleep", "60", allow=allow, wall_s=0.3).ending is Ending.TIMED_OUT
    assert cell.run("true", allow=("not an entry",)).ending is Ending.NOT_STARTED
    gone = cell.run("true", allow=allow, readable=("/no/such/path",))
    assert gone.ending is Ending.NOT_STARTED
    assert "/no/such/path" in gone.reason


def test_an_allow_list_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SandboxError, match="allow list needs root") as caught:
        open_sandbox(settings(allow=("api.example.com",)), name=new_name())
    assert "os-native" in caught.value.remedy


# --- A whole attempt ----------------------------------------------------------------------------------------


@needs("docker")
def test_a_task_goes_from_its_addition_to_approval_in_containers(tmp_path: Path) -> None:
    project = ThrumProject(tmp_path)
    lint = 'test "$(hostname)" = sandbox && test "$(cat notes.txt "$THRUM_SETUP/made")" = "$(printf "line\\nmade")"'
    project.configure(lint=f"{lint} && git log -1 --format=%s", repo="""setup_cmd = 'echo made >"$THRUM_SETUP/made"'""")
    in_containers(project)
    task = project.add("Write a line")
    project.command("run", code=4)
    shown = project.json("task", "show", task)
    assert shown["state"] == "awaiting-approval"
    assert "working" in shown["attempts"][-1]["tail"]
    none_is_left()


@needs("docker")
def test_the_look_over_finds_programs_in_the_image(tmp_path: Path) -> None:
    project = ThrumProject(tmp_path)
    project.configure(lint="thrum-linter --all")
    pipeline = in_containers(project)
    checked = project.command("check", code=1)
    assert f"'thrum-linter', which lint needs, is not on the PATH of the image '{IMAGE}'" in checked.out, checked.told()
    assert checked.out.count("not on the PATH") == 1
    pipeline.write_text(pipeline.read_text().replace(IMAGE, "no-such-image"))
    checked = project.command("check", code=1)
    assert "no image 'no-such-image'" in checked.out, checked.told()


def in_containers(project: ThrumProject) -> Path:
    """Have the project use the sandbox `docker`; the file that says so."""
    pipeline = project.directory / "configs/pipeline.toml"
    sandbox = f'[sandbox]\nbackend = "docker"\nimage = "{IMAGE}"\n'
    pipeline.write_text(pipeline.read_text().replace('[sandbox]\nbackend = "none"\n', sandbox))
    return pipeline
