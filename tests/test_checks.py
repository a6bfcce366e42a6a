"""Which checks a gate consists of, and what `thrum check` has to say of a configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrum.checks import (
    definition_digest,
    fill,
    first_program,
    gate_checks,
    integration_set,
    programs,
    requirement,
    sample,
    share,
    startable,
)
from thrum.config import PipelineConfig, Project, RepoConfig
from thrum.errors import RepositoryError, ThrumError
from thrum.findings import Finding, Sighting, problems
from thrum.gate import Artifact, Check, CheckResult, Gate, Obligations, Verdict
from thrum.missing import missing_tool
from thrum.records import from_plain


def project_of(*repos: dict[str, Any], **pipeline: Any) -> Project:
    return Project(
        directory="/srv/project",
        repos=tuple(from_plain(RepoConfig, {"path": f"/srv/{repo['name']}", **repo}) for repo in repos),
        pipeline=from_plain(PipelineConfig, pipeline),
    )


MELD = {"name": "Meld", "fmt_cmd": "fmt it", "test_cmd": ["run", "tests"]}
CHAIN = {
    "integration": {
        "timeout_s": 60,
        "steps": [
            {"repo": "synth", "label": "compile", "args": ["{output_dir}/a b", "it's"], "timeout_s": 5},
            {"repo": "Meld", "label": "fuse", "command": "fuse {fixture}"},
        ],
    }
}


def test_a_gate_has_the_checks_that_the_repository_has_commands_for() -> None:
    project = project_of(MELD, gates={"quality": {"timeout_s": 7}})
    checks, empty = gate_checks(project, project.repos[0], Gate.QUALITY)
    assert checks == (
        Check(name="fmt", command="fmt it", repo="Meld", timeout_s=7),
        Check(name="test", command=("run", "tests"), repo="Meld", timeout_s=7, expect_tests=True),
    )
    assert empty == ("lint",)


def test_the_repository_says_whether_its_tests_are_expected_and_where_they_are_reported() -> None:
    project = project_of(MELD | {"expect_tests": False, "test_junit": "out/r.xml"})
    fmt, test = gate_checks(project, project.repos[0], Gate.QUALITY)[0]
    assert (test.expect_tests, test.junit) == (False, "out/r.xml")
    assert (fmt.expect_tests, fmt.junit) == (False, "")


def test_other_names_of_built_in_checks_mean_the_same_commands() -> None:
    project = project_of(MELD, gates={"quality": {"checks": ["cargo_test", "cargo_fmt", "cargo_clippy"]}})
    checks, empty = gate_checks(project, project.repos[0], Gate.QUALITY)
    assert [(check.name, check.command, check.expect_tests) for check in checks] == [
        ("cargo_test", ("run", "tests"), True),
        ("cargo_fmt", "fmt it", False),
    ]
    assert empty == ("cargo_clippy",)


@pytest.mark.parametrize("proof", [{"theorems": ["A.b"]}, {"axioms": ["A.c"]}, {"rocq_project": "_CoqProject"}])
def test_whatever_is_said_of_rocq_has_it_prove(proof: dict[str, Any]) -> None:
    project = project_of({"name": "one", "proof": proof})
    checks, empty = gate_checks(project, project.repos[0], Gate.PROOF)
    assert [(check.name, check.prover) for check in checks] == [("proofs", "rocq")]
    assert empty == ("verify",)


def test_a_check_of_ones_own_brings_all_it_says() -> None:
    own = {"command": "x", "env": {"A": "b"}, "network": True, "expect_tests": True, "timeout_s": 3}
    project = project_of(
        MELD, gates={"proof": {"checks": ["mine", "short"]}}, checks={"mine": own, "short": {"command": "y"}}
    )
    checks, empty = gate_checks(project, project.repos[0], Gate.PROOF)
    assert checks[0] == Check(
        name="mine", command="x", repo="Meld", timeout_s=3, env={"A": "b"}, network=True, expect_tests=True
    )
    assert checks[1].timeout_s == 1800
    assert empty == ()


def test_the_review_has_no_checks() -> None:
    project = project_of(MELD)
    assert gate_checks(project, project.repos[0], Gate.REVIEW) == ((), ())


def test_steps_belong_to_the_repositories_that_they_name() -> None:
    project = project_of(MELD, {"name": "alone"}, {"name": "Synth", "run_cmd": ["synth"]}, gates=CHAIN)
    compile_step = Check(name="compile", command=("synth", "{output_dir}/a b", "it's"), repo="Synth", timeout_s=5)
    fuse = Check(name="fuse", command="fuse {fixture}", repo="Meld", timeout_s=60, needs=("compile",))
    for name in ("Meld", "Synth"):
        repo = project.repo(name)
        assert repo is not None
        assert gate_checks(project, repo, Gate.INTEGRATION) == ((compile_step, fuse), ())
    assert gate_checks(project, project.repos[1], Gate.INTEGRATION) == ((), ())


def test_a_part_of_a_pipeline_needs_the_one_before_it_unless_it_says_what_it_needs() -> None:
    labels: dict[str, Any] = {"a": None, "b": [], "c": ["a", "b"], "d": None}
    steps = [
        {"repo": "Meld", "label": label, "command": "x"} | ({} if needs is None else {"needs": needs})
        for label, needs in labels.items()
    ]
    project = project_of(MELD, gates={"integration": {"checks": ["fmt", "test"], "steps": steps}})
    checks, _ = gate_checks(project, project.repos[0], Gate.INTEGRATION)
    needs = {check.name: check.needs for check in checks}
    assert needs == {"fmt": (), "test": ("fmt",), "a": ("test",), "b": (), "c": ("a", "b"), "d": ("c",)}

    def begin(begun: set[str], ended: set[str], verdict: Verdict = Verdict.PASSED) -> list[str]:
        return [check.name for check in startable(checks, begun, dict.fromkeys(ended, verdict))]

    assert begin(set(), set()) == ["fmt", "b"]
    assert begin({"fmt"}, set()) == ["b"]
    assert begin({"fmt", "b"}, {"fmt", "b"}) == ["test"]
    assert begin({"fmt", "test", "a", "b"}, {"fmt", "test", "a", "b"}) == ["c"]
    assert begin({"fmt", "b"}, {"fmt"}, Verdict.FAILED) == begin({"fmt"}, {"fmt"}, Verdict.COULD_NOT_RUN) == []


def test_steps_tie_their_repositories_together_and_no_others() -> None:
    project = project_of(MELD, {"name": "alone"}, {"name": "Synth"}, gates=CHAIN)
    assert integration_set(project, "Synth") == integration_set(project, "Meld") == ("Meld", "Synth")
    assert integration_set(project, "alone") == ("alone",)
    assert integration_set(project_of(MELD), "Meld") == ("Meld",)


def test_arguments_are_quoted_for_a_run_cmd_that_is_a_string() -> None:
    project = project_of(MELD, {"name": "Synth", "run_cmd": "cd x && synth"}, gates=CHAIN)
    command = gate_checks(project, project.repos[1], Gate.INTEGRATION)[0][0].command
    assert fill(command, {"output_dir": "/tmp/o p"}) == "cd x && synth '/tmp/o p''/a b' 'it'\"'\"'s'"


def test_placeholders_are_filled_quoted_in_strings_and_bare_in_lists() -> None:
    values = {"fixture": "/f $x.wat", "output_dir": "/out"}
    assert fill("a {fixture} {output_dir}/b {other}", values) == "a '/f $x.wat' /out/b {other}"
    assert fill(("a", "{fixture}", "{output_dir}/b"), values) == ("a", "/f $x.wat", "/out/b")
    assert fill("{fixture} {output_dir}", {"fixture": "{output_dir}"}) == "'{output_dir}' {output_dir}"


@pytest.mark.parametrize(
    ("repo", "gates", "gate", "why"),
    [
        ({}, {}, Gate.QUALITY, ""),
        ({}, {"quality": {"required": True}}, Gate.QUALITY, "required = true"),
        ({"safety_target": "AsilA"}, {}, Gate.QUALITY, "safety_target AsilA"),
        ({"safety_target": "AsilB"}, {}, Gate.PROOF, ""),
        ({"safety_target": "AsilC"}, {}, Gate.PROOF, "safety_target AsilC"),
        ({"safety_target": "AsilD"}, {}, Gate.INTEGRATION, "safety_target AsilD"),
        ({"safety_target": "AsilD"}, {}, Gate.REVIEW, ""),
    ],
)
def test_a_gate_that_is_demanded_may_not_be_left_empty(
    repo: dict[str, Any], gates: dict[str, Any], gate: Gate, why: str
) -> None:
    project = project_of({"name": "one", **repo}, gates=gates)
    said = requirement(project, project.repos[0], gate, Verdict.NOT_CONFIGURED)
    assert bool(said) == bool(why)
    assert why in said
    for verdict in (Verdict.PASSED, Verdict.FAILED, Verdict.COULD_NOT_RUN):
        assert requirement(project, project.repos[0], gate, verdict) == ""


def test_the_project_says_what_a_safety_target_demands() -> None:
    project = project_of({"name": "one", "safety_target": "AsilD"}, safety={"AsilD": {"required_gates": []}})
    assert requirement(project, project.repos[0], Gate.PROOF, Verdict.NOT_CONFIGURED) == ""


def test_the_digest_of_a_definition_tells_every_difference() -> None:
    check = Check(name="a", command="x")
    variants = [
        (check,),
        (check, check),
        (),
        (replace(check, command=("x",)),),
        (replace(check, env={"A": "1"}),),
        (replace(check, timeout_s=1.0),),
        (replace(check, network=True),),
        (replace(check, expect_tests=True),),
        (replace(check, name="b"), check),
        (check, replace(check, name="b")),
    ]
    digests = [definition_digest(checks) for checks in variants]
    assert len(set(digests)) == len(digests)
    assert definition_digest([check]) == digests[0]


CHECKS = tuple(Check(name=str(i), command="x") for i in range(10))


@given(ratio=st.floats(0, 1), count=st.integers(0, 10), strategy=st.sampled_from(["task-id", "random"]), task=st.text())
def test_a_sample_is_a_share_in_order_and_never_nothing_of_something(
    ratio: float, count: int, strategy: str, task: str
) -> None:
    checks = CHECKS[:count]
    chosen = sample(checks, ratio, strategy, task, 1)
    assert list(chosen) == [check for check in checks if check in chosen]
    assert ratio * count - 1e-6 <= len(chosen) <= max(1, ratio * count + 1)
    assert chosen or not checks
    assert chosen == sample(checks, ratio, strategy, task, 1)


def test_a_sample_by_task_stays_and_a_random_one_changes_with_the_attempt() -> None:
    def chosen(strategy: str, task: str, attempt: int) -> str:
        return " ".join(check.name for check in sample(CHECKS, 0.3, strategy, task, attempt))

    by_task = {chosen("task-id", "a-1", attempt) for attempt in range(20)}
    at_random = {chosen("random", "a-1", attempt) for attempt in range(20)}
    other_tasks = {chosen("task-id", f"a-{number}", 1) for number in range(20)}
    assert len(by_task) == 1
    assert len(at_random) > 5
    assert len(other_tasks) > 5


def test_gate_3_is_never_sampled() -> None:
    ratios = {"enabled": True, "gate1_ratio": 0.1, "gate2_ratio": 0.2, "gate3_ratio": 0.3}
    project = project_of(MELD, subsample=ratios)
    assert [share(project, gate) for gate in Gate] == [0.1, 1.0, 0.2, 1.0]
    assert share(project_of(MELD, subsample={**ratios, "enabled": False}), Gate.QUALITY) == 1.0


# --- Findings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("", ""),
        ((), ""),
        (("cargo", "fmt"), "cargo"),
        (("test", "-f", "x"), "test"),
        (("./run",), ""),
        (("/opt/x/run",), "/opt/x/run"),
        ("cargo fmt -- --check", "cargo"),
        ("A=1 B='x y' cargo test", "cargo"),
        ("cd sub && npm test", "npm"),
        ("cd 'a b' && X=1 npm test", "npm"),
        ("env X=1 make", "make"),
        ("make&&other", "make"),
        ("./check --all", ""),
        ('"$THRUM_SETUP/bin/python" -m pytest', ""),
        ("unformatted=$(gofmt -l .); test -z x", ""),
        ("(cd x; make)", ""),
        ("[ -f x ]", ""),
        ("true", ""),
        ("echo 'unbalanced", ""),
        ("A=1", ""),
    ],
)
def test_the_first_program_of_a_command_is_found_where_that_is_possible(command: Any, program: str) -> None:
    assert first_program(command) == program


@pytest.mark.parametrize(
    ("command", "code", "tail", "told"),
    [
        ("python3 -m pytest -q", 1, "/usr/bin/python3: No module named pytest\n", "there is no module 'pytest'"),
        (["py", "-m", "xdist.b"], 1, "py: Error ... (ModuleNotFoundError: No module named 'xdist')\n", "'xdist.b'"),
        ("python3 -m venv x", 1, "python3: No module named venv\n", "there is no module 'venv'"),
        ("python3 -m tally --self-test", 1, "/usr/bin/python3: No module named tally\n", ""),
        ("true; no-such", 127, "bash: line 1: no-such: command not found\n", "no-such: command not found"),
        ("sh ci/t.sh", 127, "ci/t.sh: 1: no-such: not found\n", "no-such: not found"),
        ("env -S x", 127, "env: ‘x’: No such file or directory\n", "x’: No such file"),
        ("x", 126, "bash: line 1: /opt/x: Permission denied\n", "/opt/x: Permission denied"),
        ("make", 127, "", "it ended with 127"),
        ("python3 -m pytest", 1, "E   ModuleNotFoundError: No module named 'numpy'\n", ""),
        ("python3 -m pytest", 0, "No module named pytest\n", ""),
        ("./run", 127, "bash: line 1: ./run: No such file or directory\n", ""),
        ("sh ci/t.sh", 126, "sh: 1: ci/more: Permission denied\n", ""),
        ("false", 1, "x: command not found\n", ""),
    ],
)
def test_what_the_machine_lacks_is_told_from_how_a_run_failed(command: Any, code: int, tail: str, told: str) -> None:
    result = CheckResult(name="it", verdict=Verdict.FAILED, exit_code=code, tail=tail)
    command = command if isinstance(command, str) else tuple(command)
    assert told in missing_tool(command, result)
    assert bool(missing_tool(command, result)) is bool(told)


AGENT = {"name": "coder", "type": "agent", "command": "coder", "prompt_args": ["{prompt}"]}
FULL = {"name": "one", "fmt_cmd": ["fmt"], "lint_cmd": ["lint"], "test_cmd": ["test"]}
NO_GATES = {"proof": {"checks": []}}


def everywhere(program: str, mounts: tuple[str, ...]) -> Sighting:
    return Sighting(host=f"/usr/bin/{program}", inside=f"/usr/bin/{program}")


def findings(
    project: Project,
    which: Callable[[str, tuple[str, ...]], Sighting] = everywhere,
    problem: ThrumError | None = None,
    missing: tuple[str, ...] = (),
    environ: dict[str, str] | None = None,
) -> list[Finding]:
    return problems(
        project,
        which=which,
        repository_problem=lambda repo: problem,
        exists=lambda path: path not in missing,
        environ=environ,
    )


def only(found: list[Finding], level: str) -> Finding:
    chosen = [finding for finding in found if finding.level == level]
    assert len(chosen) == 1, found
    return chosen[0]


def test_a_sound_configuration_has_notes_alone() -> None:
    found = findings(project_of(FULL, backends=[AGENT]))
    assert {finding.level for finding in found} == {"note"}
    assert [finding.text.split(" ")[1] for finding in found] == ["proof", "integration"]


def test_tests_that_are_not_expected_are_told() -> None:
    told = [one.text for one in findings(project_of(FULL | {"expect_tests": False}, backends=[AGENT]))]
    assert "expect_tests = false: test_cmd passes with its exit code alone, also where it ran no test" in told
    reported = FULL | {"expect_tests": False, "test_junit": "r.xml"}
    assert not [one for one in findings(project_of(reported, backends=[AGENT])) if "expect_tests" in one.text]


@pytest.mark.parametrize(
    ("setup", "itself"),
    [
        ('python3 -m venv "$THRUM_SETUP/v" && "$THRUM_SETUP/v/bin/pip" install .', True),
        ("pip3 install -q -e '.[test]' pytest", True),
        ("python3 -m pip install --editable=./sub", True),
        ("uv pip install --system .", True),
        ("make -C build && make DESTDIR=x install", True),
        ("npm link", True),
        ("npm install --global .", True),
        (["cargo", "install", "--path", "cli", "--root", "x"], True),
        ("poetry install", True),
        ("uv sync --frozen", True),
        ("python3 setup.py develop", True),
        ("pip install -r ./requirements.txt -c ./constraints.txt pytest", False),
        ("pip install --target . pytest", False),
        ("pip install ./wheels/a-1.0-py3-none-any.whl", False),
        ("poetry install --no-root", False),
        ("uv sync --no-install-project", False),
        ("npm ci --prefix .", False),
        ("cargo install cargo-nextest", False),
        ("make deps", False),
        ("cp a.py . && pip install pytest", False),
        ("", False),
    ],
)
def test_a_setup_that_installs_the_repository_itself_is_warned_of(setup: Any, itself: bool) -> None:
    found = findings(project_of(FULL | {"setup_cmd": setup}, backends=[AGENT]))
    told = [one for one in found if "the code of the branch, not of the change" in one.text]
    assert [one.level for one in told] == ["warning"] * itself


def test_the_trouble_with_a_repository_is_passed_on() -> None:
    error = RepositoryError("it has no commit", remedy="commit")
    found = only(findings(project_of(FULL, backends=[AGENT]), problem=error), "error")
    assert (found.where, found.text, found.remedy) == ("configs/repos.toml: one", "it has no commit", "commit")


def test_a_gate_that_is_demanded_and_empty_is_an_error() -> None:
    project = project_of({"name": "one"}, gates={"quality": {"required": True}}, backends=[AGENT])
    found = only(findings(project), "error")
    assert "required = true" in found.text
    assert found.remedy == "Set fmt_cmd, lint_cmd, test_cmd."


def test_a_program_that_only_the_host_sees_comes_with_the_paths_to_mount() -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def hidden(program: str, mounts: tuple[str, ...]) -> Sighting:
        asked.append((program, mounts))
        return (
            Sighting(host="/home/me/bin/lint", mounts=("/home/me/bin",))
            if program == "lint"
            else everywhere(program, mounts)
        )

    project = project_of({**FULL, "mount_paths": ["/opt/b"]}, backends=[AGENT], sandbox={"mount_paths": ["/opt/a"]})
    found = only(findings(project, hidden), "error")
    assert "'lint', which lint needs, is at /home/me/bin/lint" in found.text
    assert '"/home/me/bin"' in found.remedy
    assert ("lint", ("/opt/a", "/opt/b")) in asked
    assert ("git", ("/opt/a", "/opt/b")) in asked
    without = replace(
        project, pipeline=replace(project.pipeline, sandbox=replace(project.pipeline.sandbox, backend="none"))
    )
    assert [one for one in findings(without, hidden) if one.level == "error"] == []


def test_a_program_that_is_nowhere_must_be_installed_unless_the_setup_may_bring_it() -> None:
    def nowhere(program: str, mounts: tuple[str, ...]) -> Sighting:
        return Sighting() if program in ("lint", "installer") else everywhere(program, mounts)

    assert only(findings(project_of(FULL, backends=[AGENT]), nowhere), "error").remedy == "Install it."
    with_setup = project_of({**FULL, "setup_cmd": ["pip"]}, backends=[AGENT])
    found = findings(with_setup, nowhere)
    assert [one.text for one in found if one.level == "error"] == []
    assert any("before setup_cmd has run" in one.text for one in found)
    broken_setup = project_of({**FULL, "setup_cmd": ["installer"]}, backends=[AGENT])
    assert "setup_cmd" in only(findings(broken_setup, nowhere), "error").text


def test_another_program_of_the_same_name_in_the_sandbox_is_told() -> None:
    def other(program: str, mounts: tuple[str, ...]) -> Sighting:
        return Sighting(host=f"/home/me/{program}", inside=f"/usr/bin/{program}", mounts=("/home/me",))

    texts = [finding.text for finding in findings(project_of(FULL, backends=[AGENT]), other)]
    assert "'lint', which lint needs, is /usr/bin/lint in the sandbox, but /home/me/lint for you" in texts


def test_a_command_that_is_a_string_needs_bash_too() -> None:
    asked: list[str] = []

    def note(program: str, mounts: tuple[str, ...]) -> Sighting:
        asked.append(program)
        return everywhere(program, mounts)

    findings(project_of({**FULL, "lint_cmd": "A=1 lint"}, backends=[AGENT]), note)
    assert sorted(asked) == ["bash", "coder", "fmt", "git", "lint", "test"]


def test_without_an_agent_nobody_can_work() -> None:
    found = only(findings(project_of(FULL, backends=[{**AGENT, "enabled": False}])), "error")
    assert "no agent is enabled" in found.text


def test_an_agent_that_the_sandbox_does_not_see_is_an_error() -> None:
    def hidden(program: str, mounts: tuple[str, ...]) -> Sighting:
        return Sighting() if program == "coder" else everywhere(program, mounts)

    assert (
        "'coder', the agent, is not on the PATH"
        in only(findings(project_of(FULL, backends=[AGENT]), hidden), "error").text
    )


def test_files_that_are_named_must_be_there() -> None:
    project = project_of(
        {**FULL, "claude_md": "/a.md"},
        backends=[AGENT],
        roles={"implementer": {"backend": "coder", "prompt_template": "/b.md"}},
    )
    assert findings(project) == [one for one in findings(project) if one.level == "note"]
    errors = [one for one in findings(project, missing=("/a.md", "/b.md")) if one.level == "error"]
    assert [one.text for one in errors] == ["there is no /a.md", "there is no /b.md"]


def test_of_a_repository_on_another_host_is_told_that_nothing_brings_it_up_there() -> None:
    project = project_of({**FULL, "host": "far"}, gates=NO_GATES, backends=[AGENT])
    told = findings(project, problem=RepositoryError("there is no such repository"))
    assert [(one.level, one.text) for one in told if "host" in one.text or one.level == "error"] == [
        ("warning", "host = 'far': its actors run there, and no command brings them up there yet")
    ]


@pytest.mark.parametrize(
    ("pipeline", "level", "where", "text"),
    [
        ({"backends": [AGENT], "sandbox": {"backend": "none"}}, "warning", "sandbox", "whatever you may do"),
        ({"backends": [AGENT], "sandbox": {"limits": "best-effort"}}, "note", "sandbox", "may not bind"),
        ({"backends": [AGENT], "sandbox": {"image": "debian"}}, "note", "sandbox.image", "no effect"),
        ({"backends": [AGENT], "sandbox": {"mount_paths": ["/gone"]}}, "warning", "mount_paths", "no /gone"),
        (
            {"backends": [AGENT], "sandbox": {"mount_paths": ["/srv"]}},
            "warning",
            "mount_paths",
            "shows agents the project",
        ),
        ({"backends": [AGENT], "release": {"targets": []}}, "note", "release", "no effect"),
        ({"backends": [AGENT], "subsample": {"enabled": True}}, "note", "subsample", "only a share"),
        ({"backends": [AGENT], "subsample": {"enabled": True, "gate3_ratio": 0.5}}, "note", "gate3_ratio", "no effect"),
        ({"backends": [AGENT], "roles": {"reviewer": {"backend": "coder"}}}, "note", "roles.reviewer", "no effect yet"),
        ({"backends": [AGENT], "roles": {"planner": {"backend": "coder"}}}, "note", "roles.planner", "no effect yet"),
        ({"backends": [AGENT], "budget": {"ceiling_usd": 5}}, "warning", "budget", "what coder spends counts only if"),
        (
            {"backends": [AGENT], "roles": {"implementer": {"backend": "coder", "budget_usd": 6}}},
            "note",
            "budget_usd",
            "do not pass on {budget_usd}",
        ),
        ({"backends": [AGENT], "budget": {"allocation": {"a": 5}}}, "note", "budget.allocation", "not set"),
        ({"backends": [{**AGENT, "api_key_env": "KEY", "network": True}]}, "warning", "coder", "KEY, named by"),
        ({"backends": [{**AGENT, "api_key_env": "SET"}]}, "warning", "coder", "no network to reach it"),
    ],
)
def test_what_a_person_should_know_is_told(pipeline: dict[str, Any], level: str, where: str, text: str) -> None:
    found = findings(project_of(FULL, gates=NO_GATES, **pipeline), missing=("/gone",), environ={"SET": "x"})
    told = [one for one in found if one.where.endswith(where) and text in one.text]
    assert [one.level for one in told] == [level]
    plain = findings(project_of(FULL, gates=NO_GATES, backends=[AGENT]), missing=("/gone",), environ={"SET": "x"})
    assert not [one for one in plain if text in one.text]


def test_the_programs_that_a_check_needs_are_told_each_once_with_those_that_compare_what_it_made() -> None:
    artifacts = (
        Artifact(path="a"),
        Artifact(path="b", compare=("cmp", "{artifact}", "b")),
        Artifact(path="c", compare="A=1 wasm-tools validate {artifact}"),
        Artifact(path="d", compare="wasm-tools validate {artifact}"),
        Artifact(path="e", compare="test -s {artifact}"),
    )
    told = programs(Check(name="it", command=("wasm-tools", "fuse"), artifacts=artifacts))
    assert told == (("wasm-tools",), ("cmp",), ("bash",))
    assert programs(Check(name="it", command=("./run",))) == ()


def test_a_prover_is_found_under_any_of_its_names() -> None:
    assert programs(Check(name="proofs", command="", prover="rocq", obligations=Obligations(rocq=("*.v",)))) == (
        ("coqc", "rocq"), ("coqchk", "rocqchk", "rocq"),
    )  # fmt: skip
    z3 = Obligations(smt=("*.smt2",), python=("o.py",), solver="z3-4.13", interpreter="python3.12")
    assert programs(Check(name="verify", command="", prover="z3", obligations=z3)) == (("z3-4.13",), ("python3.12",))
    installed = Obligations(python=("o.py",), interpreter="$THRUM_SETUP/venv/bin/python")
    assert programs(Check(name="verify", command="", prover="z3", obligations=installed)) == (("z3",),)
