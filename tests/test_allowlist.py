"""What an allow list opens, and how it is configured."""

from __future__ import annotations

from pathlib import Path

import pytest

from thrum.allowlist import AllowList, Target, parse_entry, parse_target, reach
from thrum.config import BackendConfig, PipelineConfig, Project, RepoConfig, SandboxConfig
from thrum.configfile import load
from thrum.errors import ConfigError
from thrum.findings import Finding, Sighting, problems


def allows(entries: tuple[str, ...], asked: str) -> bool:
    return AllowList(entries).allows(parse_target(asked))


@pytest.mark.parametrize(
    ("entry", "asked"),
    [
        ("api.example.com:443", "api.example.com:443"),
        ("api.example.com", "api.example.com:443"),
        ("API.Example.com.", "api.example.com:443"),
        ("api.example.com", "API.EXAMPLE.COM.:443"),
        ("*.example.com", "api.example.com:443"),
        ("*.example.com", "a.b.example.com:443"),
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("[2001:DB8::1]:80", "[2001:db8:0::1]:80"),
        ("[::1]", "[::1]:443"),
        ("localhost:8080", "localhost:8080"),
        ("localhost:8080", "127.0.0.1:8080"),
        ("localhost:8080", "[::1]:8080"),
        ("127.0.0.1:8080", "localhost:8080"),
        ("model_server.internal:8000", "model_server.internal:8000"),
    ],
)
def test_what_an_entry_says_is_allowed(entry: str, asked: str) -> None:
    assert allows((entry,), asked)


@pytest.mark.parametrize(
    ("entry", "asked"),
    [
        ("api.example.com:443", "api.example.com:80"),
        ("api.example.com:443", "example.com:443"),
        ("api.example.com:443", "evil.api.example.com:443"),
        ("*.example.com", "example.com:443"),
        ("*.example.com", "evilexample.com:443"),
        ("*.example.com", "example.com.evil.org:443"),
        ("*.example.com", "api.example.com:8443"),
        ("127.0.0.1:8080", "[::1]:8080"),
        ("127.0.0.1:8080", "127.0.0.2:8080"),
        ("127.0.0.1:8080", "127.0.0.1:8081"),
        ("127.0.0.1:8080", "[::ffff:127.0.0.1]:8080"),
        ("localhost:8080", "evil.localhost:8080"),
        ("*.0.example.com", "127.0.0.1:443"),
    ],
)
def test_what_no_entry_says_is_not_allowed(entry: str, asked: str) -> None:
    assert not allows((entry,), asked)


def test_an_empty_list_allows_nothing() -> None:
    assert not allows((), "localhost:443")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no name of a host"),
        ("https://api.example.com", "leave the scheme"),
        ("api.example.com/v1", "leave the scheme and the path out"),
        ("*", "network = true"),
        ("*:443", "network = true"),
        ("api.*.com", "no name of a host"),
        ("*.*.com", "no name of a host"),
        ("*.127.0.0.1", "nothing lies below an address"),
        ("api.example.com:0", "no number from 1 to 65535"),
        ("api.example.com:65536", "no number from 1 to 65535"),
        ("api.example.com:https", "no number from 1 to 65535"),
        ("api.example.com:", "no number from 1 to 65535"),
        ("user@api.example.com", "no name of a host"),
        ("api..example.com", "no name of a host"),
        ("-api.example.com", "no name of a host"),
        ("api example.com", "no name of a host"),
        ("a" * 64 + ".com", "no name of a host"),
        ("bücher.example", "xn--"),
        ("2130706433:80", "neither a name nor an address"),
        ("0x7f000001:80", "neither a name nor an address"),
        ("127.1:80", "neither a name nor an address"),
        ("0177.0.0.1:80", "neither a name nor an address"),
        ("::1", "too many colons"),
        ("2001:db8::1:443", "too many colons"),
        ("[::1", "too many colons"),
        ("[127.0.0.1]:80", "brackets"),
        ("[fe80::1%eth0]:80", "brackets"),
        ("[::ffff:127.0.0.1]:80", "write 127.0.0.1"),
        ("0.0.0.0:80", "address of no host"),
        ("224.0.0.1:80", "address of no host"),
    ],
)
def test_an_entry_that_is_none_is_refused_with_what_to_write(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_entry(text)


def test_a_request_must_name_its_port() -> None:
    with pytest.raises(ValueError, match="has no port"):
        parse_target("api.example.com")
    with pytest.raises(ValueError, match="has no port"):
        parse_target("[::1]")


def test_a_target_is_printed_as_it_is_written() -> None:
    assert str(parse_target("[2001:DB8::1]:80")) == "[2001:db8::1]:80"
    assert str(parse_target("Example.COM.:80")) == "example.com:80"


# --- Where names lead ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111"])
def test_a_name_may_lead_to_a_public_address(address: str) -> None:
    assert AllowList(["api.example.com"]).admits(address, 443)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1",
        "169.254.169.254", "fe80::1", "fe80::1%eth0", "fc00::1", "224.0.0.1", "ff0e::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "no address",
    ],
)  # fmt: skip
def test_a_name_may_not_lead_into_this_host_or_its_network(address: str) -> None:
    assert not AllowList(["api.example.com", "localhost:80"]).admits(address, 443)


def test_a_name_may_lead_to_a_private_address_that_is_listed_too() -> None:
    allow = AllowList(["model.internal", "10.1.2.3", "localhost:8080"])
    assert allow.admits("10.1.2.3", 443)
    assert allow.admits("127.0.0.1", 8080)
    assert not allow.admits("10.1.2.3", 80)
    assert not allow.admits("10.1.2.4", 443)


