"""A check that is a command: run in the sandbox, then judged by how it ended, what its runner said, what it made."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path

from thrum.checking.artifacts import State, state, verdict_on
from thrum.checking.rooms import Room
from thrum.checking.turn import HEAD_CHARS, TAIL_CHARS, Turn, text_of
from thrum.checks import BUILT_IN, OF_THE_CHECKOUT, fill, named_repos, programs
from thrum.errors import NotFoundError
from thrum.files import Printed, read_untrusted
from thrum.gate import Artifact, Check, CheckResult, Command, Tally, Verdict
from thrum.job import Ending, Job, Outcome
from thrum.junit import read_junit
from thrum.runners import cut_short, ran_nothing, read_tests
from thrum.runners.cargo import just_these, listing, read_listing
from thrum.sampling import chosen
from thrum.setups import shell

REPORT_BYTES = 8 * 1024 * 1024
LIST_BYTES = 4 * 1024 * 1024


def run(turn: Turn) -> CheckResult:
    """Run the check's command on the turn's checkout and judge it; all of it where its share of the tests was empty.

    Raises:
        NotFoundError: the fixture is not there, or a repository that the command names.
        SandboxError: see `Sandbox.run`.
    """
    result = _ran(turn)
    if turn.check.sample is None or result.verdict is not Verdict.FAILED or not _empty(result):
        return result
    # Those that were chosen are skipped ones, and that is nobody's fault.
    turn.room.workspace.prepare(turn.commit)
    return _ran(replace(turn, check=replace(turn.check, sample=None)))


def _empty(result: CheckResult) -> bool:
    return result.exit_code == 0 and result.tests is not None and not result.tests.run


def _ran(turn: Turn) -> CheckResult:
    check, fixture = turn.check, turn.asked.fixture
    if fixture and not os.path.exists(fixture):
        raise NotFoundError(f"the fixture {fixture} is not there")
    if not _has_folder(turn):
        reason = f"there is no folder {check.folder} in this commit"
        return CheckResult(name=check.name, verdict=Verdict.FAILED, reason=reason, command=text_of(check.command))
    others = _others(turn, check.command)
    command = fill(check.command, _values(turn, others, turn.output_dir))
    missing = _missing(turn)
    if missing:
        reason = f"the program {missing!r} is not to be found in the sandbox"
        return CheckResult(name=check.name, verdict=Verdict.COULD_NOT_RUN, reason=reason, command=text_of(command))
    output = turn.place / "output.log"
    job = _sampled(turn, replace(_job(turn, command, others, turn.output_dir), output_path=str(output)), command)
    before = {one.path: state(one, turn.output_dir) for one in check.artifacts}
    outcome = _outcome(turn, job)
    verdict, reason, tests = _judged(turn, outcome)
    made: dict[str, str] = {}
    if verdict is Verdict.PASSED:
        verdict, reason, made = _made(turn, before)
    return CheckResult(
        name=check.name,
        verdict=verdict,
        exit_code=outcome.exit_code,
        duration_s=outcome.duration_s,
        reason=reason,
        command=text_of(command),
        head=_head(output, outcome),
        tail=outcome.tail[-TAIL_CHARS:],
        output_digest=turn.outputs.gather(Printed(output).since())[0] if outcome.output_bytes else "",
        output_bytes=outcome.output_bytes,
        tests=tests,
        share=_share(check, tests),
        artifacts=made,
    )


def judge(check: Check, outcome: Outcome) -> tuple[Verdict, str]:
    """The verdict on a run: passed is only what ran to its end, exited 0 and, where that is asked, told of a test that
    it ran; what a report says that the check has is not asked here."""
    match outcome.ending:
        case Ending.NOT_FOUND | Ending.NOT_STARTED:
            return Verdict.COULD_NOT_RUN, outcome.reason
        case Ending.EXITED if outcome.exit_code == 0:
            short = _short(check, _whole_lines(outcome)) if check.expect_tests else ""
            return (Verdict.FAILED, short) if short else (Verdict.PASSED, "")
        case _:
            return Verdict.FAILED, outcome.reason or f"exit code {outcome.exit_code}"


# --- Before it runs ---------------------------------------------------------------------------------------------------


def _others(turn: Turn, command: Command) -> dict[str, Room]:
    """Checkouts of the repositories that the command names, each at the vector's commit; its own is clean already."""
    rooms = {name: turn.rooms.room(name, turn.asked.home) for name in named_repos(command)}
    for name, room in rooms.items():
        if name != turn.check.repo:
            room.workspace.prepare(turn.asked.vector[name])
    return rooms


