"""The generic backend: command lines, the choice of a backend, and what an agent's output says."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from thrum.agents import (
    Run,
    command,
    environment,
    failure,
    implementers,
    key_told,
    key_variables,
    network,
    no_change,
    provider_refused,
    read,
    resolve,
    takes_system_prompt,
    wall_s,
)
from thrum.backends import Reading, Trouble
from thrum.backends.generic import ARGUMENT_LIMIT_BYTES, Invocation
from thrum.config import BackendConfig, BudgetConfig, PipelineConfig, Project, RoleConfig, RolesConfig, SandboxConfig
from thrum.errors import ConfigError
from thrum.failures import Failure
from thrum.job import Ending

CLAUDE = BackendConfig(
    name="claude-code",
    type="agent",
    command="claude",
    prompt_args=("-p", "{prompt}", "--output-format", "json"),
    model="claude-sonnet-4",
)
FILE = BackendConfig(name="file", type="agent", command="tool", prompt_args=("{prompt}", "--file={prompt_file}"))
CHAT = BackendConfig(name="api", type="chat", base_url="http://localhost/v1", model="gpt-5")
LONG = "x" * (ARGUMENT_LIMIT_BYTES + 1)


def call(backend: BackendConfig, prompt: str = "do it", session: str = "") -> Invocation:
    return command(backend, Run(prompt=prompt, prompt_file="/run/prompt", workdir="/a tree", session=session))


def with_args(*prompt_args: str, **settings: object) -> BackendConfig:
    return replace(CLAUDE, prompt_args=prompt_args, **settings)  # type: ignore[arg-type]


def test_the_prompt_takes_its_placeholders_place() -> None:
    assert call(CLAUDE) == Invocation(argv=("claude", "-p", "do it", "--output-format", "json"))


def test_every_placeholder_has_its_value() -> None:
    backend = with_args("{workdir}/a", "-m={model}", "{session}", "{prompt_file}")
    argv = call(backend, session="s-1").argv
    assert argv == ("claude", "/a tree/a", "-m=claude-sonnet-4", "s-1", "/run/prompt")


def test_what_is_put_in_is_not_looked_at_again() -> None:
    nasty = "$(id) {session} {unknown} `x` \\1 \\g<0> '\"\n"
    assert call(with_args("{prompt}"), nasty).argv[1] == nasty


def test_braces_that_are_no_placeholder_stay() -> None:
    assert call(with_args('{"a": {}}', "{prompt}")).argv[1] == '{"a": {}}'


def test_an_unknown_placeholder_names_itself_and_the_key() -> None:
    with pytest.raises(ConfigError, match=r"\{promt\}") as caught:
        call(with_args("{promt}"))
    assert (caught.value.file, caught.value.key) == (
        "configs/pipeline.toml",
        "backends.claude-code.prompt_args",
    )
    assert "{prompt_file}" in caught.value.remedy


def test_a_model_that_is_asked_for_must_be_set() -> None:
    with pytest.raises(ConfigError, match="model"):
        call(with_args("{model}", "{prompt}", model=""))


def test_a_chat_backend_is_no_program() -> None:
    with pytest.raises(ConfigError, match="chat"):
        call(CHAT)


def test_a_long_prompt_goes_by_standard_input_without_its_argument() -> None:
    assert call(CLAUDE, LONG) == Invocation(argv=("claude", "-p", "--output-format", "json"), stdin=True)


def test_a_long_prompt_goes_by_file_where_the_arguments_have_it() -> None:
    assert call(FILE, LONG) == Invocation(argv=("tool", "--file=/run/prompt"))


def test_the_limit_counts_bytes() -> None:
    assert not call(CLAUDE, "ä" * (ARGUMENT_LIMIT_BYTES // 2)).stdin
    assert call(CLAUDE, "ä" * (ARGUMENT_LIMIT_BYTES // 2 + 1)).stdin


def test_a_backend_that_reads_standard_input_gets_no_argument() -> None:
    assert call(with_args("-q", "{prompt}", prompt_stdin=True)) == Invocation(argv=("claude", "-q"), stdin=True)


def test_a_prompt_that_no_argument_carries_goes_by_standard_input() -> None:
    assert call(with_args("exec", "-")).stdin
    assert not call(with_args("{prompt_file}")).stdin


@pytest.mark.parametrize("prompt", ["-rf", "--help"])
def test_a_prompt_that_begins_with_a_dash_is_no_flag(prompt: str) -> None:
    assert call(CLAUDE, prompt).argv[2] == f" {prompt}"
    assert call(with_args("--message={prompt}"), prompt).argv[1] == f"--message={prompt}"


def test_a_nul_character_does_not_end_the_prompt() -> None:
    assert call(CLAUDE, "a\0b").argv[2] == "ab"


def project(*backends: BackendConfig, role: RoleConfig | None = None, budget: BudgetConfig | None = None) -> Project:
    roles = RolesConfig(implementer=role, reviewer=role)
    pipeline = PipelineConfig(backends=backends, roles=roles, budget=budget or BudgetConfig())
    return Project(directory="/p", repos=(), pipeline=pipeline)


def test_without_a_role_the_first_enabled_agent_implements() -> None:
    assert resolve(project(CHAT, replace(CLAUDE, enabled=False), FILE), "implementer") == (FILE, None)


@pytest.mark.parametrize("wanted", ["claude-code", "SONNET", "claude-sonnet-4"])
def test_a_backend_is_found_by_its_name_or_a_part_of_its_model(wanted: str) -> None:
    role = RoleConfig(backend=wanted)
    assert resolve(project(FILE, CHAT, CLAUDE, role=role), "implementer") == (CLAUDE, role)


def test_a_name_counts_for_more_than_a_model() -> None:
    other = replace(FILE, name="sonnet")
    assert resolve(project(CLAUDE, other, role=RoleConfig(backend="sonnet")), "implementer")[0] is other


@pytest.mark.parametrize(
    ("wanted", "named"),
    [("gpt-6", "no backend"), ("claude", "fits claude-code, second"), ("off", "no backend"), ("", "no")],
)
def test_none_or_several_is_an_error_that_lists_the_names(wanted: str, named: str) -> None:
    second = replace(CLAUDE, name="second", model="claude-opus")
    off = replace(FILE, name="off", enabled=False)
    with pytest.raises(ConfigError, match=named) as caught:
        resolve(project(CLAUDE, second, off, role=RoleConfig(backend=wanted)), "implementer")
    assert "claude-code (claude-sonnet-4), second (claude-opus)" in caught.value.remedy
    assert caught.value.key == "roles.implementer.backend"


def test_what_an_attempt_may_spend_is_passed_on_where_the_arguments_ask_for_it() -> None:
    asking = replace(CLAUDE, prompt_args=("--max", "{budget_usd}", "{prompt}"))
    told = command(asking, Run(prompt="do", prompt_file="/f", workdir="/w", budget_usd=6))
    assert told.argv[1:] == ("--max", "6.00", "do")
    with pytest.raises(ConfigError, match="no budget is set"):
        command(asking, Run(prompt="do", prompt_file="/f", workdir="/w"))


def test_an_api_reviews_but_cannot_implement() -> None:
    there = project(CHAT, CLAUDE, role=RoleConfig(backend="api"))
    assert resolve(there, "reviewer")[0] is CHAT
    with pytest.raises(ConfigError, match="cannot implement"):
        resolve(there, "implementer")


def test_nobody_to_implement_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no enabled backend of type agent"):
        resolve(project(CHAT), "implementer")
    with pytest.raises(ConfigError, match="not configured"):
        resolve(project(CLAUDE), "reviewer")


def test_the_narrowest_time_limit_that_is_set_holds() -> None:
    budget = BudgetConfig(per_session_timeout_secs=30.0)
    backend = replace(CLAUDE, timeout_secs=20.0)
    there = project(budget=budget)
    assert wall_s(there, RoleConfig(backend="x", timeout_secs=10.0), backend) == 10.0
    assert wall_s(there, RoleConfig(backend="x"), backend) == 20.0
    assert wall_s(there, None, CLAUDE) == 30.0
    assert wall_s(project(), None, CLAUDE) == 3600.0


def said_by(text: str) -> tuple[float | None, str, str, float | None]:
    """Cost, session, why no change is needed, and when a limit ends, by an output of the generic backend."""
    reading = read(CLAUDE, text, 1, {})
    return reading.cost_usd, reading.session, no_change(reading), reading.trouble and reading.trouble.retry_at


NOTHING = (None, "", "", None)


def test_output_without_anything_agreed_says_nothing() -> None:
    assert said_by("") == said_by("done\n{broken json\n") == said_by("[1]") == said_by("3") == NOTHING


def test_however_many_spaces_an_agent_prints_its_word_is_read_at_once() -> None:
    # Had each to be tried with each, this would take until long after the test's time limit.
    spaces = " " * 1_000_000
    text = f"THRUM: no-change-needed: there{spaces}it is{spaces}"
    assert no_change(Reading(text=text)) == f"there{spaces}it is"


def test_the_last_line_that_begins_with_the_mark_counts() -> None:
    text = "THRUM: no-change-needed: first\r\nwork\nTHRUM: no-change-needed:  it is there  \nbye"
    assert said_by(text)[2] == "it is there"


@pytest.mark.parametrize(
    "text",
    [
        "> THRUM: no-change-needed: quoted",
        "print `THRUM: no-change-needed:` followed by",
        "THRUM: no-change-needed:  \n next",
    ],
)
def test_a_mark_elsewhere_or_without_a_reason_says_nothing(text: str) -> None:
    assert said_by(text)[2] == ""


@pytest.mark.parametrize("before", ["", "log line\n", '{"type": "system"}\n'])
def test_cost_session_and_mark_are_read_from_the_last_json_object(before: str) -> None:
    said = {
        "total_cost_usd": 0.25,
        "session_id": "abc",
        "result": "Looked.\nTHRUM: no-change-needed: done before",
    }
    expected = (0.25, "abc", "done before", None)
    assert said_by(before + json.dumps(said) + "\n") == expected


def test_a_json_object_over_several_lines_is_read() -> None:
    assert said_by(json.dumps({"total_cost_usd": 1}, indent=2))[0] == 1.0


@pytest.mark.parametrize("value", ["NaN", "-1", "true", '"3"', "Infinity", "1e300", "null", "[]"])
def test_a_cost_that_is_no_sum_of_money_counts_nothing(value: str) -> None:
    assert said_by(f'{{"total_cost_usd": {value}, "session_id": 7, "result": [1]}}') == NOTHING


def test_json_that_is_too_deep_says_nothing() -> None:
    assert said_by("[" * 100_000) == NOTHING


def test_a_usage_limit_names_its_end_where_the_program_failed() -> None:
    limit = "Claude AI usage limit reached|1790000000"
    assert said_by(limit)[3] == said_by(json.dumps({"result": limit}))[3] == 1_790_000_000.0
    assert read(CLAUDE, limit, 0, {}).trouble is None


# --- Presets ----------------------------------------------------------------------------------------------------------

PRESET = BackendConfig(name="mine", preset="claude-code", command="/opt/claude", model="sonnet")
RUN = Run(prompt="do it", prompt_file="/run/prompt", workdir="/tree", state="/state", new_session="new")


def test_a_preset_brings_its_command_line_and_its_variables() -> None:
    found = command(PRESET, RUN)
    assert found.stdin
    assert (found.argv[0], "do it" in found.argv) == ("/opt/claude", False)
    assert found.argv[found.argv.index("--session-id") + 1] == "new"
    assert found.argv[found.argv.index("--model") + 1] == "sonnet"
    resumed = command(PRESET, replace(RUN, session="old", budget_usd=1.5)).argv
    assert resumed[resumed.index("--resume") + 1] == "old"
    assert resumed[resumed.index("--max-budget-usd") + 1] == "1.50"
    variables = environment(PRESET, RUN, {"ANTHROPIC_API_KEY": "k", "OTHER": "x"})
    assert variables["CLAUDE_CONFIG_DIR"] == "/state"
    assert variables["ANTHROPIC_API_KEY"] == "k"
    assert "OTHER" not in variables


def test_instructions_go_apart_where_the_program_takes_them_so() -> None:
    told = command(PRESET, replace(RUN, system_prompt="Be kind.")).argv
    assert told[told.index("--append-system-prompt-file") + 1] == "/state/system-prompt.md"
    assert "--append-system-prompt-file" not in command(PRESET, RUN).argv
    assert takes_system_prompt(PRESET)
    assert not takes_system_prompt(replace(PRESET, prompt_args=("-x", "{prompt}")))
    assert not takes_system_prompt(replace(PRESET, preset="mini-swe-agent"))
    assert not takes_system_prompt(CLAUDE)


def test_what_is_configured_wins_over_the_preset() -> None:
    backend = replace(PRESET, prompt_args=("-x", "{prompt}"), env={"DISABLE_AUTOUPDATER": "0"}, pass_env=("OTHER",))
    assert command(backend, RUN) == Invocation(argv=("/opt/claude", "-x", "do it"))
    variables = environment(backend, RUN, {"OTHER": "x"})
    assert (variables["DISABLE_AUTOUPDATER"], variables["OTHER"]) == ("0", "x")


def test_a_key_under_a_name_of_ones_own_reaches_the_program_under_its_own() -> None:
    backend = replace(PRESET, api_key_env="WORK_KEY")
    environ = {"WORK_KEY": "w", "ANTHROPIC_API_KEY": "private"}
    variables = environment(backend, RUN, environ)
    assert variables["ANTHROPIC_API_KEY"] == "w"
    assert "WORK_KEY" not in variables
    assert environment(replace(CLAUDE, api_key_env="WORK_KEY"), RUN, environ) == {"WORK_KEY": "w"}
    assert key_variables(backend) == ("WORK_KEY",)
    assert "ANTHROPIC_API_KEY" in key_variables(PRESET)


def test_a_preset_reaches_its_provider_and_nothing_else_unless_that_is_configured() -> None:
    closed = project()
    assert network(closed, PRESET, ()) == (False, ("api.anthropic.com:443",))
    assert network(closed, replace(PRESET, base_url="http://127.0.0.1:8080/x"), ()) == (False, ("127.0.0.1:8080",))
    assert network(closed, replace(PRESET, base_url="https://[::1]"), ()) == (False, ("[::1]:443",))
    assert network(closed, replace(PRESET, network=True), ()) == (True, ())
    assert network(closed, replace(PRESET, network=False), ()) == (False, ())
    assert network(closed, replace(PRESET, allow=("a.example",)), ()) == (False, ("a.example",))
    listed = replace(closed, pipeline=replace(closed.pipeline, sandbox=SandboxConfig(allow=("b.example",))))
    assert network(listed, PRESET, ()) == (False, ("b.example",))
    assert network(closed, CLAUDE, ()) == (False, ())


def test_how_a_run_ended_tells_why_unless_its_program_knows_better() -> None:
    limited, vague = Trouble(failure=Failure.RATE_LIMITED), Trouble(failure=Failure.CRASHED)
    assert failure(Ending.EXITED, None) is None
    assert failure(Ending.EXITED, limited) is Failure.RATE_LIMITED
    assert failure(Ending.TIMED_OUT, limited) is Failure.RATE_LIMITED
    assert failure(Ending.TIMED_OUT, vague) is failure(Ending.TIMED_OUT, None) is Failure.TIMED_OUT
    assert failure(Ending.STOPPED, limited) is Failure.INTERRUPTED, "claude tells of a success when it is ended"
    assert failure(Ending.NOT_FOUND, None) is Failure.NOT_FOUND
    assert failure(Ending.OUTPUT_LIMIT, None) is None
    assert failure(Ending.EXITED, vague, limited=True) is Failure.RESOURCE_LIMIT
    assert failure(Ending.EXITED, limited, limited=True) is Failure.RATE_LIMITED
    assert failure(Ending.EXITED, None, limited=True) is None, "it says that it was done"
    assert failure(Ending.TIMED_OUT, vague, limited=True) is Failure.TIMED_OUT
    denied = Trouble(failure=Failure.AUTH)
    assert failure(Ending.EXITED, denied) is Failure.AUTH
    assert failure(Ending.EXITED, denied, refused=True) is Failure.UNREACHABLE


def test_it_is_told_which_variable_has_the_key_or_should_have_it() -> None:
    assert key_told(PRESET, ["OTHER"]).startswith("no key is set (ANTHROPIC_API_KEY")
    assert key_told(PRESET, ["ANTHROPIC_API_KEY", "OTHER"]) == "its key is from ANTHROPIC_API_KEY"
    own = replace(PRESET, api_key_env="WORK_KEY")
    assert key_told(own, ["ANTHROPIC_API_KEY"]) == "no key is set (WORK_KEY)"
    assert key_told(replace(own, env={"WORK_KEY": "x"}), []) == "its key is from WORK_KEY"
    assert key_told(BackendConfig(name="p", command="p"), []) == ""


def test_a_door_is_the_providers_only_where_its_model_may_be() -> None:
    known = BackendConfig(name="p", preset="opencode", command="opencode")
    assert provider_refused(known, ["packages.example.org:443", "api.openai.com:443"])
    assert not provider_refused(known, ["packages.example.org:443"])
    moved = replace(known, base_url="http://127.0.0.1:8080")
    assert provider_refused(moved, ["127.0.0.1:8080"])
    assert not provider_refused(moved, ["api.openai.com:443"])
    assert provider_refused(CLAUDE, ["anywhere.example:443"]), "nobody knows where that one's model is"
    assert not provider_refused(CLAUDE, [])


def test_the_backends_to_fall_back_to_follow_in_order_and_the_last_stays() -> None:
    role = RoleConfig(backend="claude-code", fallback=("mine", "file"))
    there = project(CLAUDE, PRESET, FILE, role=role)
    assert implementers(there) == ("claude-code", "mine", "file")
    assert implementers(project(CLAUDE, PRESET)) == ("claude-code",)
    assert implementers(project(CLAUDE, role=role)) == ()
    assert [resolve(there, "implementer", fallbacks=n)[0] for n in range(4)] == [CLAUDE, PRESET, FILE, FILE]