def test_addresses_and_localhost_need_no_resolver() -> None:
    allow = AllowList(["localhost:1", "127.0.0.1:2", "[::1]:3", "10.0.0.1:4", "name.example:5"])

    def known(host: str, port: int) -> tuple[str, ...]:
        return allow.known_addresses(Target(host=host, port=port))

    assert known("localhost", 1) == ("127.0.0.1", "::1")
    assert known("localhost", 2) == ("127.0.0.1",)
    assert known("localhost", 3) == ("::1",)
    assert known("10.0.0.1", 4) == ("10.0.0.1",)
    assert known("name.example", 5) == known("10.0.0.1", 1) == known("localhost", 4) == ()


def test_the_addresses_of_loopback_on_the_list_are_known() -> None:
    allow = AllowList(["localhost:1", "127.0.0.1:1", "127.0.0.9:2", "10.0.0.1:3", "*.example.com"])
    assert list(map(str, allow.loopback)) == ["127.0.0.1:1", "[::1]:1", "127.0.0.9:2"]


# --- How it is configured -----------------------------------------------------------------------------------------

AGENT = '[[backends]]\nname = "coder"\ntype = "agent"\ncommand = "coder"\n'


def loaded(directory: Path, pipeline: str) -> Project:
    (directory / "configs").mkdir()
    (directory / "configs/repos.toml").write_text('[[repo]]\nname = "meld"\npath = "meld"\n')
    (directory / "configs/pipeline.toml").write_text(pipeline)
    return load(directory)


def test_an_allow_list_is_read(tmp_path: Path) -> None:
    pipeline = loaded(tmp_path, f'{AGENT}allow = ["b.example:80"]\n[sandbox]\nallow = ["a.example"]\n').pipeline
    assert pipeline.sandbox.allow == ("a.example",)
    assert pipeline.backends[0].allow == ("b.example:80",)


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("[sandbox]\nallow = ['https://a.example']", "sandbox.allow", "leave the scheme"),
        ("[sandbox]\nnetwork = true\nallow = ['a.example']", "sandbox.allow", "remove one of them"),
        (f"{AGENT}allow = ['a.example', 'b.example:x']", "backends", "'b.example:x' has a port that is none"),
        (f"{AGENT}network = true\nallow = ['a.example']", "backends", "remove one of them"),
        ("[sandbox]\nallow = 'a.example'", "sandbox.allow", "must be a list"),
        ("[sandbox]\nsetup_allow = ['https://a.example']", "sandbox.setup_allow", "leave the scheme"),
        ("[sandbox]\nsetup_network = false\nsetup_allow = ['a.example']", "sandbox.setup_allow", "remove one of them"),
    ],
)
def test_a_wrong_allow_list_is_refused_by_its_key(tmp_path: Path, text: str, key: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert caught.value.key.startswith(key)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("sandbox", "backend", "reached"),
    [
        ({}, {}, (False, ())),
        ({"allow": ("a",)}, {}, (False, ("a",))),
        ({"network": True}, {}, (True, ())),
        ({"allow": ("a",)}, {"allow": ("b",)}, (False, ("b",))),
        ({"allow": ("a",)}, {"allow": ()}, (False, ())),
        ({"allow": ("a",)}, {"network": True}, (True, ())),
        ({"allow": ("a",)}, {"network": False}, (False, ())),
        ({"network": True}, {"network": False}, (False, ())),
        ({"network": True}, {"allow": ("b",)}, (False, ("b",))),
        ({}, {"network": False, "allow": ("b",)}, (False, ("b",))),
    ],
)
def test_a_backend_that_says_something_of_the_network_decides_alone(
    sandbox: dict[str, object], backend: dict[str, object], reached: tuple[bool, tuple[str, ...]]
) -> None:
    config = SandboxConfig(**sandbox)  # type: ignore[arg-type]
    assert reach(config, BackendConfig(name="coder", type="agent", **backend)) == reached  # type: ignore[arg-type]


def remarks(sandbox: SandboxConfig, **settings: object) -> list[Finding]:
    backend = BackendConfig(name="coder", type="agent", command="coder", **settings)  # type: ignore[arg-type]
    pipeline = PipelineConfig(sandbox=sandbox, backends=(backend,))
    project = Project(directory="/p", repos=(RepoConfig(name="meld", path="/meld"),), pipeline=pipeline)
    return problems(
        project, which=lambda *_: Sighting(), repository_problem=lambda repo: None, exists=lambda path: True
    )


def test_a_list_that_does_not_bind_is_remarked_upon() -> None:
    sandbox = SandboxConfig(backend="none", allow=("a.example",), setup_allow=("c.example",))
    loose = [one for one in remarks(sandbox, allow=("b.example",)) if "does not bind" in one.text]
    assert [one.where.partition(": ")[2] for one in loose] == [
        "sandbox: allow",
        "sandbox: setup_allow",
        "backends coder: allow",
    ]
    assert all(one.level == "warning" and "os-native" in one.remedy for one in loose)
    assert not any("does not bind" in one.text for one in remarks(SandboxConfig(allow=("a.example",))))


def test_an_agent_with_a_key_needs_a_network_or_a_list() -> None:
    def without_network(sandbox: SandboxConfig) -> bool:
        return any("no network" in one.text for one in remarks(sandbox, api_key_env="KEY"))

    assert without_network(SandboxConfig())
    assert not without_network(SandboxConfig(allow=("api.example.com",)))