def _values(turn: Turn, others: Mapping[str, Room], output_dir: Path) -> dict[str, str]:
    """What is put in the place of placeholders."""
    trees = {f"repo:{name}": str(room.workspace.tree) for name, room in others.items()}
    return {"fixture": turn.asked.fixture, "output_dir": str(output_dir), **trees}


def _has_folder(turn: Turn) -> bool:
    """Whether the folder of the check is one of the checkout, and no way out of it."""
    place = (turn.room.workspace.tree / turn.check.folder).resolve()
    return place.is_dir() and place == turn.room.workspace.tree.resolve() / os.path.normpath(turn.check.folder or ".")


def _missing(turn: Turn) -> str:
    # Before placeholders are filled in: what lies behind one is no program of the machine.
    return next((names[0] for names in programs(turn.check) if not any(map(turn.room.sandbox.which, names))), "")


def _job(turn: Turn, command: Command, others: Mapping[str, Room], *writable: Path) -> Job:
    tree = str(turn.room.workspace.tree)
    return Job(
        argv=shell(command),
        cwd=os.path.join(tree, turn.check.folder) if turn.check.folder else tree,
        env=turn.environment(),
        writable=(tree, *map(str, writable)),
        readable=(
            str(turn.ours()),
            *turn.room.workspace.readable,
            *turn.provision.readable,
            *filter(None, (turn.asked.fixture,)),
            *(path for room in others.values() for path in (str(room.workspace.tree), *room.workspace.readable)),
        ),
        network=turn.check.network,
        wall_s=turn.check.timeout_s,
        tail_bytes=64 * 1024,
    )


def _outcome(turn: Turn, job: Job) -> Outcome:
    """How the job ended. A program of a checkout that is not there, or cannot be begun, has failed as a shell would
    tell it: whoever changed the checkout can mend it, and the operator cannot."""
    outcome = turn.room.sandbox.run(job, stop=turn.stop)
    if outcome.ending not in (Ending.NOT_FOUND, Ending.NOT_STARTED) or not _of_a_checkout(turn, job):
        return outcome
    if outcome.ending is Ending.NOT_STARTED:
        trial = turn.room.sandbox.run(replace(job, argv=("true",), output_path=""), stop=turn.stop)
        if not trial.ok:
            return outcome  # nothing begins there
    code = 127 if outcome.ending is Ending.NOT_FOUND else 126
    reason = f"exit code {code} ({outcome.reason}): {job.argv[0]} {OF_THE_CHECKOUT}"
    return replace(outcome, ending=Ending.EXITED, exit_code=code, reason=reason)


def _of_a_checkout(turn: Turn, job: Job) -> bool:
    path = os.path.normpath(os.path.join(job.cwd, job.argv[0]))
    opened = (turn.rooms.opened(name, turn.asked.home) for name in turn.asked.vector)
    trees = (str(room.workspace.tree) for room in opened if room is not None)
    places = (*job.writable, *trees, str(turn.judged_dir))
    return "/" in job.argv[0] and any(Path(path).is_relative_to(place) for place in places)


# --- A share of the tests ---------------------------------------------------------------------------------------------


def _sampled(turn: Turn, job: Job, command: Command) -> Job:
    """The job as it runs its share of the tests: pytest by a plugin of ours, cargo by the names of those chosen."""
    if turn.check.sample is None:
        return job
    start, ratio = turn.check.sample
    asked = listing(command)
    if asked is None:
        plugin = resources.files("thrum").joinpath("sampling.py").read_bytes()
        (turn.ours() / "thrum_sampling.py").write_bytes(plugin)
        # Beside what the check has of its own: without that it might not find the code.
        path = os.pathsep.join(filter(None, (str(turn.ours()), job.env.get("PYTHONPATH"))))
        plugins = ",".join(filter(None, (job.env.get("PYTEST_PLUGINS"), "thrum_sampling")))
        ours = {"PYTHONPATH": path, "PYTEST_PLUGINS": plugins, "THRUM_SAMPLE": f"{start} {ratio}"}
        return replace(job, env={**job.env, **ours})
    began = time.monotonic()
    look = replace(job, argv=asked, output_path="", tail_bytes=LIST_BYTES, output_limit_bytes=LIST_BYTES)
    outcome = turn.room.sandbox.run(look, stop=turn.stop)
    tests = read_listing(outcome.tail) if outcome.ok else []
    left_s = max(1.0, job.wall_s - (time.monotonic() - began))
    # What cannot be listed is run as a whole, and says itself what is wrong with it.
    some = just_these(command, chosen(tests, start, ratio)) if tests else None
    return replace(job, argv=some or job.argv, wall_s=left_s)


