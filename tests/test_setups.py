"""What `setup_cmd` installs, in both sandboxes: once for each state of the lock files, whole or not at all."""

from __future__ import annotations

import http.server
import json
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.office import Office
from tests.repositories import commit, commit_aside, make_repository
from tests.requirements import missing, needs
from tests.systems import git, landings, systems
from thrum.checking import CheckRunner
from thrum.config import EngineConfig, PipelineConfig, Project, RepoConfig, SandboxConfig
from thrum.errors import BusyError, ToolError
from thrum.files import Lock, OutputStore
from thrum.gate import Check, CheckResult, Gate, Verdict
from thrum.job import Job
from thrum.messages.gates import RunGate
from thrum.sandbox import Sandbox, open_sandbox
from thrum.setups import Provision, Setups
from thrum.workspace import Workspace

INSTALL = """\
python3 -m venv --without-pip "$THRUM_SETUP/venv"
cp -r vendor/greeting "$THRUM_SETUP"/venv/lib/python3*/site-packages/
"""
"""Stands for pip, whose network a test must do without."""
TEST = '"$THRUM_SETUP/venv/bin/python" -m unittest -v'
FILES = {
    "requirements.txt": "greeting==1\n",
    "install.sh": INSTALL,
    "vendor/greeting/__init__.py": 'WORD = "hello"\n',
    "test_greeting.py": (
        "import unittest\nimport greeting\n\n\nclass Test(unittest.TestCase):\n"
        '    def test_word(self) -> None:\n        self.assertEqual(greeting.WORD, "hello")\n'
    ),
}


class Place:
    """A repository with a setup, and who uses it."""

    def __init__(self, directory: Path, backend: str) -> None:
        self.directory = directory
        self.shown = directory / "shown"
        self.shown.mkdir()
        self.path = directory / "repo"
        self.config = SandboxConfig(
            backend=backend, memory_limit_mb=0, pids_limit=0, mount_paths=(str(self.shown),), setup_network=False
        )
        self.repo = RepoConfig(name="repo", path=str(self.path), setup_cmd="sh install.sh", setup_timeout_s=60)
        self._opened: list[Sandbox] = []

    def user(self, name: str, purpose: str = "setup-gates") -> User:
        sandbox = open_sandbox(self.config, name=f"setups-{name}-{os.getpid()}-{secrets.token_hex(4)}")
        self._opened.append(sandbox)
        return User(self, sandbox, self.directory / name, self.directory / purpose)

    def counting(self) -> None:
        """Have the setup leave a file of another name each time it is made."""
        self.repo = replace(self.repo, setup_cmd='echo > "$(mktemp "$THRUM_SETUP/made.XXXXXX")"; sleep 0.1')

    def close(self) -> None:
        for sandbox in self._opened:
            sandbox.close()


class User:
    """A work tree and a sandbox that use the setups of one purpose."""

    def __init__(self, place: Place, sandbox: Sandbox, rooms: Path, purpose: Path) -> None:
        self.sandbox = sandbox
        self.workspace = Workspace(rooms, place.path, sandbox)
        self.setups = Setups(purpose, place.repo, sandbox, place.config)

    def provide(self, commit: str, **settings: Any) -> Provision:
        self.workspace.prepare(commit)
        return self.setups.provide(commit, self.workspace, **settings)

    def runs(self, script: str, provision: Provision) -> bool:
        tree = str(self.workspace.tree)
        readable = (*self.workspace.readable, *provision.readable)
        job = Job(
            argv=("sh", "-c", script), cwd=tree, env=dict(provision.env), writable=(tree,), readable=readable, wall_s=60
        )
        return self.sandbox.run(job).ok


