"""Runs checks: each in a sandbox, on a clean checkout of the exact commit. What a gate consists of is `thrum.checks`'s.

The definition of a check comes with it, never from the checkout.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path

from thrum.artifacts import comparers, verdict_on
from thrum.checks import fill, first_program, named_repos, programs
from thrum.config import Project, RepoConfig
from thrum.errors import NotFoundError, ThrumError, words
from thrum.files import OutputStore, read_untrusted, remove_tree
from thrum.fingerprint import fingerprint
from thrum.gate import Check, CheckResult, Command, Gate, Obligations, Tally, Verdict
from thrum.git.repository import Repository
from thrum.globs import matched
from thrum.job import Ending, Job, Outcome
from thrum.junit import read_junit
from thrum.messages.gates import GateReported, RunGate
from thrum.proof import Proof, Workbench
from thrum.records import to_plain
from thrum.runners import cut_short, ran_nothing, read_tests
from thrum.sandbox import Sandbox, open_sandbox
from thrum.setups import Provision, Setups, shell
from thrum.values import dataclass
from thrum.workspace import Workspace

log = logging.getLogger(__name__)

TAIL_CHARS = 12_000
PROVER_OUTPUT_BYTES = 1024 * 1024
REPORT_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rooms:
    """What running checks of one repository needs; kept warm from run to run."""

    repo: RepoConfig
    git: Repository
    sandbox: Sandbox
    workspace: Workspace
    setups: Setups


class CheckRunner:
    """Runs checks, each on a clean checkout; for one thread."""

    def __init__(self, project: Project, outputs: OutputStore, directory: Path, owner: str) -> None:
        """`directory` is this runner's own place for checkouts, `owner` its unique name."""
        self._project = project
        self._outputs = outputs
        self._directory = directory
        self._owner = owner
        self._rooms: dict[str, _Rooms] = {}

    def run(self, asked: RunGate, stop: threading.Event) -> GateReported:
        """Run the checks in order. Steps of an integration pipeline build on each other: the first that does not
        pass is the last that runs. Of a run that is stopped the check under way says nothing."""
        started_at = time.time()
        results: list[CheckResult] = []
        for check in asked.checks:
            result = self._check(asked, check, stop, first=not results)
            if stop.is_set():
                break
            results.append(result)
            if asked.gate is Gate.INTEGRATION and result.verdict is not Verdict.PASSED:
                break
        return GateReported(run=asked.run, checks=tuple(results), started_at=started_at, ended_at=time.time())

    def close(self) -> None:
        """Let go of the sandboxes."""
        for rooms in self._rooms.values():
            rooms.sandbox.close()

    def _check(self, asked: RunGate, check: Check, stop: threading.Event, *, first: bool) -> CheckResult:
        out = self._directory / "run"
        began = time.monotonic()
        try:
            if first:
                remove_tree(out)
                out.mkdir(parents=True)
            rooms = self._room(check.repo)
            commit = asked.vector[check.repo]
            provision = rooms.setups.provide(commit, rooms.workspace, stop=stop)
            if asked.probe:
                return self._probe(rooms, check)
            dependence = self._dependence(rooms, check, provision)
            known = asked.known.get(check.name)
            if known is not None and dependence and known.fingerprint == dependence:
                return replace(known, cached=True)
            rooms.workspace.prepare(commit)
            if check.prover:
                result = self._prove(rooms, check, commit, provision, out, stop)
            else:
                result = self._run(rooms, asked, check, provision, out, stop)
            return replace(result, fingerprint=dependence if result.verdict is Verdict.PASSED else "")
        except (ThrumError, OSError) as error:
            reason = words(error)
        except Exception as error:  # else one check would take down every gate actor that tries it, one by one
            log.exception("a check could not be run for a fault of ours", extra={"check": check.name})
            reason = f"{type(error).__name__}: {error}; this is a fault in Thrum, and the gate actor's log has more"
        return CheckResult(
            name=check.name,
            verdict=Verdict.COULD_NOT_RUN,
            duration_s=time.monotonic() - began,
            reason=reason,
            command=text_of(check.command) or check.prover,
        )

    def _dependence(self, rooms: _Rooms, check: Check, provision: Provision) -> str:
        """The fingerprint of what a result depends on; empty where it cannot be told, or the network is open."""
        config = self._project.pipeline.sandbox
        if check.network or check.sample or config.mount_paths or rooms.repo.mount_paths:
            return ""
        found = [rooms.sandbox.which(name) or "" for name in programs(check)]
        return fingerprint(to_plain(config), self._variables(), found, provision.readable)

    def _probe(self, rooms: _Rooms, check: Check) -> CheckResult:
        wanted = (*programs(check), *comparers(check.artifacts))
        missing = [name for name in wanted if not rooms.sandbox.which(name)]
        command = text_of(check.command) or check.prover
        if not missing:
            return CheckResult(name=check.name, verdict=Verdict.PASSED, command=command)
        what = (
            f"the program {missing[0]!r} is not to be found in the sandbox; install it, or add its path to mount_paths"
        )
        return CheckResult(name=check.name, verdict=Verdict.COULD_NOT_RUN, reason=what, command=command)

    # --- Commands -----------------------------------------------------------------------------------------------

    def _run(
        self, rooms: _Rooms, asked: RunGate, check: Check, provision: Provision, out: Path, stop: threading.Event
    ) -> CheckResult:
        if asked.fixture and not os.path.exists(asked.fixture):
            raise NotFoundError(f"the fixture {asked.fixture} is not there")
        shared = out / "output"
        if not shared.exists():
            shared.mkdir()
            self._give(rooms.sandbox, shared)
        others = self._others(asked, check)
        values = {"fixture": asked.fixture, "output_dir": str(shared)}
        values |= {f"repo:{name}": str(room.workspace.tree) for name, room in others.items()}
        command = fill(check.command, values)
        wanted = filter(None, (first_program(command), *comparers(check.artifacts)))
        missing = next((name for name in wanted if not rooms.sandbox.which(name)), "")
        if missing:
            reason = f"the program {missing!r} is not to be found in the sandbox"
            return CheckResult(name=check.name, verdict=Verdict.COULD_NOT_RUN, reason=reason, command=text_of(command))
        output = out / f"{len(list(out.iterdir()))}.log"
        job = Job(
            argv=shell(command),
            cwd=str(rooms.workspace.tree),
            env={**self._variables(), **provision.env, **check.env, **self._sampling(check, out)},
            writable=(str(rooms.workspace.tree), str(shared)),
            readable=(
                str(out / "ours"),
                *rooms.workspace.readable,
                *provision.readable,
                *filter(None, (asked.fixture,)),
                *(path for room in others.values() for path in (str(room.workspace.tree), *room.workspace.readable)),
            ),
            network=check.network,
            wall_s=check.timeout_s,
            output_path=str(output),
            tail_bytes=64 * 1024,
        )
        outcome = rooms.sandbox.run(job, stop=stop)
        verdict, reason = judge(check, outcome)
        tests = read_tests(_whole_lines(outcome))
        if verdict is Verdict.PASSED and check.expect_tests and tests is not None and tests.failed:
            # What runs in the tests may have set the exit code.
            verdict, reason = (
                Verdict.FAILED,
                f"its runner tells of {tests.failed} failed tests, though it exited with 0",
            )
        if check.junit:
            tests, problem = _reported(rooms.workspace.tree, check.junit)
            if rooms.git.blobs(asked.vector[check.repo], [os.path.normpath(check.junit)]):
                # It could be an old one, or the agent's own.
                tests, problem = None, f"the report {check.junit} is a part of the commit: it must be made by the run"
            if verdict is Verdict.PASSED and problem:
                verdict, reason = Verdict.FAILED, problem
        for artifact in check.artifacts if verdict is Verdict.PASSED else ():
            values["artifact"] = str(shared / artifact.path)
            comparison = replace(job, argv=shell(fill(artifact.compare, values)), output_path="")
            verdict, reason = verdict_on(artifact, shared, partial(rooms.sandbox.run, comparison, stop=stop))
            if verdict is not Verdict.PASSED:
                break
        return CheckResult(
            name=check.name,
            verdict=verdict,
            exit_code=outcome.exit_code,
            duration_s=outcome.duration_s,
            reason=reason,
            command=text_of(command),
            tail=outcome.tail[-TAIL_CHARS:],
            output_digest=self._outputs.adopt(output)[0] if outcome.output_bytes else "",
            output_bytes=outcome.output_bytes,
            tests=tests,
        )

    def _sampling(self, check: Check, out: Path) -> dict[str, str]:
        """The variables by which pytest runs a share of its tests, with the plugin that they name."""
        ours = out / "ours"
        ours.mkdir(exist_ok=True)
        if check.sample is None:
            return {}
        plugin = resources.files("thrum").joinpath("sampling.py").read_bytes()
        (ours / "thrum_sampling.py").write_bytes(plugin)
        start, ratio = check.sample
        return {"PYTHONPATH": str(ours), "PYTEST_PLUGINS": "thrum_sampling", "THRUM_SAMPLE": f"{start} {ratio}"}

    def _others(self, asked: RunGate, check: Check) -> dict[str, _Rooms]:
        """Checkouts of the other repositories that the check names, each at the vector's commit."""
        commands = (check.command, *(artifact.compare for artifact in check.artifacts))
        names = dict.fromkeys(name for command in commands for name in named_repos(command))
        rooms = {name: self._room(name) for name in names}
        for name, room in rooms.items():
            if name != check.repo:
                room.workspace.prepare(asked.vector[name])
        return rooms

    # --- Provers ------------------------------------------------------------------------------------------------

    def _prove(
        self, rooms: _Rooms, check: Check, commit: str, provision: Provision, out: Path, stop: threading.Event
    ) -> CheckResult:
        began = time.monotonic()
        assert check.obligations is not None
        told = check.obligations
        wanted = (*told.smt, *told.python) if check.prover == "z3" else told.rocq
        links = matched(rooms.git.links(commit), wanted)
        if links:
            reason = f"no file but a link, so it proves nothing: {', '.join(links)}"
            return CheckResult(name=check.name, verdict=Verdict.FAILED, reason=reason, command=check.prover)
        proof = _prover(check.prover)(check.obligations, self._bench(rooms, check, commit, provision, out, stop))
        log = proof.log.encode(errors="replace")
        return CheckResult(
            name=check.name,
            verdict=proof.verdict,
            exit_code=proof.exit_code,
            duration_s=time.monotonic() - began,
            reason=proof.reason,
            command=check.prover,
            tail=proof.log[-TAIL_CHARS:],
            output_digest=self._outputs.keep(log) if log else "",
            output_bytes=len(log),
            tests=proof.tests,
            details=proof.details,
        )

    def _bench(
        self, rooms: _Rooms, check: Check, commit: str, provision: Provision, out: Path, stop: threading.Event
    ) -> Workbench:
        ours = out / "ours"
        ours.mkdir(exist_ok=True)
        tree = str(rooms.workspace.tree)

        def read(path: str) -> bytes:
            data = rooms.git.read_file(commit, path)
            if data is None:
                raise NotFoundError(f"{commit[:12]} has no file {path}")
            return data

        def put(name: str, data: bytes) -> str:
            (ours / name).write_bytes(data)
            return str(ours / name)

        def run(argv: tuple[str, ...], wall_s: float) -> Outcome:
            job = Job(
                argv=argv,
                cwd=tree,
                env={**self._variables(), **provision.env, **check.env},
                writable=(tree,),
                readable=(*rooms.workspace.readable, *provision.readable, str(ours)),
                wall_s=min(wall_s, check.timeout_s),
                output_limit_bytes=PROVER_OUTPUT_BYTES,
                tail_bytes=PROVER_OUTPUT_BYTES,
            )
            return rooms.sandbox.run(job, stop=stop)

        def which(program: str) -> str:
            return rooms.sandbox.which(program) or ""

        return Workbench(tree=tree, files=rooms.git.files(commit), read=read, put=put, which=which, run=run)

    # --- Rooms --------------------------------------------------------------------------------------------------

    def _variables(self) -> dict[str, str]:
        return self._project.pipeline.sandbox.variables(os.environ)

    def _give(self, sandbox: Sandbox, folder: Path) -> None:
        if sandbox.uid is not None:
            os.chown(folder, sandbox.uid, sandbox.uid)

    def _room(self, name: str) -> _Rooms:
        repo = self._project.repo(name)
        if repo is None:
            raise NotFoundError(f"the configuration has no repository {name!r}")
        if name not in self._rooms:
            config = self._project.pipeline.sandbox
            sandbox = open_sandbox(
                replace(config, mount_paths=(*config.mount_paths, *repo.mount_paths)),
                name=f"{self._owner}.{repo.name}",
                private=(str(Path(self._project.directory, ".thrum")),),
            )
            work = Path(self._project.pipeline.engine.worktrees_dir)
            self._rooms[name] = _Rooms(
                repo=repo,
                git=Repository(repo.path, repo.branch),
                sandbox=sandbox,
                workspace=Workspace(self._directory / repo.name, repo.path, sandbox),
                setups=Setups(work / repo.name / "setup-gates", repo, sandbox, config),
            )
        return self._rooms[name]


