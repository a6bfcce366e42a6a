"""One slot: wherever its worker is killed, no commit is lost, nothing is done twice, and what was said is known."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.repositories import git
from tests.requirements import needs
from tests.slots import AFTER_IT, AGENTS, BEFORE_THE_AGENT, FIRST, FIRST_WORDS, LAST, REPORTED, WHILE_IT_RUNS, Bench
from thrum.actors.reports import MOST, tellable
from thrum.actors.slot import Slot
from thrum.messages.attempts import AttemptReported
from thrum.packing import fits
from thrum.sandbox.process import StopEvent
from thrum.workspace import BEYOND_USE

TASK = "one-2"
WORK = {"committed.txt": TASK, "uncommitted.txt": TASK}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A slot whose clone still holds what another task's attempt left."""
    bench = Bench(tmp_path)
    assert bench.pinned(bench.run(bench.asked("one-1"))) == dict.fromkeys(WORK, "one-1")
    return bench


def taken_up(bench: Bench) -> AttemptReported | None:
    """What the next worker in the slot tells of the attempt; it dies once more in the middle of it."""
    slot = bench.slot()
    journal = slot.journal()
    if journal is None or journal.report is not None:
        return journal.report if journal else None
    first = slot.salvage(journal)
    slot.close()
    slot = bench.slot()
    second = slot.salvage(journal)
    told_apart = {"started_at": 0.0, "ended_at": 0.0, "head": "", "bundle": ""}
    assert replace(first, **told_apart) == replace(second, **told_apart), "to take it up twice changes nothing"
    slot.close()
    return second


def clear(bench: Bench) -> None:
    slot = bench.slot()
    slot.clear()
    assert slot.journal() is None
    slot.close()


@pytest.mark.parametrize("point", BEFORE_THE_AGENT)
def test_what_is_killed_before_its_agent_began_is_nobodys_work(bench: Bench, point: str) -> None:
    bench.killed(bench.asked(TASK), point)
    report = taken_up(bench)
    if report is not None:
        assert (report.ending, report.bundle, report.output_digest) == ("lost", "", "")
        clear(bench)
    assert bench.runs(TASK) == []
    assert bench.pinned(bench.run(bench.asked(TASK, 2))) == WORK


@pytest.mark.parametrize("point", WHILE_IT_RUNS)
def test_what_is_killed_while_its_agent_runs_keeps_work_output_and_session(bench: Bench, point: str) -> None:
    bench.killed(bench.asked(TASK), point)
    report = taken_up(bench)
    assert report is not None
    assert (report.ending, report.failure, report.reason) == ("lost", "lost", "its worker was lost")
    assert report.exit_code is None
    begun = len(bench.runs(TASK))
    assert begun == (0 if point not in (*AGENTS, "the agent has ended") else 1)
    said = bench.said(report)
    assert said.startswith(FIRST) == bool(begun)
    assert report.output_bytes == len(said.encode())
    assert report.session == ("the-thread" if begun else "")
    ended = point in ("the agent has said how it went", "the agent has ended")
    assert report.input_tokens == (100 if ended else 0)
    files = bench.pinned(report)
    expected = {
        "that the clone is prepared is noted": {},
        "the agent runs": {},
        "the agent has committed": {"committed.txt": TASK},
    }
    assert files == expected.get(point, WORK)
    clear(bench)
    again = bench.run(bench.asked(TASK, 2, start=report.head, session=report.session))
    assert {**files, **bench.pinned(again)} == WORK
    assert ("resume" in bench.runs(TASK)[-1]) == bool(begun), "it goes on with the session"
    assert report.input_tokens + again.input_tokens == 100, "what the session used is counted once"


@pytest.mark.parametrize("point", ["the clone is to be prepared", "that the clone is prepared is noted"])
def test_a_session_is_gone_on_with_also_after_a_run_that_said_nothing(bench: Bench, point: str) -> None:
    first = bench.run(bench.asked(TASK))
    bench.killed(bench.asked(TASK, 2, start=first.head, session=first.session), point)
    second = taken_up(bench)
    assert second is not None
    assert second.session == "the-thread"
    clear(bench)
    third = bench.run(bench.asked(TASK, 3, start=first.head, session=second.session))
    assert "resume" in bench.runs(TASK)[-1]
    assert (first.input_tokens, second.input_tokens, third.input_tokens) == (100, 0, 0), "it told of the whole session"


@pytest.mark.parametrize("point", [*AFTER_IT, *REPORTED])
def test_what_is_killed_after_its_agent_ended_is_told_as_if_nothing_had_been(bench: Bench, point: str) -> None:
    bench.killed(bench.asked(TASK), point)
    report = taken_up(bench)
    assert report is not None
    assert (report.ending, report.failure, report.exit_code) == ("finished", "", 0)
    assert (report.session, report.input_tokens, report.output_tokens) == ("the-thread", 100, 7)
    assert report.tail == "It is done."
    assert bench.said(report).endswith(f"{LAST}\n")
    assert len(bench.runs(TASK)) == 1, "it is not run again"
    assert os.path.exists(report.bundle) == (point != "the journal is to go")
    assert bench.pinned(report) == WORK
    clear(bench)