def made(provision: Provision) -> str:
    """The file that only one making of a setup left, see `Place.counting`."""
    (name,) = os.listdir(provision.env["THRUM_SETUP"])
    return name


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be copied, as that is faster than making one."""
    return make_repository(tmp_path_factory.mktemp("repository") / "repo", FILES)


@pytest.fixture(params=["none", pytest.param("os-native", marks=needs("bwrap"))])
def place(request: pytest.FixtureRequest, tmp_path: Path, repository: Path) -> Iterator[Place]:
    shutil.copytree(repository, tmp_path / "repo")
    place = Place(tmp_path, request.param)
    yield place
    place.close()


@pytest.fixture
def head(place: Place) -> str:
    return git(place.path, "rev-parse", "main")


def gate_check(place: Place, command: str = TEST, base: str = "") -> CheckResult:
    """What a gate actor says of one check, on a change that is based on `base`."""
    engine = EngineConfig(worktrees_dir=str(place.directory / "work"))
    pipeline = PipelineConfig(engine=engine, sandbox=place.config)
    project = Project(directory=str(place.directory), repos=(place.repo,), pipeline=pipeline)
    outputs = OutputStore(place.directory / "outputs")
    runner = CheckRunner(project, outputs, place.directory / "gate", f"setups-gate-{secrets.token_hex(4)}")
    check = Check(name="test", command=command, repo="repo", timeout_s=60)
    vector = {"repo": git(place.path, "rev-parse", "main")}
    try:
        bases = {"repo": base} if base else {}
        asked = RunGate(run="repo-1/1/quality/1", gate=Gate.QUALITY, checks=(check,), vector=vector, bases=bases)
        return runner.run(asked, threading.Event()).checks[0]
    finally:
        runner.close()


def test_tests_that_need_an_installed_package_pass_without_a_network(place: Place) -> None:
    place.repo = replace(place.repo, setup_cmd="")
    assert gate_check(place, "python3 -m unittest").verdict is Verdict.FAILED
    place.repo = replace(place.repo, setup_cmd="sh install.sh")
    result = gate_check(place)
    assert (result.verdict, result.reason) == (Verdict.PASSED, ""), result
    assert "Ran 1 test" in result.tail


def test_it_is_made_once_for_each_state_of_the_lock_files(place: Place, head: str) -> None:
    place.counting()
    user = place.user("one")
    first = user.provide(head)
    making = made(first)
    same_files = commit(place.path, {"README": "changed\n"})
    assert user.provide(same_files) == first
    assert place.user("two").provide(head) == first
    assert made(first) == making
    other_files = commit(place.path, {"requirements.txt": "greeting==2\n"})
    second = user.provide(other_files)
    assert second != first
    assert made(second) != making
    assert user.provide(head) == first
    assert made(first) == making


def test_another_command_or_other_named_files_make_another_one(place: Place, head: str) -> None:
    place.counting()
    first = place.user("one").provide(head)
    place.repo = replace(place.repo, setup_files=("README",))
    second = place.user("two").provide(head)
    place.repo = replace(place.repo, setup_cmd=f"{place.repo.setup_cmd}; true")
    third = place.user("three").provide(head)
    assert len({provision.readable for provision in (first, second, third)}) == 3


def test_what_an_agent_wrote_makes_no_setup_that_other_work_is_checked_with(place: Place, head: str) -> None:
    place.repo = replace(place.repo, setup_cmd='sh install.sh; cp install.sh requirements.txt "$THRUM_SETUP"')
    evil = {"install.sh": f"{INSTALL}touch $THRUM_SETUP/evil\n"}
    one = commit_aside(place.path, head, evil)
    user = place.user("one")
    # While the lock files are the branch's, so is the code that runs, whoever needs the setup first.
    of_branch = user.provide(one)
    assert not user.runs('test -e "$THRUM_SETUP/evil"', of_branch)
    assert user.runs("grep -q evil install.sh", of_branch), "the work tree is that of the work"
    assert user.provide(head) == of_branch
    # Other lock files are installed by the work's own code, for that work alone.
    files = {**evil, "requirements.txt": "greeting==2\n"}
    two, three = (commit_aside(place.path, head, {**files, "README": text}) for text in ("two\n", "three\n"))
    of_two = user.provide(two)
    assert user.runs('test -e "$THRUM_SETUP/evil" && grep -q ==2 "$THRUM_SETUP/requirements.txt"', of_two)
    assert user.provide(two) == of_two
    assert user.provide(three).readable != of_two.readable
    landed = commit(place.path, {"requirements.txt": "greeting==2\n"})
    assert not user.runs('test -e "$THRUM_SETUP/evil"', user.provide(landed))


def test_agents_and_gates_have_theirs_apart(place: Place, head: str) -> None:
    place.counting()
    agents, gates = place.user("one", "setup-agents").provide(head), place.user("two", "setup-gates").provide(head)
    assert agents.readable != gates.readable
    assert made(agents) != made(gates)


def test_two_at_once_make_it_once(place: Place, head: str) -> None:
    place.counting()
    users = [place.user(name) for name in ("one", "two", "three")]
    with ThreadPoolExecutor() as pool:
        seen = list(pool.map(lambda user: made(user.provide(head)), users))
    assert seen[0] == seen[1] == seen[2]


def test_a_setup_that_fails_could_not_run_and_says_what_it_printed(place: Place) -> None:
    place.repo = replace(place.repo, setup_cmd=f"echo half > $THRUM_SETUP/half; cat {place.shown}/wheel")
    result = gate_check(place, "true")
    assert result.verdict is Verdict.COULD_NOT_RUN
    assert "setup_cmd of repo failed: exit code 1" in result.reason
    assert "wheel" in result.reason
    assert "No such file" in result.reason
    # Nothing half-made is used: the next run makes it anew.
    (place.shown / "wheel").write_text("here\n")
    assert gate_check(place, "test -e $THRUM_SETUP/half").verdict is Verdict.PASSED


INSTALLS_KNOWN = (
    'grep -q "^greeting==1$" requirements.txt || { echo "no such package: $(cat requirements.txt)"; exit 3; }'
)


def test_a_setup_that_fails_on_the_change_alone_is_the_change_s_fault(place: Place, head: str) -> None:
    place.repo = replace(place.repo, setup_cmd=INSTALLS_KNOWN)
    assert gate_check(place, "true", base=head).verdict is Verdict.PASSED
    changed = commit(place.path, {"requirements.txt": "greting==1\n"})
    result = gate_check(place, "true", base=head)
    assert (result.verdict, result.exit_code) == (Verdict.FAILED, None)
    assert result.reason == "setup_cmd fails with this change, and succeeds without it"
    assert (result.command, result.tail) == (INSTALLS_KNOWN, "no such package: greting==1\n")
    assert gate_check(place, "true", base=changed).verdict is Verdict.COULD_NOT_RUN, "it fails on the base as well"
    assert gate_check(place, "true").verdict is Verdict.COULD_NOT_RUN, "nobody knows"


def test_a_setup_that_fails_on_the_base_by_now_is_the_machine_s_though_it_succeeded_before(
    place: Place, head: str
) -> None:
    there = place.shown / "index"
    there.write_text("")
    place.repo = replace(place.repo, setup_cmd=f"cat {there} && {INSTALLS_KNOWN}")
    assert gate_check(place, "true", base=head).verdict is Verdict.PASSED
    commit(place.path, {"requirements.txt": "greeting==1\nanother==1\n"})
    there.unlink()
    result = gate_check(place, "true", base=head)
    assert result.verdict is Verdict.COULD_NOT_RUN
    assert "No such file" in result.reason
    assert not list((place.directory / "work/repo/setup-gates").glob("*.control")), "what was tried out is gone"


def test_a_setup_that_takes_too_long_is_ended(place: Place, head: str) -> None:
    place.repo = replace(place.repo, setup_cmd="echo begun; sleep 60", setup_timeout_s=0.5)
    with pytest.raises(ToolError, match="time limit") as caught:
        place.user("one").provide(head)
    assert caught.value.output == "begun\n"


def test_a_setup_ends_when_its_run_is_stopped(place: Place, head: str) -> None:
    begun = place.shown / "begun"
    os.mkfifo(begun)
    begun.chmod(0o666)
    place.repo = replace(place.repo, setup_cmd=f"echo > {begun}; sleep 60")
    stop = threading.Event()
    listener = threading.Thread(target=lambda: (begun.read_text(), stop.set()), daemon=True)
    listener.start()
    with pytest.raises(ToolError, match="stopped on request"):
        place.user("one").provide(head, stop=stop)
    listener.join(30)


def test_whoever_waits_for_another_ones_setup_does_not_wait_for_ever(place: Place, head: str) -> None:
    user = place.user("one")
    provision = user.provide(head)
    key = Path(provision.readable[0])
    place.repo = replace(place.repo, setup_timeout_s=0.2)
    with Lock(key.with_name(f"{key.name}.lock"), kind="setup"), pytest.raises(BusyError, match=r"held by setup"):
        place.user("two").provide(head)


def test_the_work_tree_is_clean_after_a_setup_that_wrote_into_it(place: Place, head: str) -> None:
    place.repo = replace(place.repo, setup_cmd="echo spoilt > requirements.txt; mkdir node_modules; touch stray")
    user = place.user("one")
    provision = user.provide(head)
    assert user.runs("grep -q greeting requirements.txt && test ! -e stray && test ! -e node_modules", provision)


@needs("bwrap")
@pytest.mark.parametrize("place", ["os-native"], indirect=True)
def test_checks_cannot_write_what_was_set_up(place: Place, head: str) -> None:
    user = place.user("one")
    provision = user.provide(head)
    assert user.runs('test -x "$THRUM_SETUP/venv/bin/python"', provision)
    assert not user.runs('touch "$THRUM_SETUP/evil"', provision)
    assert not user.runs('echo > "$THRUM_SETUP"/venv/lib/python3*/site-packages/greeting/__init__.py', provision)


def test_a_task_of_a_repository_with_a_setup_lands(tmp_path: Path) -> None:
    """Its agent runs the tests with what is set up for agents, the gate with what is set up for gates."""
    agent = f'{TEST} || exit 1\ncase "$THRUM_SETUP" in */setup-agents/*) echo "$THRUM_TASK" > done.txt ;; esac\n'
    test = f'case "$THRUM_SETUP" in */setup-gates/*) {TEST} ;; *) exit 1 ;; esac'
    keys = f"setup_cmd = \"sh install.sh\"\ntest_cmd = '{test}'\nexpect_tests = false"
    sandbox = "none" if missing("bwrap") or missing("cgroup-writable") else "os-native"
    pipeline = "[engine]\ngate_actors = 1\nmax_retries = 0"
    directory = tmp_path / "project"
    for system in systems(directory, sandbox=sandbox, agent=agent, repo_keys=keys, pipeline=pipeline):
        commit(system.repo(), FILES)
        system.up()
        with Office(system) as office:
            task = office.add("Greet")
            view = office.land(task)
            assert view["state"] == "merged", view
        assert len(landings(system.repo())) == 2  # the files, and the task


BREAKS = """\
case "$(cat "$1")" in
    *"no such package: greting"*) echo greeting==1 > requirements.txt; echo done > done.txt ;;
    *) echo greting==1 > requirements.txt ;;
