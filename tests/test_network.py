"""What a program in a sandbox reaches of the network with an allow list, and what it does not, by whatever trick."""

from __future__ import annotations

import http.server
import json
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.projects import ThrumProject
from tests.requirements import needs
from thrum.config import SandboxConfig
from thrum.job import Ending, Job, Outcome
from thrum.sandbox import Sandbox, marks, open_sandbox
from thrum.sandbox.process import StopEvent

PYTHON = "/usr/bin/python3"
UNLIMITED = SandboxConfig(memory_limit_mb=0, pids_limit=0, file_size_limit_mb=0)


class Origin(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    def do_GET(self) -> None:
        body = f"reached {self.path}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Origin6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server on the host's 127.0.0.1."""
    yield from serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin))


@pytest.fixture
def port6() -> Iterator[int]:
    """The port of a server on the host's ::1."""
    if not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("no IPv6 on this machine")
    yield from serving(Origin6(("::1", 0), Origin))


def serving(server: http.server.ThreadingHTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Room:
    """A sandbox with a directory in which its jobs may write."""

    sandbox: Sandbox
    work: str

    def run(self, *argv: str, stop: threading.Event | None = None, **settings: Any) -> Outcome:
        job = Job(argv=argv, cwd=self.work, writable=(self.work,), **{"wall_s": 60.0, **settings})
        return self.sandbox.run(job, stop=stop)

    def shell(self, script: str, *allow: str, **settings: Any) -> Outcome:
        return self.run("sh", "-c", script, allow=allow, **settings)

    def python(self, script: str, *allow: str) -> str:
        """What a script prints, which must not fail."""
        outcome = self.run(PYTHON, "-c", script, allow=allow)
        assert outcome.ok, outcome
        return outcome.tail


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """`os-native` without limits, opened once for all tests."""
    work = tmp_path_factory.mktemp("cell") / "work"
    work.mkdir()
    with room("os-native", work) as made:
        yield Room(made, str(work))


def room(backend: Any, work: Path, allow: tuple[str, ...] = (), mask: tuple[str, ...] = ()) -> Sandbox:
    name = f"test-{os.getpid()}-{secrets.token_hex(4)}"
    config = SandboxConfig(backend=backend, memory_limit_mb=0, pids_limit=0, file_size_limit_mb=0, allow=allow)
    sandbox = open_sandbox(config, name=name, mask=mask)
    if sandbox.uid is not None:
        os.chown(work, sandbox.uid, sandbox.uid)
    return sandbox


PREAMBLE = """
import errno, http.client, os, socket, sys, time, urllib.error, urllib.request
from urllib.parse import urlsplit
PROXY = urlsplit(os.environ["HTTPS_PROXY"])
def tunnel(host, port, path="/tunnel"):
    client = http.client.HTTPConnection(PROXY.hostname, PROXY.port, timeout=20)
    client.set_tunnel(host, port)
    client.request("GET", path)
    return client.getresponse().read().decode().strip()
def fails(family, kind, *address):
    began = time.monotonic()
    with socket.socket(family, kind) as one:
        one.settimeout(20)
        try:
            one.connect(address[0] if len(address) == 1 else address)
            one.send(b"x")
            one.recv(1)
        except OSError as error:
            assert time.monotonic() - began < 15, "it hung"
            return errno.errorcode.get(error.errno, repr(error))
        return "REACHED"
"""


# --- What is listed ---------------------------------------------------------------------------------------------


@needs("bwrap")
def test_what_is_listed_is_reached_by_tunnel_by_plain_request_and_directly(cell: Room, port: int) -> None:
    script = f"""{PREAMBLE}
print(tunnel("127.0.0.1", {port}))
print(urllib.request.urlopen("http://127.0.0.1:{port}/plain", timeout=20).read().decode().strip())
without = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
print(without.open("http://localhost:{port}/direct", timeout=20).read().decode().strip())
"""
    assert cell.python(script, f"127.0.0.1:{port}").split("\n") == [
        "reached /tunnel",
        "reached /plain",
        "reached /direct",
        "",
    ]


@needs("bwrap", "curl")
def test_curl_finds_the_proxy_by_itself(cell: Room, port: int) -> None:
    outcome = cell.shell(
        f"curl -sS http://localhost:{port}/a; curl -sSp http://localhost:{port}/b", f"localhost:{port}"
    )
    assert (outcome.ok, outcome.tail) == (True, "reached /a\nreached /b\n")


@needs("bwrap")
def test_loopback_of_ipv6_can_be_listed(cell: Room, port6: int) -> None:
    script = f"""{PREAMBLE}
print(tunnel("[::1]", {port6}))
with socket.create_connection(("::1", {port6}), timeout=20) as one:
    one.sendall(b"GET /direct HTTP/1.0\\r\\n\\r\\n")
    print(one.makefile().read().splitlines()[-1])
"""
    assert cell.python(script, f"[::1]:{port6}") == "reached /tunnel\nreached /direct\n"


@needs("bwrap")
def test_a_listed_port_may_be_that_of_the_proxy(cell: Room) -> None:
    outcome = cell.shell('echo "$HTTP_PROXY"', "localhost:3128", "127.0.0.1:3129")
    assert outcome.tail == "http://127.0.0.1:3130\n"


@needs("bwrap")
def test_a_privileged_port_can_be_listed(cell: Room) -> None:
    listening = "print(*[line.split()[1] for line in open('/proc/net/tcp') if line.split()[3] == '0A'])"
    assert set(cell.python(listening, "127.0.0.1:79").split()) == {"0100007F:004F", "0100007F:0C38"}


# --- What is not ------------------------------------------------------------------------------------------------


@needs("bwrap")
def test_what_is_not_listed_is_refused_and_told_with_the_outcome(cell: Room, port: int) -> None:
    script = f"""{PREAMBLE}
for _ in range(2):
    try:
        tunnel("evil.example", 443)
    except OSError as error:
        print(error)
try:
    urllib.request.urlopen("http://127.0.0.1:{port}/", timeout=20)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode().strip())
sys.exit(3)
"""
    outcome = cell.run(PYTHON, "-c", script, allow=("api.example.com",))
    told = f"403 127.0.0.1:{port} is not on Thrum's allow list"
    assert outcome.tail.splitlines() == ["Tunnel connection failed: 403 Forbidden"] * 2 + [told]
    assert outcome.refused == {"evil.example:443": 2, f"127.0.0.1:{port}": 1}
    assert outcome.reason == f"exit code 3; not on the allow list: 127.0.0.1:{port} (1), evil.example:443 (2)"
    assert cell.shell("true", "api.example.com").refused == {}


@needs("bwrap")
def test_a_key_that_is_looked_up_as_a_host_is_masked_though_names_of_hosts_have_no_capitals(tmp_path: Path) -> None:
    key = "Sk-Abc123DEF456-is-Secret"
    work = tmp_path / "work"
    work.mkdir()
    with room("os-native", work, mask=(key,)) as sandbox:
        script = f"{PREAMBLE}\ntry:\n    tunnel('{key}.example', 443)\nexcept OSError:\n    sys.exit(3)"
        outcome = Room(sandbox, str(work)).run(PYTHON, "-c", script, allow=("api.example.com",))
    assert outcome.refused == {"[masked].example:443": 1}, outcome
    assert outcome.reason == "exit code 3; not on the allow list: [masked].example:443 (1)"


@needs("bwrap")
def test_every_other_way_fails_at_once(cell: Room, port: int, port6: int) -> None:
    name = f"thrum-test-{secrets.token_hex(4)}"
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0{name}")
    abstract.listen()
    own = socket.gethostbyname(socket.gethostname())
    script = f"""{PREAMBLE}
for host in ("1.1.1.1", "10.0.0.1", "169.254.169.254", "192.168.0.1"):
    print(fails(socket.AF_INET, socket.SOCK_STREAM, host, 443))
    print(fails(socket.AF_INET, socket.SOCK_DGRAM, host, 53))
print(fails(socket.AF_INET6, socket.SOCK_STREAM, "2606:4700::1111", 443))
print(fails(socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1", {port}))
print(fails(socket.AF_INET, socket.SOCK_STREAM, {own!r}, {port}))
print(fails(socket.AF_INET6, socket.SOCK_STREAM, "::1", {port6}))
print(fails(socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.1", {udp.getsockname()[1]}))
print(fails(socket.AF_UNIX, socket.SOCK_STREAM, "\\0{name}"))
began = time.monotonic()
try:
    socket.getaddrinfo("api.example.com", 443)
except socket.gaierror:
    print("no name", time.monotonic() - began < 9)
"""
    with udp, abstract:
        told = cell.python(script, "api.example.com:443", "localhost:1").splitlines()
    assert told[:9] == ["ENETUNREACH"] * 9
    assert told[9:] == ["ECONNREFUSED", told[10], "ECONNREFUSED", "ECONNREFUSED", "ECONNREFUSED", "no name True"]
    assert told[10] in ("ENETUNREACH", "ECONNREFUSED")


@needs("bwrap")
def test_without_a_list_there_is_neither_a_proxy_nor_a_network(cell: Room, port: int) -> None:
    assert cell.shell("env | grep -i proxy").exit_code == 1
    assert cell.shell("env | grep -i proxy", f"localhost:{port}", network=True).exit_code == 1
    connect = f"import socket; socket.create_connection(('127.0.0.1', {port}))"
    assert not cell.run(PYTHON, "-c", connect).ok
    assert cell.run(PYTHON, "-c", connect, network=True, allow=("other.example",)).ok


# --- The program, its environment and its end -------------------------------------------------------------------


@needs("bwrap")
def test_the_environment_names_the_proxy_and_bypasses_nothing(cell: Room) -> None:
    told = dict(line.split("=", 1) for line in cell.shell("env", "api.example.com").tail.splitlines())
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        assert told[name] == told[name.lower()] == "http://127.0.0.1:3128"
    assert told["NO_PROXY"] == told["no_proxy"] == ""
    assert told["NODE_USE_ENV_PROXY"] == "1"


@needs("bwrap")
def test_what_the_operator_sets_wins(cell: Room) -> None:
    outcome = cell.shell('echo "$NO_PROXY $HTTP_PROXY"', "api.example.com", env={"NO_PROXY": "a", "HTTP_PROXY": "b"})
    assert outcome.tail == "a b\n"


@needs("bwrap")
def test_codes_signals_and_limits_are_as_without_a_list(cell: Room) -> None:
    assert cell.shell("exit 7", "api.example.com").exit_code == 7
    assert cell.shell("kill -TERM $$", "api.example.com").signal == signal.SIGTERM
    assert cell.run("no-such-program", allow=("api.example.com",)).ending is Ending.NOT_FOUND
    assert cell.shell("sleep 60", "api.example.com", wall_s=0.3).ending is Ending.TIMED_OUT
    stop = StopEvent()
    stop.set()
    assert cell.shell("sleep 60", "api.example.com", stop=stop).ending is Ending.STOPPED


@needs("bwrap")
def test_the_program_has_no_descriptor_of_ours(cell: Room) -> None:
    assert cell.shell("ls /proc/self/fd", "localhost:1").tail == "0\n1\n2\n3\n"


@needs("bwrap")
def test_a_malformed_list_starts_nothing(cell: Room) -> None:
    outcome = cell.shell("echo began", "https://api.example.com")
    assert (outcome.ending, outcome.tail) == (Ending.NOT_STARTED, "")
    assert "leave the scheme" in outcome.reason


@needs("bwrap")
def test_a_sandbox_that_cannot_start_says_why_with_a_list_too(cell: Room, tmp_path: Path) -> None:
    lists = ((), *[("api.example.com",)] * 10)
    told = [cell.run("true", allow=allow, readable=(str(tmp_path / "gone"),)) for allow in lists]
    assert {one.ending for one in told} == {Ending.NOT_STARTED}
    (reason,) = {one.reason for one in told}
    assert "gone" in reason


@needs("bwrap")
def test_nothing_is_left_of_a_run(cell: Room, port: int) -> None:
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    def no_more_than(most: tuple[int, int]) -> bool:
        # What earlier tests left may end meanwhile.
        return all(now <= then for now, then in zip(held(), most, strict=True))

    assert cell.shell("true", "localhost:1").ok
    stop = StopEvent()
    before = held()
    connect = "exec 3<>/dev/tcp/127.0.0.1/3128; echo connected"
    for script, told, ending in ((connect, None, Ending.EXITED), (f"{connect}; sleep 600", stop, Ending.STOPPED)):
        job = Job(argv=("bash", "-c", script), cwd="/", allow=("localhost:1", "localhost:2"), wall_s=600.0)
        outcome = cell.sandbox.run(job, on_output=lambda _, told=told: told and told.set(), stop=told)
        assert (outcome.ending, outcome.tail) == (ending, "connected\n")
        assert no_more_than(before)
    assert cell.shell("true", "not an entry").ending is Ending.NOT_STARTED
    assert cell.run("true", allow=("localhost:1",), readable=("/no/such/path",)).ending is Ending.NOT_STARTED
    assert no_more_than(before)


@needs("bwrap")
def test_the_helper_is_gone_before_the_program_begins(cell: Room) -> None:
    seen: list[str] = []
    stop = StopEvent()
    job = Job(argv=("sh", "-c", "echo began; sleep 600"), cwd="/", allow=("localhost:1",), wall_s=600.0)

    def look(output: bytes) -> None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and (marks.mark_of(int(entry.name)) or "").startswith(f"test-{os.getpid()}-"):
                try:
                    seen.append((entry / "cmdline").read_text())
                except OSError:
                    pass
        stop.set()

    assert cell.sandbox.run(job, on_output=look, stop=stop).ending is Ending.STOPPED
    assert any("bwrap" in line for line in seen)
    assert not any("entrance" in line for line in seen)


# --- Agents -----------------------------------------------------------------------------------------------------


@needs("bwrap")
def test_an_agent_reaches_what_its_list_has_and_a_check_nothing(tmp_path: Path, port: int) -> None:
    look = f"""{PREAMBLE}
print(tunnel("localhost", {port}))
try:
    tunnel("evil.example", 443)
except OSError as error:
    print(error)
open("reached.txt", "w").close()
"""
    project = ThrumProject(tmp_path)
    project.configure(lint="! env | grep -i proxy")
    agent = f'[[backends]]\nname = "looker"\ntype = "agent"\ncommand = "{PYTHON}"\nallow = ["localhost:{port}"]\n'
    agent += f"prompt_args = ['-c', {json.dumps(look)}]\n"
    (project.directory / "configs/pipeline.toml").write_text(
        "[sandbox]\nmemory_limit_mb = 0\npids_limit = 0\nallow = ['other.example']\n[engine]\ngate_actors = 1\n" + agent
    )
    task = project.add("Look around")
    project.command("run", code=4)
    (attempt,) = project.json("task", "show", task)["attempts"]
    assert attempt["tail"].splitlines() == ["reached /tunnel", "Tunnel connection failed: 403 Forbidden"]


# --- `none` -----------------------------------------------------------------------------------------------------


def test_none_says_loudly_that_a_list_does_not_bind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with room("none", tmp_path) as free:
        assert not any("allow list" in gap for gap in free.describe()["gaps"])
    with room("none", tmp_path, ("api.example.com",)) as loose:
        assert any("allow list does not bind" in gap for gap in loose.describe()["gaps"])
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            assert loose.run(Job(argv=("true",), cwd="/", allow=("api.example.com",))).ok
        assert "the allow list does not bind" in caplog.text