@needs("bwrap")
@pytest.mark.parametrize("point", [FIRST_WORDS, "the agent has ended", "the bundle is written"])
def test_in_a_sandbox_that_ends_with_its_worker_nothing_is_lost_either(tmp_path: Path, point: str) -> None:
    bench = Bench(tmp_path, "os-native")
    bench.killed(bench.asked(TASK), point)
    report = taken_up(bench)
    assert report is not None
    assert report.session == "the-thread"
    files = bench.pinned(report)
    if point == FIRST_WORDS:
        assert (report.ending, bench.said(report).startswith(FIRST)) == ("lost", True)
        clear(bench)
        files |= bench.pinned(bench.run(bench.asked(TASK, 2, start=report.head, session=report.session)))
    assert files == WORK


@pytest.mark.parametrize("broken", ["", '[ "$1" = bundle ] && exit 1; exec {git} "$@"'], ids=["no git", "no bundle"])
def test_work_that_cannot_be_taken_in_is_set_aside_and_not_cleared(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    bench.killed(bench.asked(TASK), "the agent leaves something uncommitted")
    slot = bench.slot()
    journal = slot.journal()
    assert journal is not None
    programs = bench.directory / "programs"
    programs.mkdir()
    if broken:
        (programs / "git").write_text(f"#!/bin/sh\n{broken.format(git=shutil.which('git'))}\n")
        (programs / "git").chmod(0o755)
    with monkeypatch.context() as machine:
        machine.setenv("PATH", f"{programs}:{os.environ['PATH']}" if broken else str(programs))
        report = slot.salvage(journal)
        slot.close()
    assert (report.ending, report.bundle) == ("could-not-run", "")
    kept = slot.directory / f"kept-{TASK}-1"
    assert str(kept) in report.reason
    assert (kept / "tree/uncommitted.txt").read_text() == f"{TASK}\n"
    commits = kept / BEYOND_USE if broken else kept / "tree/.git"
    assert git(bench.directory, f"--git-dir={commits}", "log", "-1", "--format=%s") == "By itself"
    clear(bench)
    assert bench.pinned(bench.run(bench.asked(TASK, 2))) == WORK
    assert commits.is_dir()


def test_the_middle_of_a_flood_is_dropped_and_its_verdict_is_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thrum.actors.slot.OUTPUT_BYTES", 400_000)
    script = bench.agent.read_text()
    bench.agent.write_text(script.replace("git add", f"yes '{'x' * 99}' | head -c 3000000\ngit add", 1))
    report = bench.run(bench.asked(TASK))
    said = bench.said(report)
    assert report.output_bytes > 3_000_000 > 500_000 > len(said)
    assert "bytes are missing here" in said
    assert (said.startswith(FIRST), said.endswith(f"{LAST}\n")) == (True, True)
    assert (report.ending, report.session, report.input_tokens) == ("finished", "the-thread", 100)


def speaks(bench: Bench, *lines: str) -> None:
    """The agent prints these lines before it ends, in the place of its own last ones."""
    script, said = bench.agent.read_text(), "\n".join(f"printf '%s\\n' '{line}'" for line in lines)
    begin, rest = script.split('echo \'{"type": "item.completed"', 1)
    bench.agent.write_text(f"{begin}{said}\n{rest.partition(chr(10))[2].partition(chr(10))[2]}")


def test_half_of_a_character_in_an_agents_words_is_told_as_a_question_mark(bench: Bench) -> None:
    said = '{"type": "item.completed", "item": {"type": "agent_message", "text": "Done \\ud83d."}}'
    speaks(bench, said, LAST)
    report = bench.run(bench.asked(TASK))
    assert (report.ending, report.tail, fits(report)) == ("finished", "Done ?.", True)


def test_what_a_program_counted_beyond_all_bounds_is_told_as_much(bench: Bench) -> None:
    sent = "Tokens: 999999999999M sent, 999999999999M cache hit, 999999999999M received."
    bench.preset = "aider"
    speaks(bench, *[sent] * 100)
    report = bench.run(bench.asked(TASK))
    assert (report.ending, report.failure) == ("finished", "")
    assert (report.input_tokens, report.cached_tokens, report.output_tokens) == (MOST, MOST, MOST)


@pytest.mark.parametrize(
    "told",
    [
        {"tail": "\ud83d"},
        {"no_change": "\udcff"},
        {"session": "\ud800"},
        {"input_tokens": 2**64},
        {"cost_usd": math.inf},
        {"retry_after_s": math.nan},
    ],
    ids=lambda told: next(iter(told)),
)
def test_a_report_that_cannot_be_sent_is_noted_without_what_was_said(told: dict[str, Any]) -> None:
    whole = AttemptReported(task=TASK, token=3, ending="finished", failure="quota", exit_code=1, bundle="/b", head="h")
    assert tellable(whole) is whole
    report = tellable(replace(whole, **told))
    assert fits(report)
    assert "cannot be told" in report.reason
    assert replace(report, reason="") == whole


def test_no_report_is_noted_that_cannot_be_sent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thrum.actors.reports.no_change", lambda _: "\ud83d")
    slot = bench.slot()
    report = slot.run(bench.asked(TASK), StopEvent(), lambda _: None)
    journal = slot.journal()
    assert journal is not None
    assert journal.report == report
    assert fits(report)
    assert bench.pinned(report) == WORK
    slot.close()


def test_an_output_that_cannot_be_kept_costs_no_work(bench: Bench) -> None:
    outputs = bench.directory / ".thrum/outputs"
    outputs.rename(outputs.with_name("away"))
    outputs.write_text("in the way\n")
    slot: Slot = bench.slot()
    report = bench.run(bench.asked(TASK))
    slot.close()
    assert report.ending == "could-not-run"
    assert "could not be kept" in report.reason
    assert bench.git.pins()[f"refs/thrum/attempts/{TASK}/1"] == report.head