# --- After it ran -----------------------------------------------------------------------------------------------------


def _judged(turn: Turn, outcome: Outcome) -> tuple[Verdict, str, Tally | None]:
    """What the run's end, its runner and its report say together."""
    check = turn.check
    verdict, reason = judge(check, outcome)
    tests = read_tests(_whole_lines(outcome))
    if verdict is Verdict.PASSED and check.expect_tests and tests is not None and tests.failed:
        # What runs in the tests may have set the exit code.
        verdict = Verdict.FAILED
        reason = f"its runner tells of {tests.failed} failed tests, though it exited with 0"
    if check.junit:
        tests, problem = _reported(turn.room.workspace.tree, check.junit)
        if turn.room.git.blobs(turn.commit, [os.path.normpath(check.junit)]):
            # It could be an old one, or the agent's own.
            tests, problem = None, f"the report {check.junit} is a part of the commit: it must be made by the run"
        if verdict is Verdict.PASSED and problem:
            verdict, reason = Verdict.FAILED, problem
    return verdict, reason, tests


def _short(check: Check, output: str) -> str:
    """Why a run that exited 0 does not count as one that executed a test; empty where it does."""
    why = cut_short(output) or ran_nothing(output)
    if why or check.junit or read_tests(output) is not None:
        return why
    built_in = check.name in BUILT_IN
    table, key = ("[[repo]]", "test_junit") if built_in else (f"[checks.{check.name}]", "junit")
    return (
        "no known test runner says how many tests it ran: it was ended before, or it is not known; "
        f"give it a JUnit report ({key} in {table}), or say there expect_tests = false if its exit code is enough"
    )


def _made(turn: Turn, before: Mapping[str, State | None]) -> tuple[Verdict, str, dict[str, str]]:
    """What the artifacts say that the check must have made: passed, or what is wrong with the first that is not; and
    the digests of those that were looked at."""
    digests: dict[str, str] = {}
    for artifact in turn.check.artifacts:
        compare = partial(_compared, turn, artifact)
        copy = turn.judged_dir / artifact.path if _is_compared(turn, artifact) else None
        verdict, reason, digest = verdict_on(artifact, turn.output_dir, compare, before[artifact.path], copy)
        digests |= {artifact.path: digest} if digest else {}
        if verdict is not Verdict.PASSED:
            return verdict, reason, digests
    return Verdict.PASSED, "", digests


def _is_compared(turn: Turn, artifact: Artifact) -> bool:
    """Whether some comparison of the run looks at the artifact: its own, or one that is given the folder."""
    commands = (one.compare for check in turn.asked.checks for one in check.artifacts)
    return bool(artifact.compare) or any("{output_dir}" in text_of(command) for command in commands)


def _compared(turn: Turn, artifact: Artifact) -> Outcome:
    """How the artifact's command ended, on copies and in checkouts that the step has never seen."""
    turn.room.workspace.prepare(turn.commit)
    others = _others(turn, artifact.compare)
    values = {**_values(turn, others, turn.judged_dir), "artifact": str(turn.judged_dir / artifact.path)}
    job = _job(turn, fill(artifact.compare, values), others)
    return _outcome(turn, replace(job, readable=(*job.readable, str(turn.judged_dir))))


def _share(check: Check, tests: Tally | None) -> float:
    """The share of the tests that ran; the one that was asked for, where the runner does not say what it left out."""
    if check.sample is None:
        return 1.0
    seen = tests.run + tests.skipped if tests else 0
    return seen / (seen + tests.left_out) if tests and seen and tests.left_out else check.sample[1]


def _head(output: Path, outcome: Outcome) -> str:
    """The beginning of an output that the tail does not reach: compilers say first what is wrong."""
    if outcome.output_bytes <= TAIL_CHARS:
        return ""
    return Printed(output).read(0, min(HEAD_CHARS, outcome.output_bytes - TAIL_CHARS))[0].decode(errors="replace")


def _whole_lines(outcome: Outcome) -> str:
    """The end of the output from the beginning of a line on: half of a line would be read as another one."""
    cut = outcome.output_bytes > len(outcome.tail.encode())
    return outcome.tail.partition("\n")[2] if cut else outcome.tail


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
