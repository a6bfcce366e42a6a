"""The copy of /etc that sandboxes see, made of a host's that tests make themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.requirements import needs
from thrum.config import SandboxConfig
from thrum.job import Job
from thrum.sandbox import open_sandbox
from thrum.sandbox.etc import Etc

ACCOUNTS = {"passwd": "root:x:0:0\n", "group": "root:x:0:\n"}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """What some host has in /etc."""
    host = tmp_path / "host"
    (host / "ssl/certs").mkdir(parents=True)
    (host / "ssl/private").mkdir()
    (host / "pki/tls/private").mkdir(parents=True)
    for name in ("hosts", "passwd", "shadow", "resolv.conf", "ssl/certs/one.pem", "ssl/private/key", "pki/tls/cert"):
        (host / name).write_text(f"{name} of the host")
    (host / "pki/tls/private").chmod(0o750)
    (host / "pki/tls/private/key").write_text("private")
    (host / "pki/tls/key").write_text("private")
    (host / "pki/tls/key").chmod(0o640)
    (host / "ssl/certs/link.pem").symlink_to("one.pem")
    (host / "java-17").symlink_to("nowhere")
    os.mkfifo(host / "timezone")
    (host / "real-hosts").write_text("127.0.0.1 localhost")
    return host


@pytest.fixture
def etc(tmp_path: Path, host: Path) -> Etc:
    home = tmp_path / "home"
    home.mkdir()
    return Etc(str(home), ACCOUNTS, source=str(host))


def names(directory: str) -> set[str]:
    return {str(path.relative_to(directory)) for path in Path(directory).rglob("*") if not path.is_dir()}


def test_only_what_is_listed_and_everybody_may_read_is_copied(etc: Etc) -> None:
    copy = etc.directory(network=False)
    assert names(copy) == {"group", "hosts", "passwd", "pki/tls/cert", "ssl/certs/link.pem", "ssl/certs/one.pem"}
    assert Path(copy, "passwd").read_text() == ACCOUNTS["passwd"]
    assert Path(copy, "ssl/certs/link.pem").read_text() == "ssl/certs/one.pem of the host"


def test_names_are_looked_up_by_the_hosts_file_only_with_the_network(etc: Etc) -> None:
    assert "resolv.conf" not in names(etc.directory(network=False))
    assert "resolv.conf" in names(etc.directory(network=True))


def test_a_file_that_is_a_link_is_copied_as_what_it_leads_to(etc: Etc, host: Path) -> None:
    (host / "hosts").unlink()
    (host / "hosts").symlink_to(host / "real-hosts")
    hosts = Path(etc.directory(network=False), "hosts")
    assert not hosts.is_symlink()
    assert hosts.read_text() == "127.0.0.1 localhost"


def test_everybody_can_read_the_copy_whatever_the_mask_of_new_files(etc: Etc) -> None:
    before = os.umask(0o077)
    try:
        copy = Path(etc.directory(network=False))
    finally:
        os.umask(before)
    assert {oct(path.stat().st_mode & 0o777) for path in (copy, copy / "ssl", copy / "ssl/certs")} == {"0o755"}
    assert (copy / "hosts").stat().st_mode & 0o777 == 0o444


def test_a_copy_is_kept_while_nothing_changes(etc: Etc) -> None:
    inodes = [os.stat(etc.directory(network=False)).st_ino for _ in range(2)]
    assert inodes[0] == inodes[1]


@pytest.mark.parametrize(
    "change",
    ["printf more >>hosts", "printf new >shells", "rm ssl/certs/one.pem", "mkdir fonts; printf x >fonts/fonts.conf"],
)
def test_a_change_of_the_host_is_seen_by_the_next_run(etc: Etc, host: Path, change: str) -> None:
    before = etc.directory(network=False)
    seen = {name: Path(before, name).read_bytes() for name in names(before) if Path(before, name).exists()}
    subprocess.run(change, shell=True, cwd=host, check=True)
    after = etc.directory(network=False)
    assert {name: Path(after, name).read_bytes() for name in names(after) if Path(after, name).exists()} != seen


def test_a_copy_that_somebody_tidied_up_is_made_anew(etc: Etc) -> None:
    copy = Path(etc.directory(network=False))
    (copy / "ssl/certs/one.pem").unlink()
    assert "ssl/certs/one.pem" in names(etc.directory(network=False))
    shutil.rmtree(copy)
    assert "hosts" in names(etc.directory(network=False))


def test_there_is_a_place_for_what_is_mounted_below(etc: Etc, host: Path) -> None:
    (host / "tool/conf.d").mkdir(parents=True)
    (host / "tool/settings").write_text("of the host")
    copy = Path(etc.directory(network=False, places=["/etc/tool/conf.d", "/etc/tool/settings", "/etc/hosts", "/srv"]))
    assert (copy / "tool/conf.d").is_dir()
    assert (copy / "tool/settings").read_text() == ""
    assert (copy / "hosts").read_text() == "hosts of the host"
    assert not (Path(etc.directory(network=False)) / "tool").exists()


@needs("bwrap")
def test_what_the_configuration_mounts_below_etc_is_seen() -> None:
    config = SandboxConfig(memory_limit_mb=0, pids_limit=0, mount_paths=("/etc/debconf.conf", "/etc/apt"))
    missing = [path for path in config.mount_paths if not os.path.exists(path)]
    if missing:
        pytest.skip(f"this system has no {missing[0]}")
    with open_sandbox(config, name=f"test-{os.getpid()}-etc") as sandbox:
        outcome = sandbox.run(Job(argv=("sh", "-c", "cat /etc/debconf.conf; ls /etc/apt; ls -A /etc/shadow"), cwd="/"))
    assert Path("/etc/debconf.conf").read_text() in outcome.tail
    assert "sources.list" in outcome.tail
    assert "'/etc/shadow': No such file" in outcome.tail
