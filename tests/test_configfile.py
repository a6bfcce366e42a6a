"""Reading a project's configuration: every mistake is named with its file, its key and what to do."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from thrum.config import Project
from thrum.configfile import load
from thrum.errors import ConfigError, Exit
from thrum.files.project import find_project
from thrum.snapshot import load_snapshot, save_snapshot

REPOS = """\
[[repo]]
name = "Meld"
path = "meld"

[[repo]]
name = "loom"
path = "/srv/loom"
"""

PIPELINE = """\
[[backends]]
name = "coder"
type = "agent"
command = "coder"
model = "big-opus-4"

[[backends]]
name = "talker"
type = "chat"
provider = "somebody"
model = "small-sonnet"

[[backends]]
name = "idle"
type = "agent"
command = "idle"
model = "idle-haiku"
enabled = false
"""


def write(directory: Path, repos: str = REPOS, pipeline: str = PIPELINE) -> Path:
    (directory / "configs").mkdir(exist_ok=True)
    (directory / "configs/repos.toml").write_text(repos)
    (directory / "configs/pipeline.toml").write_text(pipeline)
    return directory


def refused(directory: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(directory)
    assert caught.value.exit_code is Exit.USAGE
    return caught.value


def repo(extra: str = "", *, name: str = "one", path: str = "/srv/one") -> str:
    return f'[[repo]]\nname = "{name}"\npath = "{path}"\n{extra}\n'


def step(extra: str) -> str:
    return f"[[gates.integration.steps]]\n{extra}\n"


@pytest.mark.parametrize(
    ("text", "key", "problem", "remedy"),
    [
        ("", "repo", "no repository", ""),
        ("repos = 1", "repos", "is not a known key", "Did you mean 'repo'?"),
        ("[repo]\nname = 'x'", "repo", "must be a list, not a table", "two brackets: [[repo]]"),
        ("[[repo]]\npath = 'x'", "repo[0].name", "is missing", ""),
        (repo("tset_cmd = 'x'"), "repo[0].tset_cmd", "is not a known key", "Did you mean 'test_cmd'?"),
        (repo("zzz = 'x'"), "repo[0].zzz", "is not a known key", "Known here: name, path, branch"),
        (repo("test_cmd = 3"), "repo[0].test_cmd", "must be a string or a list, not 3", ""),
        (repo("test_cmd = ' '"), "repo[0].test_cmd", "is blank", ""),
        (repo("test_cmd = ['', 'x']"), "repo[0].test_cmd[0]", "empty program", ""),
        (repo('test_cmd = "a\\u0000b"'), "repo[0].test_cmd", "NUL", ""),
        (repo("test_junit = '../r.xml'"), "repo[0].test_junit[0]", "is no path below the repository's root", ""),
        (repo("setup_cmd = ' '"), "repo[0].setup_cmd", "is blank", ""),
        (repo("test_cmd = 'x {outptu_dir}'"), "repo[0].test_cmd", "{outptu_dir}", "Did you mean '{output_dir}'?"),
        (repo("run_cmd = ['x', '{repo:on}/y']"), "repo[0].run_cmd[1]", "no such repository", "'{repo:one}'?"),
        (repo("concurrency = -1"), "repo[0].concurrency", "must be from 0", ""),
        (repo("setup_timeout_s = 0"), "repo[0].setup_timeout_s", "must be from 0.01", ""),
        (repo("safety_target = 'asilb'"), "repo[0].safety_target", "must be one of Qm", "Did you mean 'AsilB'?"),
        (repo("branch = 'a b'"), "repo[0].branch", "no name of a branch", ""),
        (repo("branch = 'refs/heads/main'"), "repo[0].branch", "without refs/heads/", ""),
        (repo("branch = 'x.lock'"), "repo[0].branch", "no name of a branch", ""),
        (repo("branch = 'a..b'"), "repo[0].branch", "no name of a branch", ""),
        (repo("branch = ''"), "repo[0].branch", "no name of a branch", ""),
        (repo("host = 'a b'"), "repo[0].host", "only letters", ""),
        (repo("[repo.proof]\nsolver = './bin/z3'"), "repo[0].proof.solver", "neither a name on the PATH", ""),
        (repo("[repo.proof]\ninterpreter = 'venv/bin/python'"), "repo[0].proof.interpreter", "neither a name", ""),
        (repo("[repo.proof]\nsolver = ''"), "repo[0].proof.solver", "'' is neither a name", ""),
        (repo("proofs_cmd = 'x'\n[repo.proof]\ntheorems = ['A.b']"), "repo[0].proof.rocq", "a proofs_cmd too", ""),
        (repo(name=""), "repo[0].name", "is empty", ""),
        (repo(name="a b"), "repo[0].name", "only letters", ""),
        (repo(name="a/b"), "repo[0].name", "only letters", ""),
        (repo(name="ä"), "repo[0].name", "only letters", ""),
        (repo(name="-a"), "repo[0].name", "may not begin", ""),
        (repo(name="a-"), "repo[0].name", "may not end in `-`", ""),
        (repo(name=".."), "repo[0].name", "only letters", ""),
        (repo(name="a..b"), "repo[0].name", "may not hold `..`", ""),
        (repo(name="a" * 65), "repo[0].name", "longer than 64", ""),
        (repo(path=""), "repo[0].path", "is empty", ""),
        (repo() + repo(path="/srv/two"), "repo[1].name", "'one' already", ""),
        (repo() + repo(name="One", path="/srv/two"), "repo[1].name", "'one' already", ""),
        (repo() + repo(name="two"), "repo[1].path", "the path of 'one' too", ""),
        (repo() + repo(name="two", path="/srv/x/../one/"), "repo[1].path", "the path of 'one' too", ""),
    ],
)
def test_a_mistake_in_repos_toml_is_named(tmp_path: Path, text: str, key: str, problem: str, remedy: str) -> None:
    error = refused(write(tmp_path, repos=text))
    assert (error.file, error.key) == ("configs/repos.toml", key)
    assert problem in error.problem
    assert remedy in error.remedy
    assert str(error).startswith(f"configs/repos.toml: {key}: ")


STEPS = "gates.integration.steps"


@pytest.mark.parametrize(
    ("text", "key", "problem", "remedy"),
    [
        ("[engin]", "engin", "is not a known key", "Did you mean 'engine'?"),
        ("[engine]\nper_repo_limt = 1", "engine.per_repo_limt", "is not a known key", "'per_repo_limit'"),
        ("[engine]\nagents = 0", "engine.agents", "must be from 1", ""),
        ("[engine]\nreapprove = 'allways'", "engine.reapprove", "must be one of never, overlap", "Known here"),
        (
            "[gates.quality]\nchecks = ['fmt', 'lnt']",
            "gates.quality.checks[1]",
            "neither built in",
            "Did you mean 'lint'?",
        ),
        ("[gates.quality]\nchecks = ['test', 'cargo_test']", "gates.quality.checks[1]", "'test' runs already", ""),
        ("[gates.quality]\ntimeout_s = inf", "gates.quality.timeout_s", "must be a finite number", ""),
        ("[[gates.quality.steps]]", "gates.quality.steps", "is not a known key", ""),
        ("[gates.qualty]", "gates.qualty", "is not a known key", "'quality'"),
        ("[checks.test]\ncommand = 'x'", "checks.test", "is built in: it runs test_cmd", ""),
        ("[checks.'a b']\ncommand = 'x'", "checks.a b", "only letters", ""),
        ("[checks.mine]", "checks.mine.command", "is missing", ""),
        ("[checks.mine]\ncommand = 'x'\nfolder = '../out'", "checks.mine.folder", "no path below", ""),
        ("[checks.mine]\ncommand = []", "checks.mine.command", "is empty", ""),
        ("[checks.mine]\ncommand = 'x'\nenv = {'A-B' = 'x'}", "checks.mine.env", "'A-B' is no name of a variable", ""),
        (step("repo = 'loom'\nlabel = 'x'"), f"{STEPS}[0]", "neither args nor command", ""),
        (step("repo = 'loom'\nlabel = 'x'\nargs = ['a']\ncommand = 'b'"), f"{STEPS}[0]", "both args and command", ""),
        (step("repo = 'lom'\nlabel = 'x'\ncommand = 'b'"), f"{STEPS}[0].repo", "no configured repository", "'loom'?"),
        (step("repo = 'loom'\nlabel = ''\ncommand = 'b'"), f"{STEPS}[0].label", "printable", ""),
        (step("repo = 'loom'\nlabel = 'x'\ncommand = 'b'") * 2, f"{STEPS}[1].label", "another check", ""),
        (step("repo = 'loom'\nlabel = 'x'\nargs = ['{fixture}']"), f"{STEPS}[0]", "fixture is not set", ""),
        (
            step("repo = 'loom'\nlabel = 'x'\nargs = ['a', '{outdir}/b']"),
            f"{STEPS}[0].args[1]",
            "{outdir}",
            "'{output_dir}'?",
        ),
        (step("repo = 'loom'\nlabel = 'x'\ncommand = 'b {artifact}'"), f"{STEPS}[0].command", "{artifact}", ""),
        (
            step("repo = 'loom'\nlabel = 'x'\ncommand = 'b {repo:NOBODY}'"),
            f"{STEPS}[0].command",
            "no such repository",
            "",
        ),
        (
            step("repo = 'loom'\nlabel = 'x'\ncommand = 'b {repo}'"),
            f"{STEPS}[0].command",
            "{repo}",
            "Did you mean '{repo:",
        ),
        (
            step(
                "repo = 'loom'\nlabel = 'x'\ncommand = 'b'\nartifacts = [{ path = 'a', compare = 'cmp {artefact} b' }]"
            ),
            f"{STEPS}[0].artifacts[0].compare",
            "{artefact}",
            "Did you mean '{artifact}'?",
        ),
        ("[checks.mine]\ncommand = 'x {fixtures}'", "checks.mine.command", "{fixtures}", "'{fixture}'?"),
        (step("repo = 'loom'\nlabel = 'x'\ncommand = 'b'\nneeds = ['x']"), f"{STEPS}[0].needs", "no earlier step", ""),
        (
            step("repo = 'loom'\nlabel = 'make'\ncommand = 'b'")
            + step("repo = 'loom'\nlabel = 'x'\ncommand = 'b'\nneeds = ['mak']"),
            f"{STEPS}[1].needs",
            "'mak' is no earlier step",
            "Did you mean 'make'?",
        ),
        ("[gates.quality]\nflaky_reruns = 11", "gates.quality.flaky_reruns", "must be from 0 to 10", ""),
        ("[gates.proof]\nflaky_reruns = 1", "gates.proof.flaky_reruns", "is not a known key", ""),
        ("[budget]\nceiling_usd = nan", "budget.ceiling_usd", "must be a finite number", ""),
        ("[budget]\nceiling_usd = -1", "budget.ceiling_usd", "must be 0 or more", ""),
        (
            "[budget]\nceiling_usd = 5\nallocation = {a = 3, b = 2.5}",
            "budget.allocation",
            "5.50 dollars, more than",
            "",
        ),
        ("[[backends]]\nname = 'x'\ntype = 'agnt'", "backends[3].type", "must be one of agent, chat", "'agent'?"),
        ("[[backends]]\nname = 'x'\ntype = 'agent'", "backends[3].command", "is missing", ""),
        ("[[backends]]\nname = 'x'\ntype = 'chat'", "backends[3].provider", "needs a provider", ""),
        ("[[backends]]\nname = 'CODER'\ntype = 'agent'\ncommand = 'x'", "backends[3].name", "is taken", ""),
        (
            "[[backends]]\nname = 'x'\ntype = 'agent'\ncommand = 'x'\napi_key_env = 'sk-123'",
            "backends[3].api_key_env",
            "no name of a variable",
            "",
        ),
        ("[roles.implementer]\nbackend = 'codr'", "roles.implementer.backend", "neither the name", "'coder'?"),
        ("[roles.implementer]\nbackend = ''", "roles.implementer.backend", "neither the name", ""),
        ("[roles.implementer]\nbackend = 'haiku'", "roles.implementer.backend", "'idle' would match", ""),
        (
            "[[backends]]\nname='x'\ntype='chat'\nprovider='p'\nmodel='sonnet-9'\n[roles.reviewer]\nbackend='sonnet'",
            "roles.reviewer.backend",
            "a part of the model of several",
            "",
        ),
        ("[roles.implementer]\nbackend = 'idle'", "roles.implementer.backend", "is not enabled", ""),
        ("[roles.implementer]\nbackend = 'sonnet'", "roles.implementer.backend", "only an agent can implement", ""),
        ("[roles.implementor]\nbackend = 'x'", "roles.implementor", "is not a known key", "'implementer'"),
        (
            "[sandbox]\nbackend = 'os_native'",
            "sandbox.backend",
            "must be one of os-native, docker, none",
            "'os-native'?",
        ),
        ("[sandbox]\npass_env = ['A B']", "sandbox.pass_env", "no name of a variable", ""),
        ("[sandbox]\nmemory_limit_mb = 1.5", "sandbox.memory_limit_mb", "must be an integer, not 1.5", ""),
        ("[subsample]\ngate2_ratio = 0.0", "subsample.gate2_ratio", "must be from 0.01 to 1, not 0.0", ""),
        ("[subsample]\ngate1_ratio = 1.5", "subsample.gate1_ratio", "must be from 0.01 to 1, not 1.5", ""),
        ("[safety.AsilE]", "safety.AsilE", "is not a key that is known here", "'Asil"),
        ("[safety.AsilB]\napprovers = 0", "safety.AsilB.approvers", "must be from 1", ""),
        ("[safety.AsilB]\nrequired_gates = ['prof']", "safety.AsilB.required_gates[0]", "must be one of", "'proof'?"),
        ("[api]\nport = 70000", "api.port", "must be from 0 to 65535, not 70000", ""),
    ],
)
def test_a_mistake_in_pipeline_toml_is_named(tmp_path: Path, text: str, key: str, problem: str, remedy: str) -> None:
    error = refused(write(tmp_path, pipeline=PIPELINE + text))
    assert (error.file, error.key) == ("configs/pipeline.toml", key)
    assert problem in error.problem
    assert remedy in error.remedy


@pytest.mark.parametrize("tool", ["python3", "/opt/z3/bin/z3", "$THRUM_SETUP/venv/bin/python"])
def test_a_prover_may_be_named_by_name_or_whole_path_or_as_one_of_the_setup(tmp_path: Path, tool: str) -> None:
    tools = f"[repo.proof]\nsolver = '{tool}'\ninterpreter = '{tool}'"
    project = load(write(tmp_path, repos=repo(tools)))
    assert (project.repos[0].proof.solver, project.repos[0].proof.interpreter) == (tool, tool)


def test_a_missing_file_says_what_to_run(tmp_path: Path) -> None:
    error = refused(tmp_path)
    assert error.file == "configs/repos.toml"
    assert "thrum init" in error.remedy


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"[[repo]]\nname = \n", "line 2"), (b"\xff\xfe", "is not UTF-8 text"), (b"[[repo]]\nname = meld", "line 2")],
)
def test_what_is_not_toml_is_refused_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    write(tmp_path)
    (tmp_path / "configs/repos.toml").write_bytes(content)
    error = refused(tmp_path)
    assert error.file == "configs/repos.toml"
    assert said in error.problem


def test_a_file_that_cannot_be_read_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "configs/repos.toml").unlink()
    (tmp_path / "configs/repos.toml").mkdir()
    assert "cannot be read" in refused(tmp_path).problem


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "configs/repos.toml").write_bytes(b"\xef\xbb\xbf" + REPOS.encode())
    assert load(tmp_path).repos[0].name == "Meld"


def test_paths_become_absolute_from_the_project_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    pipeline = PIPELINE.replace('command = "coder"', 'command = "./bin/../coder"\nmount_paths = ["bin"]', 1)
    pipeline += """
    [engine]
    worktrees_dir = "~/work"
    [gates.integration]
    fixture = "fixtures/a.wat"
    [roles.implementer]
    backend = "coder"
    prompt_template = "agents/implementer.md"
    [sandbox]
    mount_paths = ["~/.cargo/bin", "/opt/x"]
    env = { RUSTUP_HOME = "~/.rustup", OTHER = "a~/b" }
    """
    project = load(write(tmp_path, REPOS + 'claude_md = "AGENTS.md"\n', pipeline))
    here = str(tmp_path.resolve())
    assert project.directory == here
    assert [repo.path for repo in project.repos] == [f"{here}/meld", "/srv/loom"]
    assert project.repos[1].claude_md == f"{here}/AGENTS.md"
    assert project.pipeline.engine.worktrees_dir == "/home/somebody/work"
    assert project.pipeline.gates.integration.fixture == f"{here}/fixtures/a.wat"
    assert project.pipeline.backends[0].command == f"{here}/coder"
    assert project.pipeline.backends[0].mount_paths == (f"{here}/bin",)
    assert project.pipeline.roles.implementer is not None
    assert project.pipeline.roles.implementer.prompt_template == f"{here}/agents/implementer.md"
    assert project.pipeline.sandbox.mount_paths == ("/home/somebody/.cargo/bin", "/opt/x")
    assert project.pipeline.sandbox.env == {"RUSTUP_HOME": "/home/somebody/.rustup", "OTHER": "a~/b"}
    assert project.pipeline.backends[2].command == "idle"


def test_variables_are_those_that_are_named_and_set_and_those_that_are_given(tmp_path: Path) -> None:
    text = PIPELINE + "[sandbox]\npass_env = ['A', 'B', 'GONE']\nenv = { B = 'ours', C = 'c' }"
    sandbox = load(write(tmp_path, pipeline=text)).pipeline.sandbox
    assert sandbox.variables({"A": "a", "B": "b", "SECRET": "s"}) == {"A": "a", "B": "ours", "C": "c"}


def test_a_repository_that_is_reached_by_two_ways_is_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    error = refused(write(tmp_path, repo(name="a", path="real") + repo(name="b", path="link")))
    assert error.key == "repo[1].path"


def test_names_that_differ_in_case_become_those_that_are_defined(tmp_path: Path) -> None:
    pipeline = PIPELINE + step("repo = 'meld'\nlabel = 'x'\ncommand = 'y'") + "[roles.implementer]\nbackend = 'OPUS'"
    project = load(write(tmp_path, pipeline=pipeline))
    assert project.pipeline.gates.integration.steps[0].repo == "Meld"
    assert project.pipeline.roles.implementer is not None
    assert project.pipeline.roles.implementer.backend == "coder"
    found = project.implementer()
    assert found is not None
    assert found.name == "coder"


def test_a_gate_without_checks_has_those_of_its_kind_and_an_empty_list_has_none(tmp_path: Path) -> None:
    text = PIPELINE + "[gates.quality]\nrequired = true\n[gates.proof]\nchecks = []"
    gates = load(write(tmp_path, pipeline=text)).pipeline.gates
    assert gates.quality.checks == ("fmt", "lint", "test")
    assert gates.proof.checks == ()


def test_release_is_accepted_whatever_it_holds(tmp_path: Path) -> None:
    text = PIPELINE + "[release]\ntargets = ['a']\non = 2026-01-02\nodd = nan\n[release.artifacts]\nx = true"
    project = load(write(tmp_path, pipeline=text))
    wanted = {"targets": ["a"], "on": "2026-01-02", "odd": "nan", "artifacts": {"x": True}}
    assert project.pipeline.release == wanted


def test_the_digest_follows_the_content_and_not_its_spelling(tmp_path: Path) -> None:
    first = load(write(tmp_path)).digest
    assert load(write(tmp_path, "# a comment\n" + REPOS.replace('"', "'"))).digest == first
    assert load(write(tmp_path, REPOS + "concurrency = 2")).digest != first


def test_a_snapshot_is_the_project_itself_and_for_its_owner_alone(tmp_path: Path) -> None:
    project = load(write(tmp_path, pipeline=PIPELINE + "[release]\non = 2026-01-02"))
    path = save_snapshot(project, tmp_path)
    assert path.name == f"{project.digest}.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_snapshot(path) == project
    assert save_snapshot(project, tmp_path) == path


@pytest.mark.parametrize("change", [lambda text: text[:-9], lambda text: text.replace("loom", "room"), lambda _: "[1]"])
def test_a_snapshot_that_was_changed_is_refused(tmp_path: Path, change: object) -> None:
    assert callable(change)
    path = save_snapshot(load(write(tmp_path)), tmp_path)
    path.write_text(change(path.read_text()))
    with pytest.raises(ConfigError) as caught:
        load_snapshot(path)
    assert caught.value.file == str(path)


def test_the_project_is_the_nearest_directory_upwards(tmp_path: Path) -> None:
    outer, inner = tmp_path / "outer", tmp_path / "outer/inner"
    (inner / "deep/er").mkdir(parents=True)
    write(outer)
    assert find_project(inner / "deep/er") == outer.resolve()
    write(inner)
    assert find_project(inner / "deep/er") == inner.resolve()
    assert find_project(inner) == inner.resolve()


def test_dir_outweighs_the_variable_which_outweighs_the_place(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("here", "variable", "option")]
    for place in places:
        place.mkdir()
        write(place)
    here, variable, option = (place.resolve() for place in places)
    env = {"THRUM_DIR": str(variable)}
    assert find_project(here, "../option", env) == option
    assert find_project(here, None, env) == variable
    assert find_project(here, None, {"THRUM_DIR": ""}) == here


def test_without_a_project_the_remedy_names_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as nowhere:
        find_project(tmp_path)
    assert "thrum init" in nowhere.value.remedy
    with pytest.raises(ConfigError, match="THRUM_DIR names") as named:
        find_project(tmp_path, None, {"THRUM_DIR": str(tmp_path)})
    assert str(tmp_path) in named.value.remedy


def test_the_working_directory_has_no_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    project = load(Path(os.path.relpath(tmp_path)))
    assert project == load(tmp_path)
    assert isinstance(project, Project)
    assert replace(project, digest="") != project


def test_braces_of_a_shell_and_of_other_programs_are_no_placeholders(tmp_path: Path) -> None:
    command = "awk '{print $1}' {a,b}.txt | xargs -I{} echo {} ${output_dri} {name} '{\"a\": 1}' {output_dir}"
    config = write(tmp_path, repos=repo(f"test_cmd = {json.dumps(command)}"))
    assert load(config).repos[0].test_cmd == command