def text_of(command: Command) -> str:
    """A command as a person reads it."""
    return command if isinstance(command, str) else " ".join(command)


def judge(check: Check, outcome: Outcome) -> tuple[Verdict, str]:
    """The verdict on a run: passed is only what ran to its end, exited 0 and, where that is asked, ran a test."""
    match outcome.ending:
        case Ending.NOT_FOUND | Ending.NOT_STARTED:
            return Verdict.COULD_NOT_RUN, outcome.reason
        case Ending.EXITED if outcome.exit_code == 0:
            tail, command = outcome.tail, "" if check.junit else text_of(check.command)
            short = (ran_nothing(tail) or cut_short(command, tail)) if check.expect_tests else ""
            return (Verdict.FAILED, short) if short else (Verdict.PASSED, "")
        case _:
            return Verdict.FAILED, outcome.reason or f"exit code {outcome.exit_code}"


def _whole_lines(outcome: Outcome) -> str:
    """The end of the output from the beginning of a line on: half of a line would be read as another one."""
    cut = outcome.output_bytes > len(outcome.tail.encode())
    return outcome.tail.partition("\n")[2] if cut else outcome.tail


def _prover(name: str) -> Callable[[Obligations, Workbench], Proof]:
    # Imported here: most repositories prove nothing.
    if name == "z3":
        from thrum.proof.z3 import prove as prove_smt

        return prove_smt
    from thrum.proof.rocq import prove as prove_rocq

    return prove_rocq


def _reported(tree: Path, path: str) -> tuple[Tally | None, str]:
    """What a JUnit report says, or why it says nothing that counts."""
    try:
        tests = read_junit(read_untrusted(tree, path, limit_bytes=REPORT_BYTES))
    except OSError as error:
        return None, f"there is no report {path}: {error.strerror}"
    except ValueError as error:
        return None, f"the report {path} cannot be read: {error}"
    if tests.failed:
        return tests, f"the report {path} tells of {tests.failed} failed tests"
    return tests, "" if tests.run else f"the report {path} tells of no test that ran"
