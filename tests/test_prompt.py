"""thrum.prompt: an agent is told what it needs, no more, and nothing that could be taken for something else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrum.gate import CheckResult, Gate, GateResult, Verdict
from thrum.prompt import NO_CHANGE_MARK, assemble, gate_setback, instructions, plain_text, trimmed
from thrum.task import Attempt, Setback, Task

TASK = Task(id="a-1", repo="a", title="Sort the list", description="It must be stable.")


def failed(name: str = "test", **more: object) -> CheckResult:
    values = {"exit_code": 1, "tail": "1 failed", "command": f"run {name}", **more}
    return CheckResult(name=name, verdict=Verdict.FAILED, **values)  # type: ignore[arg-type]


def test_a_first_prompt_holds_role_task_and_repository_and_the_way_to_say_that_nothing_is_needed() -> None:
    text = assemble(TASK, role_text="You are careful.", repo_text="Tabs, no spaces.")
    places = [text.index(part) for part in ("careful", "a-1: Sort the list", "stable", "Tabs", NO_CHANGE_MARK)]
    assert places == sorted(places)
    assert "What happened so far" not in text
    assert text.endswith(".\n")


def test_instructions_hold_role_and_repository_and_what_they_hold_can_be_left_out_of_the_prompt() -> None:
    assert instructions("You are careful.\n", " Tabs.") == "You are careful.\n\n# About this repository\n\nTabs."
    assert instructions(" ", "Tabs.") == "# About this repository\n\nTabs."
    assert instructions("\n", "") == ""
    assert "About this repository" not in assemble(TASK)


def test_parts_that_are_empty_leave_no_trace() -> None:
    text = assemble(Task(id="a-1", repo="a", title="t"), role_text=" \n", repo_text="\n")
    assert "About this repository" not in text
    assert "\n\n\n" not in text
    assert text.startswith("# Task a-1: t\n\n")


def test_a_retry_is_told_what_failed_and_how_often_it_may_still_try() -> None:
    setbacks = (
        Setback(cause="gate", text="\n\nGate `quality` failed in: fmt.\nmore of it", token=1),
        Setback(cause="rejected", text="Use merge sort.", token=2),
    )
    attempts = (Attempt(token=1, base="b", files=("sort.py", "list.py")), Attempt(token=3, base="b"))
    task = Task(id="a-1", repo="a", title="t", setbacks=setbacks, attempts=attempts, retries=1)
    text = assemble(task, max_retries=3)
    assert "A person looked at the change and asks for this:\n\nUse merge sort." in text
    assert "- attempt 1, gate: Gate `quality` failed in: fmt.\n" in text
    assert "more of it" not in text
    assert "it changes: sort.py, list.py." in text
    assert "This is retry 1 of 3." in text


GATE = Setback(cause="gate", text="Gate `proof` failed in: verify.\ncounterexample: x = 3", token=1)


@pytest.mark.parametrize("cause", ["timed-out", "silent", "no-change", "crashed", "resource-limit", "protocol"])
def test_what_a_gate_found_stays_whole_until_the_next_finding_whatever_cut_the_attempts_between_short(
    cause: str,
) -> None:
    cut = Setback(cause=cause, text="It came to nothing.", token=2)
    attempts = (Attempt(token=1, base="b", files=("x",)), Attempt(token=2, base="b"), Attempt(token=3, base="b"))
    task = replace(TASK, setbacks=(GATE, cut), attempts=attempts, retries=2)
    text = assemble(task, diff_text="+one line")
    assert "It came to nothing." in text
    assert "An earlier attempt did not pass a gate. Mend what it found:\n\nGate `proof` failed" in text
    assert "counterexample: x = 3" in text
    assert "+one line" in text
    found = Setback(cause="gate", text="Gate `quality` failed in: lint.", token=3)
    text = assemble(replace(task, setbacks=(GATE, cut, found)))
    assert "counterexample" not in text, "it passed that gate, or would not have come to this one"


def test_a_person_s_word_stays_whole_until_that_person_sees_the_change_again() -> None:
    word = Setback(cause="rejected", text="Use merge sort.\nAnd name it so.", token=1)
    task = replace(TASK, setbacks=(word, replace(GATE, token=2)))
    text = assemble(task)
    assert text.index("counterexample") < text.index("And name it so.")
    again = Setback(cause="rejected", text="Shorter.", token=3)
    text = assemble(replace(task, setbacks=(*task.setbacks, again)))
    assert "And name it so." not in text
    assert "counterexample" not in text


def test_an_attempt_that_was_interrupted_is_not_taken_for_the_one_that_failed() -> None:
    lost = replace(TASK, attempts=tuple(Attempt(token=token, base="b") for token in (1, 2, 3)), setbacks=(GATE,))
    assert "This is attempt 3. An earlier attempt did not pass a gate." in assemble(lost)
    assert "This is attempt 2. The last attempt did not pass" in assemble(replace(lost, attempts=lost.attempts[:2]))


def test_work_that_was_cut_off_before_anything_failed_is_shown_too() -> None:
    attempts = (Attempt(token=1, base="b", files=("x.py",)), Attempt(token=2, base="b"))
    text = assemble(replace(TASK, attempts=attempts), diff_text="+half of it")
    assert "# The work so far\n\nThe work tree holds the work so far; it changes: x.py." in text
    assert "+half of it" in text


def test_a_cause_without_a_title_of_its_own_is_named() -> None:
    task = Task(id="a-1", repo="a", title="t", setbacks=(Setback(cause="timed-out", text="It took too long."),))
    assert "ended early (timed-out)" in assemble(task)


def test_a_long_list_of_files_is_cut_and_says_so() -> None:
    attempts = (Attempt(token=1, base="b", files=tuple(f"f{n}" for n in range(40))), Attempt(token=2, base="b"))
    task = Task(id="a-1", repo="a", title="t", setbacks=(Setback(cause="gate", text="x"),), attempts=attempts)
    text = assemble(task)
    assert "f29 and 10 more" in text
    assert "f30" not in text


def test_a_failed_gate_tells_of_each_check_that_failed_and_names_those_that_passed() -> None:
    passed = CheckResult(name="fmt", verdict=Verdict.PASSED, tail="all is well")
    killed = failed("lint", exit_code=None, reason="took longer than 5 s", tail="")
    text = gate_setback(GateResult(gate=Gate.QUALITY, verdict=Verdict.FAILED, checks=(passed, killed, failed())))
    assert text.startswith("Gate `quality` failed in: lint, test.\nPassed: fmt.")
    assert (
        "Check `lint` (no exit code, took longer than 5 s), command: run lint\n```\n(it printed nothing)\n```" in text
    )
    assert "Check `test` (exit code 1), command: run test\n```\n1 failed\n```" in text
    assert "all is well" not in text


def test_the_beginning_of_a_long_output_stands_before_its_end() -> None:
    check = replace(failed(), head="error: the cause\n" + "x\n" * 1000, tail="y\n" * 6000 + "the end\n")
    text = gate_setback(GateResult(gate=Gate.QUALITY, verdict=Verdict.FAILED, checks=(check,)))
    assert "```\nerror: the cause\nx\n" in text
    assert text.endswith("the end\n```")


def test_the_output_of_many_failed_checks_is_cut_so_that_the_whole_stays_short() -> None:
    checks = tuple(failed(f"c{n}", tail=f"start{n} " + "x" * 50_000 + f" end{n}") for n in range(8))
    text = gate_setback(GateResult(gate=Gate.QUALITY, verdict=Verdict.FAILED, checks=checks))
    assert len(text) < 20_000
    for n in range(8):
        assert f"start{n}" in text
        assert f"end{n}" in text


def test_escapes_of_a_terminal_do_not_reach_the_agent() -> None:
    link = "\x1b]8;;https://example.org\x07here\x1b]8;;\x07"
    assert plain_text(f"\x1b[31mred\x1b[0m\r\nnext\rlast\x00\x07\t{link}\x1b(B") == "red\nnext\nlast\there"


@given(st.text(), st.integers(8, 200))
def test_a_trimmed_text_keeps_both_ends_and_says_how_much_is_gone(text: str, limit_chars: int) -> None:
    short = trimmed(text, limit_chars)
    if len(text) <= limit_chars:
        assert short == text
        return
    head, tail = limit_chars // 4, limit_chars - limit_chars // 4
    assert short.startswith(text[:head])
    assert short.endswith(text[-tail:])
    assert f"[… {len(text) - limit_chars} characters left out …]" in short


@given(st.text(st.characters(codec="utf-8")))
def test_plain_text_holds_no_control_character_but_line_ends_and_tabs(text: str) -> None:
    shown = plain_text(text)
    assert not [char for char in shown if (ord(char) < 32 and char not in "\n\t") or ord(char) == 127]
    assert plain_text(shown) == shown