esac
"""


def test_a_change_that_breaks_the_setup_goes_back_to_its_agent_with_the_output_and_can_be_mended(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "project"
    keys = f"setup_cmd = {json.dumps(INSTALLS_KNOWN)}\nlint_cmd = 'true'\ntest_cmd = 'true'\nexpect_tests = false"
    pipeline = "[engine]\ngate_actors = 1\nmax_retries = 1"
    for system in systems(directory, agent=BREAKS, repo_keys=keys, pipeline=pipeline):
        commit(system.repo(), {"requirements.txt": "greeting==1\n"})
        system.up()
        with Office(system) as office:
            task = office.add("Greet")
            view = office.land(task)
            assert (view["state"], view["retries"], len(view["attempts"])) == ("merged", 1, 2)
            (setback,) = view["setbacks"]
            assert "Check `lint`, `test` (no exit code, setup_cmd fails with this change" in setback["text"]
            assert setback["text"].count("no such package: greting==1") == 1
        assert git(system.repo(), "show", "main:requirements.txt") == "greeting==1"


FETCH = """\
import sys, urllib.error, urllib.request
listed, other = sys.argv[1:]
assert urllib.request.urlopen(f"http://127.0.0.1:{listed}/").status == 200
try:
    urllib.request.urlopen(f"http://127.0.0.1:{other}/")
except urllib.error.HTTPError as error:
    sys.exit(error.code != 403)
sys.exit("what is not listed was reached")
"""


class Origin(http.server.BaseHTTPRequestHandler):
    """Answers, and says nothing of it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@needs("bwrap")
def test_with_a_list_a_setup_reaches_what_is_on_it_and_nothing_else(tmp_path: Path) -> None:
    make_repository(tmp_path / "repo", {"fetch.py": FETCH})
    place = Place(tmp_path, "os-native")
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin) for _ in range(2)]
    try:
        for server in servers:
            threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        listed, other = (server.server_address[1] for server in servers)
        place.config = replace(place.config, setup_network=True, setup_allow=(f"127.0.0.1:{listed}",))
        place.repo = replace(place.repo, setup_cmd=f"/usr/bin/python3 fetch.py {listed} {other}")
        place.user("agent").provide(git(place.path, "rev-parse", "main"))
        place.repo = replace(place.repo, setup_cmd=f"/usr/bin/python3 fetch.py {other} {listed}")
        with pytest.raises(ToolError, match="403"):
            place.user("other").provide(git(place.path, "rev-parse", "main"))
    finally:
        place.close()
        for server in servers:
            server.shutdown()
            server.server_close()
