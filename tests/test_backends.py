"""The presets: their command lines, and what is read from outputs that the real programs printed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrum.agents import no_change
from thrum.backends import PRESETS, Preset, Reading, preset
from thrum.backends.preset import PLACEHOLDERS, PROMPT_LIMIT_BYTES
from thrum.backends.wording import delay_s, ended_early, failure_of, moment, objects, one_line, trouble
from thrum.errors import NotFoundError
from thrum.failures import TREATMENTS, Action, Failure
from thrum.messages.attempts import AttemptReported
from thrum.packing import fits
from thrum.sessions import Sessions

RECORDED = Path(__file__).parent / "agents"
NAMES = sorted(PRESETS.keys() - {"generic"})
VALUES = {
    "prompt": "-do it {model}",
    "prompt_file": "/run/prompt.md",
    "workdir": "/run/tree",
    "new_session": "8c5f0f9c-6f0e-4b5e-9d3f-5a1f7f1c0a11",
    "state": "/run/state",
}
RESET_AT = 1_900_000_000.0

F = Failure
# What each scenario of tests/agents/record.py should be read as; None: that it ended well.
MEANT: dict[str, Failure | None] = {
    "success": None,
    "resumed": None,
    "edited": None,
    "no-change": None,
    "error-401": F.AUTH,
    "error-404": F.UNKNOWN_MODEL,
    "error-429": F.RATE_LIMITED,
    "error-500": F.OVERLOADED,
    "overloaded": F.OVERLOADED,
    "overflow": F.CONTEXT_OVERFLOW,
    "quota": F.QUOTA,
    "quota-reset": F.QUOTA,
    "limit-reset": F.QUOTA,
    "refusal": F.REFUSED,
    "cut": F.UNREACHABLE,
    "budget": F.BUDGET,
    "no-key": F.AUTH,
    "session-lost": F.SESSION_LOST,
    "unreachable": F.UNREACHABLE,
    "interrupted-tool": F.INTERRUPTED,
    "interrupted-model": F.INTERRUPTED,
}
# Where a program says something else, and why.
OTHERWISE: dict[tuple[str, str], Failure | None] = {
    # It takes the end of its tool for the end of the command, and goes on to a result.
    ("claude-code", "interrupted-tool"): None,
    # It shows a refusal as any other answer.
    ("aider", "refusal"): None,
    # It makes the conversation shorter by itself, and goes on.
    ("opencode", "overflow"): None,
    # It asks three times for an answer that calls a tool.
    ("mini-swe-agent", "refusal"): F.PROTOCOL,
    # It ends with 0 and without a word of it.
    ("gemini", "interrupted-tool"): F.PROTOCOL,
    ("gemini", "interrupted-model"): F.PROTOCOL,
}


def runs(name: str) -> dict[str, Any]:
    return dict(json.loads((RECORDED / name / "runs.json").read_text())["runs"])


def recorded(name: str, scenario: str) -> tuple[str, int | None, dict[str, str]]:
    """The output of a recorded run, its exit code, and the files that belong to it."""
    chosen, folder = PRESETS[name.partition("/")[0]], RECORDED / name
    files = {path: folder / f"{scenario}.{Path(path).name}" for path in chosen.reads_files}
    kept = {path: file.read_text() for path, file in files.items() if file.exists()}
    return (folder / f"{scenario}.out").read_text(), runs(name)[scenario]["exit_code"], kept


def reading(name: str, scenario: str) -> Reading:
    return PRESETS[name].read(*recorded(name, scenario))


ALL = [(name, scenario) for name in NAMES for scenario in runs(name)]


@pytest.mark.parametrize(("name", "scenario"), ALL)
def test_a_recorded_run_is_read_as_what_it_was(name: str, scenario: str) -> None:
    read = reading(name, scenario)
    meant = OTHERWISE.get((name, scenario), MEANT[scenario])
    assert (read.trouble.failure if read.trouble else None) == meant, read


@pytest.mark.parametrize("name", NAMES)
def test_every_program_was_recorded_at_the_version_of_its_preset(name: str) -> None:
    assert json.loads((RECORDED / name / "runs.json").read_text())["version"] == PRESETS[name].tried_with


@pytest.mark.parametrize("name", NAMES)
def test_the_installer_pins_the_version_of_the_preset(name: str) -> None:
    script = (RECORDED.parent.parent / "scripts" / "install-agents").read_text()
    [section] = re.findall(rf"^    {name}\)(.*?);;", script, re.MULTILINE | re.DOTALL)
    assert re.search(rf"\bprogram={PRESETS[name].program}\s", section)
    assert f"version={PRESETS[name].tried_with} " in section


@pytest.mark.parametrize("name", NAMES)
def test_the_last_words_are_the_text(name: str) -> None:
    # Aider has no tools, so that what it is told to run it can only talk about.
    words = "There is no shell among the tools: none" if name == "aider" else "I made a.txt."
    assert reading(name, "success").text.strip() == words


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mini-swe-agent"])
def test_tokens_are_those_of_all_requests(name: str) -> None:
    read, requests = reading(name, "success"), 1 if name == "aider" else 2
    told = (read.input_tokens, read.cached_tokens, read.output_tokens)
    assert told == (1200 * requests, 200 * requests, 80 * requests)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("codex", "gemini")])
def test_the_cost_is_told(name: str) -> None:
    # Two requests of 1000 new, 200 cached and 80 written tokens, at 3, 0.3 and 15 dollars for a million.
    told = reading(name, "success").cost_usd
    assert told == pytest.approx(0.00426 * (1 if name == "aider" else 2), abs=0.00005)


@pytest.mark.parametrize("name", [name for name in NAMES if PRESETS[name].resume_args])
def test_a_resumed_run_has_the_session_of_the_first(name: str) -> None:
    assert reading(name, "resumed").session == reading(name, "success").session != ""


SUMMED = {"codex": "codex", "claude-code": "claude-code/2.1.330"}


@pytest.mark.parametrize("name", NAMES)
def test_which_programs_count_over_the_whole_session_is_known(name: str) -> None:
    if not PRESETS[name].resume_args or name == "aider":
        return  # each run is one of its own
    first, second = reading(name, "success"), reading(name, "resumed")
    assert second.of_session == (second.input_tokens == 4800) == (name == "codex")
    assert first.input_tokens == 2400


@pytest.mark.parametrize("name", SUMMED)
def test_of_a_session_that_is_counted_as_a_whole_each_run_is_told_alone(tmp_path: Path, name: str) -> None:
    sessions, runs = Sessions(tmp_path, PRESETS[name]), []
    for scenario in ("success", "resumed"):
        read = PRESETS[name].read(*recorded(SUMMED[name], scenario))
        assert read.of_session
        sessions.begin(read.session if runs else "", "/home/user/tree", None)
        runs.append(sessions.end(read))
    assert [run.input_tokens for run in runs] == [2400, 2400]
    assert [run.output_tokens for run in runs] == [160, 160]
    costs = [run.cost_usd for run in runs]
    assert costs == [None, None] if name == "codex" else costs == pytest.approx([0.00852, 0.00852])


@pytest.mark.parametrize(
    ("version", "summed"),
    [("2.1.276", False), ("2.1.277", True), ("2.10.0", True), ("3.0.0", True), ("1.9.999", False)],
)
def test_since_when_claude_code_counts_over_the_whole_session(version: str, summed: bool) -> None:
    output, code, files = recorded("claude-code", "success")
    told = output.replace('"claude_code_version":"2.1.197"', f'"claude_code_version":"{version}"')
    assert PRESETS["claude-code"].read(told, code, files).of_session is summed


@pytest.mark.parametrize("name", ["claude-code", "codex", "gemini"])
def test_an_interrupted_run_tells_its_session(name: str) -> None:
    assert reading(name, "interrupted-model").session


@pytest.mark.parametrize("name", NAMES)
def test_the_agreed_mark_is_found_in_the_last_words(name: str) -> None:
    read = reading(name, "no-change")
    assert no_change(read) == "it is there already"


@pytest.mark.parametrize(("name", "scenario"), [("claude-code", "limit-reset"), ("codex", "quota-reset")])
def test_the_time_of_a_reset_is_read(name: str, scenario: str) -> None:
    told = reading(name, scenario).trouble
    assert told is not None
    assert told.retry_at is not None
    assert RESET_AT - 60 <= told.retry_at <= RESET_AT


@pytest.mark.parametrize("name", ["gemini", "opencode"])
def test_the_pause_that_a_provider_asks_for_is_read(name: str) -> None:
    told = reading(name, "error-429").trouble
    assert told is not None
    assert told.retry_after_s == 1


@pytest.mark.parametrize(("name", "scenario"), ALL)
def test_the_detail_of_a_failure_is_one_short_line(name: str, scenario: str) -> None:
    told = reading(name, scenario).trouble
    assert told is None or (told.detail and "\n" not in told.detail and len(told.detail) <= 400)


@pytest.mark.parametrize(("name", "scenario"), ALL)
def test_a_recording_names_nothing_of_the_machine_that_made_it(name: str, scenario: str) -> None:
    output, _, files = recorded(name, scenario)
    for text in (output, *files.values()):
        assert not any(word in text for word in ("/root", "/tmp/thrum", "not-a-key", ".pyenv", "/work/")), scenario


@pytest.mark.parametrize(("name", "scenario"), ALL)
def test_an_output_cut_anywhere_is_read_without_a_fault(name: str, scenario: str) -> None:
    output, code, files = recorded(name, scenario)
    for at in range(0, len(output), max(1, len(output) // 40)):
        PRESETS[name].read(output[:at], code, {path: text[:at] for path, text in files.items()})
        PRESETS[name].read(output[at:], None, {path: text[at:] for path, text in files.items()})


@pytest.mark.parametrize("name", ["claude-code", "codex", "gemini", "opencode"])
def test_an_output_without_its_end_is_no_success(name: str) -> None:
    output, _, _ = recorded(name, "success")
    lines = output.splitlines(keepends=True)
    cut = "".join(lines[:-1])
    for code, meant in ((0, F.PROTOCOL), (None, F.INTERRUPTED), (143, F.INTERRUPTED), (3, F.CRASHED)):
        told = PRESETS[name].read(cut, code, {}).trouble
        assert told is not None
        assert told.failure == meant


@pytest.mark.parametrize("name", NAMES)
def test_an_output_of_many_megabytes_is_read_from_its_end(name: str) -> None:
    output, code, files = recorded(name, "success")
    filler = json.dumps({"type": "user", "text": "x" * 1000}) + "\n"
    read = PRESETS[name].read(filler * 8000 + output, code, files)
    assert read.trouble is None
    assert read.text == reading(name, "success").text


@pytest.mark.parametrize(("said", "meant"), [("waiting for network", F.UNREACHABLE), ("Reconnecting", F.INTERRUPTED)])
def test_codex_ended_while_it_tries_again_tells_why_it_did(said: str, meant: Failure) -> None:
    output = json.dumps({"type": "error", "message": said}) + "\n"
    for code in (None, 143):
        told = PRESETS["codex"].read(output, code, {}).trouble
        assert told is not None
        assert told.failure is meant


def claude(exit_code: int | None = 0, **changed: object) -> Reading:
    """What is read of a result of Claude Code that is good but for what is changed."""
    output, _, _ = recorded("claude-code", "success")
    result = json.loads(output.splitlines()[-1])
    return PRESETS["claude-code"].read(json.dumps(result | changed), exit_code, {})


@pytest.mark.parametrize(("code", "meant"), [(0, None), (1, F.CRASHED), (None, F.INTERRUPTED)])
def test_a_good_result_of_claude_with_a_bad_end_is_no_success(code: int | None, meant: Failure | None) -> None:
    told = claude(code).trouble
    assert (told.failure if told else None) == meant


def test_what_claude_wrote_to_the_cache_went_in_too() -> None:
    used = {"inputTokens": 1, "cacheCreationInputTokens": 10, "cacheReadInputTokens": 100, "outputTokens": 5}
    read = claude(modelUsage={"a": used, "b": used})
    assert (read.input_tokens, read.cached_tokens, read.output_tokens) == (222, 200, 10)


def test_claude_refuses_whatever_its_words_are() -> None:
    told = claude(1, is_error=True, result="No.", stop_reason="refusal").trouble
    assert told is not None
    assert told.failure is F.REFUSED


def test_the_reset_that_claude_tells_beforehand_is_exact() -> None:
    told = reading("claude-code", "limit-reset").trouble
    assert told is not None
    assert told.retry_at == RESET_AT


def test_a_limit_that_claude_told_of_does_not_explain_another_error() -> None:
    lines = recorded("claude-code", "limit-reset")[0].splitlines()
    result = json.loads(lines[-1]) | {"api_error_status": 401, "result": "Invalid API key"}
    told = PRESETS["claude-code"].read("\n".join((*lines[:-1], json.dumps(result))), 1, {}).trouble
    assert told is not None
    assert told.failure is F.AUTH


@pytest.mark.parametrize("name", ["codex", "gemini"])
def test_the_session_is_found_at_the_beginning_of_a_long_output(name: str) -> None:
    output, code, _ = recorded(name, "success")
    first, *rest = output[output.index("{") :].splitlines(keepends=True)
    filler = '{"type": "item.updated", "item": {}}\n' * 20_000
    assert PRESETS[name].read(first + filler + "".join(rest), code, {}).session == reading(name, "success").session


@pytest.mark.parametrize("size", [1_000, 300_000])
def test_gemini_loses_the_end_of_an_output_after_a_long_result_and_ended_well(size: int) -> None:
    output, _, _ = recorded("gemini", "success")
    used, mark, _ = output.partition('{"type":"tool_result"')
    assert mark
    lost = used + mark + ',"status":"success","output":"' + "flood\\n" * size
    read = PRESETS["gemini"].read
    assert read(lost, 0, {}) == Reading(session=reading("gemini", "success").session)
    for other, code in ((lost, 1), (lost, None), (lost + "\n", 0), (used, 0), ("flood", 0)):
        assert read(other, code, {}).trouble is not None


def test_aider_that_ends_badly_after_an_answer_did_not_do_so_for_what_came_before() -> None:
    output, _, _ = recorded("aider", "success")
    told = PRESETS["aider"].read(f"Tunnel connection failed: 403 Forbidden\n{output}", 1, {}).trouble
    assert told is not None
    assert told.failure is F.CRASHED


def test_opencode_ended_after_an_error_was_interrupted() -> None:
    told = PRESETS["opencode"].read(recorded("opencode", "error-500")[0], None, {}).trouble
    assert told is not None
    assert told.failure is F.INTERRUPTED


WEIRD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = (
    *("type", "result", "subtype", "is_error", "session_id", "usage", "modelUsage", "errors", "part", "error", "item"),
    *(
        "stats",
        "rate_limit_info",
        "total_cost_usd",
        "api_error_status",
        "status",
        "tokens",
        "cost",
        "thread_id",
        "data",
    ),
    *("message", "role", "content", "reason", "statusCode", "responseHeaders", "sessionID", "terminal_reason", "info"),
)
TYPES = (
    *("result", "error", "step_finish", "turn.completed", "turn.failed", "item.completed", "message", "text"),
    *("rate_limit_event", "thread.started", "tool_use", "init"),
)
LINES = st.dictionaries(st.sampled_from(KEYS), WEIRD | st.sampled_from(TYPES), max_size=8).flatmap(
    lambda line: st.sampled_from(TYPES).map(lambda kind: json.dumps({**line, "type": kind}))
)
WORDS = st.sampled_from(
    (
        *(
            "Tokens: 1.2k sent, 9 received. Cost: $0.1 message, $0.2 session.",
            "Tokens: ..k sent, 1 received.",
            "{",
            "[",
        ),
        *("litellm.RateLimitError: x", "Repo-map: disabled", "try again at Feb 31st, 2030 5:46 PM", "\x00\x1b[31m"),
        *(
            "limit reached|9999999999",
            "Model x has hit a token limit!",
            '{"a":' * 3000,
            "9" * 5000,
            "retry after 9999s",
        ),
    )
)
OUTPUTS = st.lists(LINES | WORDS | st.text(max_size=60), max_size=8).map("\n".join)


@pytest.mark.parametrize("name", sorted(PRESETS))
@given(output=OUTPUTS | st.text(), code=st.none() | st.integers(-1, 300), file=OUTPUTS)
def test_no_output_makes_a_reader_fail(name: str, output: str, code: int | None, file: str) -> None:
    for files in ({}, dict.fromkeys(PRESETS[name].reads_files, file), {"trajectory.json": '{"info": ' + file}):
        read = PRESETS[name].read(output, code, files)
        assert read.cost_usd is None or 0 <= read.cost_usd < 1e9
        assert all(one is None or one >= 0 for one in (read.input_tokens, read.cached_tokens, read.output_tokens))
        assert isinstance(read.text, str)
        assert isinstance(read.session, str)
        assert read.trouble is None or len(read.trouble.detail) <= 400


HALF = "\\ud83d"
"""Half of a surrogate pair, as JSON spells it."""


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("code", [0, 1, None])
def test_what_is_read_of_halves_of_characters_can_be_sent(name: str, code: int | None) -> None:
    lines = [
        f'{{"type": "thread.started", "thread_id": "{HALF}", "session_id": "{HALF}", "sessionID": "{HALF}"}}',
        f'{{"type": "text", "part": {{"text": "{HALF}"}}}}',
        f'{{"type": "message", "role": "assistant", "content": "{HALF}"}}',
        f'{{"type": "item.completed", "item": {{"type": "agent_message", "text": "{HALF}"}}}}',
        f'{{"type": "error", "message": "{HALF}", "error": {{"name": "{HALF}", "data": {{"message": "{HALF}"}}}}}}',
        f'{{"type": "turn.failed", "error": {{"message": "{HALF}"}}}}',
        f'{{"type": "step_finish", "part": {{"reason": "{HALF}"}}}}',
        f'{{"type": "result", "subtype": "success", "result": "{HALF}", "session_id": "{HALF}"}}',
    ]
    files = {"trajectory.json": f'{{"info": {{"submission": "{HALF}", "exit_status": "{HALF}"}}}}'}
    # Each line but the last once at the end, so that it is what counts.
    for number in range(len(lines)):
        output = "\n".join([*lines[number + 1 :], *lines[: number + 1]])
        read = PRESETS[name].read(output, code, files)
        for text in (read.session, read.text, read.trouble.detail if read.trouble else ""):
            assert fits(AttemptReported(task="one-1", token=1, ending="finished", tail=text))


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_output_is_no_success(name: str) -> None:
    told = PRESETS[name].read("", 0, {}).trouble
    assert told is not None
    assert told.failure is F.PROTOCOL


# Any other program


@pytest.mark.parametrize(
    ("output", "code", "meant"),
    [
        ("done", 0, None),
        ("Unauthorized: rate limit", 1, F.CRASHED),
        ("done", None, F.INTERRUPTED),
        ("done", 137, F.INTERRUPTED),
        ("sh: nothing: not found", 127, F.NOT_FOUND),
        ("Claude AI usage limit reached|1900000000", 1, F.QUOTA),
        ("Claude AI usage limit reached|1900000000\nit was nothing", 1, F.CRASHED),
    ],
)
def test_of_any_other_program_only_the_exit_code_and_the_agreed_line_count(
    output: str, code: int | None, meant: Failure | None
) -> None:
    told = PRESETS["generic"].read(output, code, {}).trouble
    assert (told.failure if told else None) == meant


@pytest.mark.parametrize("before", ["", "it works\n", "{}\n"])
def test_any_other_program_may_end_with_an_object_that_tells(before: str) -> None:
    said = json.dumps({"result": "done", "session_id": "s-1", "total_cost_usd": 0.5})
    read = PRESETS["generic"].read(f"{before}{said}\n", 0, {})
    assert (read.text, read.session, read.cost_usd) == ("done", "s-1", 0.5)


# Command lines


@pytest.mark.parametrize("name", NAMES)
def test_what_a_preset_names_is_known(name: str) -> None:
    chosen = PRESETS[name]
    every = dict.fromkeys(PLACEHOLDERS, "v")
    chosen.arguments(every)
    chosen.environment(every)
    chosen.arguments({key: value for key, value in VALUES.items() if key != "new_session"})
    assert not Path(chosen.system_prompt_path).is_absolute()
    assert all(not Path(path).is_absolute() for path in (*chosen.files, *chosen.reads_files))


@pytest.mark.parametrize("name", NAMES)
def test_no_command_line_has_a_placeholder_or_an_option_left(name: str) -> None:
    for values in (
        VALUES,
        VALUES | {"session": "s-1"},
        VALUES | {"model": "m", "base_url": "http://h", "budget_usd": "1"},
    ):
        for part in PRESETS[name].arguments(values):
            assert part.startswith("--task=") or "{state}" not in part
            assert not part.startswith("[")


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_passed_on_only_where_there_is_one(name: str) -> None:
    chosen = PRESETS[name]
    assert "m-1" in chosen.arguments(VALUES | {"model": "m-1"})
    assert not {"-m", "--model"} & set(chosen.arguments(VALUES))


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_that_begins_with_a_dash_is_no_flag(name: str) -> None:
    assert VALUES["prompt"] not in PRESETS[name].arguments(VALUES)


def test_a_prompt_in_an_argument_is_not_looked_at_again() -> None:
    assert PRESETS["mini-swe-agent"].arguments(VALUES)[-1] == "--task=-do it {model}"


def test_a_prompt_that_is_too_long_for_an_argument_is_pointed_to() -> None:
    long = VALUES | {"prompt": "x" * (PROMPT_LIMIT_BYTES + 1)}
    assert (
        PRESETS["mini-swe-agent"].arguments(long)[-1].startswith("--task=Your task stands in the file /run/prompt.md.")
    )


def test_a_prompt_in_an_argument_has_no_nul() -> None:
    assert PRESETS["mini-swe-agent"].arguments(VALUES | {"prompt": "a\0b"})[-1] == "--task=ab"


def test_claude_begins_a_session_of_our_choice_or_goes_on_with_one() -> None:
    first = PRESETS["claude-code"].arguments(VALUES)
    second = PRESETS["claude-code"].arguments(VALUES | {"session": "s-1"})
    assert first[-2:] == ("--session-id", VALUES["new_session"])
    assert second[-2:] == ("--resume", "s-1")


def test_codex_goes_on_with_a_session() -> None:
    arguments = PRESETS["codex"].arguments(VALUES | {"session": "s-1"})
    assert arguments[:2] == ("exec", "resume")
    assert arguments[-2:] == ("s-1", "-")


def test_a_budget_is_told_to_programs_that_can_keep_it() -> None:
    assert "--max-budget-usd" in PRESETS["claude-code"].arguments(VALUES | {"budget_usd": "1.50"})
    assert "--max-budget-usd" not in PRESETS["claude-code"].arguments(VALUES)


@pytest.mark.parametrize("name", NAMES)
def test_another_address_is_told_only_where_there_is_one(name: str) -> None:
    def said(values: dict[str, str]) -> str:
        chosen = PRESETS[name]
        return " ".join((*chosen.arguments(values), *chosen.environment(values).values()))

    assert "http://here" in said(VALUES | {"base_url": "http://here"})
    assert "http://here" not in said(VALUES)


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_of_the_state_is_told(name: str) -> None:
    chosen = PRESETS[name]
    assert chosen.environment(VALUES)[chosen.state_env] == "/run/state"


def test_opencodes_settings_are_json_either_way() -> None:
    for values in (VALUES, VALUES | {"base_url": "http://here"}):
        settings = json.loads(PRESETS["opencode"].environment(values)["OPENCODE_CONFIG_CONTENT"])
        assert settings["instructions"] == ["/run/state/system-prompt.md"]
    assert settings["provider"]["anthropic"]["options"]["baseURL"] == "http://here/v1"


def test_hosts_are_those_of_the_keys_that_are_set() -> None:
    assert PRESETS["opencode"].allow(("OPENAI_API_KEY", "HOME")) == ("api.openai.com:443",)
    assert PRESETS["claude-code"].allow(()) == ("api.anthropic.com:443",)
    assert len(PRESETS["aider"].allow(())) > 2


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match="cloud-code") as caught:
        preset("cloud-code")
    assert "claude-code" in caught.value.remedy


@pytest.mark.parametrize("chosen", PRESETS.values(), ids=PRESETS)
def test_a_preset_is_found_by_its_name(chosen: Preset) -> None:
    assert preset(chosen.name) is chosen


# Words


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_has_a_treatment_that_ends_in_something(failure: Failure) -> None:
    treatment = failure.treatment
    assert treatment.actions
    assert treatment.actions[-1] is not Action.FALL_BACK or len(treatment.actions) > 1
    assert treatment.advice.endswith(".")
    assert "\n" not in treatment.advice
    assert set(TREATMENTS) == set(Failure)


@pytest.mark.parametrize(
    ("message", "status", "meant"),
    [
        ("", 401, F.AUTH),
        ("", 429, F.RATE_LIMITED),
        ("You exceeded your current quota", 429, F.QUOTA),
        ("prompt is too long: 3 tokens > 2", 400, F.CONTEXT_OVERFLOW),
        ("Your credit balance is too low", 400, F.QUOTA),
        ("", 503, F.OVERLOADED),
        ("what?", 400, None),
        ("what?", None, None),
        ("rate limit", None, F.RATE_LIMITED),
        ("Failed to authenticate. API Error: 403 host api.x.org is not allowed", 403, F.UNREACHABLE),
        ("connect ECONNREFUSED 127.0.0.1:1", None, F.UNREACHABLE),
    ],
)
def test_a_status_and_its_words_mean_one_failure(message: str, status: int | None, meant: Failure | None) -> None:
    assert failure_of(message, status) == meant


@pytest.mark.parametrize(
    ("message", "at"),
    [
        ("Claude AI usage limit reached|1900000000", RESET_AT),
        ("You've hit your session limit · resets Mar 17, 2030, 5:46pm (UTC)", RESET_AT - 20),
        ("You’ve hit your usage limit. Try again at Mar 17th, 2030 5:46 PM.", RESET_AT - 20),
        ("resets Mar 17, 2030, 5:46pm (Europe/Berlin)", None),
        ("resets Feb 31, 2030, 5:46pm", None),
        ("resets 5pm", None),
        ("", None),
    ],
)
def test_the_time_in_a_message_is_utc_or_none(message: str, at: float | None) -> None:
    told = moment(message)
    assert told == at or (told is not None and at is not None and abs(told - at) <= 40)


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please retry after 12s", 12),
        ("try again in 1.5 seconds", 1.5),
        ("quota will reset after 1h2m3s", 3723),
        ("'retryDelay': '7s'", 7),
        ("soon", None),
    ],
)
def test_the_pause_in_a_message_is_in_seconds(message: str, seconds: float | None) -> None:
    assert delay_s(message) == seconds


def test_only_trouble_that_passes_has_a_time() -> None:
    assert trouble("invalid api key; try again in 5s").retry_after_s is None
    assert trouble("rate limit; try again in 5s").retry_after_s == 5


def test_what_an_agent_says_in_json_does_not_explain_an_early_end() -> None:
    output = '{"type":"assistant","text":"401 unauthorized"}\nsegmentation fault\n'
    assert ended_early(output, 139).failure is F.CRASHED
    assert ended_early("Error: 401 unauthorized\n" + output, 1).failure is F.AUTH


def test_lines_that_are_no_json_objects_are_passed_over() -> None:
    assert objects('{"said":"one\u2028two\x85"}\r\n') == [{"said": "one\u2028two\x85"}]
    assert objects('x\n{"a":1}\n{"b":\n[1]\n"}"\n{}x\n{"c":2}') == [{"a": 1}, {"c": 2}]


def test_a_line_that_is_nested_without_end_is_passed_over() -> None:
    assert objects('{"a":' * 50_000 + "1" + "}" * 50_000, end_chars=1_000_000) == []


def test_one_line_is_one_line() -> None:
    assert one_line("\x1b[31ma\n\n b\x1b[0m") == "a b"
    assert len(one_line("x" * 5000)) == 400
