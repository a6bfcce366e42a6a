"""Control groups: where they would be made, read from real machines' texts, and real ones where they are writable."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.requirements import needs
from thrum.errors import SandboxError
from thrum.sandbox.cgroup import Group, Hits, Limits, Place, group_folder, places, remove_empty

V2_DESKTOP = "28 24 0:25 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MACHINE = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
37 31 0:34 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
42 31 0:39 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_in_v2_the_nearest_group_upwards_is_tried_first() -> None:
    own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/term.scope\n"
    (place,) = places(V2_DESKTOP, own)
    assert place.version == 2
    top = Path("/sys/fs/cgroup")
    assert place.parents[0] == top / "user.slice/user-1000.slice/user@1000.service/app.slice/term.scope"
    assert place.parents[-1] == top
    assert len(place.parents) == 6


def test_in_v1_each_hierarchy_has_its_controllers_below_our_own_group() -> None:
    own = "4:memory:/outer/job\n2:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n"
    found = places(V1_MACHINE, own)
    v1 = {
        controller: place.parents
        for place in found
        for controller in place.controllers
        if place.version == 1 and "=" not in controller
    }
    assert v1["memory"] == (Path("/sys/fs/cgroup/memory/outer/job"),)
    assert v1["cpu"] == v1["cpuacct"] == (Path("/sys/fs/cgroup/cpu,cpuacct"),)


def test_in_a_container_our_group_is_found_below_what_is_mounted() -> None:
    mountinfo = "37 31 0:34 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    assert places(mountinfo, "4:memory:/docker/abc/in\n")[0].parents == (Path("/sys/fs/cgroup/memory/in"),)
    assert places(mountinfo, "4:memory:/elsewhere\n")[0].parents == (Path("/sys/fs/cgroup/memory"),)


def test_a_mount_point_with_a_space_is_understood() -> None:
    mountinfo = "37 31 0:34 / /sys/fs/c\\040group rw - cgroup cgroup rw,pids\n"
    expected = Place(version=1, controllers=frozenset({"pids"}), parents=(Path("/sys/fs/c group"),))
    assert places(mountinfo, "4:pids:/\n") == (expected,)


def test_only_limits_that_are_set_need_a_controller() -> None:
    assert Limits().controllers == ()
    assert Limits(memory_mb=1, cpus=0.5).controllers == ("memory", "cpu")


def test_owners_with_different_names_have_different_groups() -> None:
    assert group_folder("a/b") != group_folder("a_b")
    assert "/" not in group_folder("a/b/../c")


def test_without_limits_no_group_is_needed() -> None:
    group = Group(Limits(), name=f"test-none-{os.getpid()}")
    group.demand()
    assert (group.doors, group.members(), group.hits()) == ((), set(), Hits())
    group.close()


@pytest.fixture
def group() -> Iterator[Group]:
    group = Group(Limits(memory_mb=64, pids=20), name=f"test-group-{os.getpid()}")
    yield group
    group.close()


def enter(group: Group, script: str) -> subprocess.Popen[bytes]:
    """A shell in the group; the script runs when it is there."""
    doors = " ".join(f"echo 0 >'{door}' &&" for door in group.doors)
    return subprocess.Popen(("sh", "-c", f"{doors} {script}"), stdout=subprocess.PIPE)


@needs("cgroup-writable")
def test_members_are_known_and_killed(group: Group) -> None:
    child = enter(group, "echo in; while :; do sleep 600; done")
    assert child.stdout
    assert child.stdout.readline() == b"in\n"
    assert child.pid in group.members()
    group.clear()
    assert group.members() == set()
    assert child.wait(timeout=120) == -9
    child.stdout.close()


@needs("cgroup-writable")
def test_limits_are_what_was_asked_for(group: Group) -> None:
    group.demand()
    assert group.means.keys() == {"memory", "pids"}
    texts = [file.read_text().strip() for door in group.doors for file in Path(door).parent.glob("*.max*")]
    texts += [file.read_text().strip() for door in group.doors for file in Path(door).parent.glob("memory.limit_*")]
    assert {"20", str(64 << 20)} <= set(texts)


@needs("cgroup-writable", "/usr/bin/python3")
def test_hits_are_counted(group: Group) -> None:
    with enter(group, "for i in $(seq 30); do sleep 60 & done 2>/dev/null") as child:
        assert child.wait(timeout=120) != 0
        group.clear()
    assert group.hits().pids > 0
    assert group.hits().memory == 0
    with enter(group, "exec /usr/bin/python3 -c 'b\"x\" * (1 << 30)'") as child:
        assert child.wait(timeout=120) == -9
    assert group.hits().memory == 1


@needs("cgroup-writable")
def test_a_name_in_use_is_refused_and_free_after_the_close(group: Group) -> None:
    with pytest.raises(SandboxError, match="in use"):
        Group(Limits(pids=20), name=f"test-group-{os.getpid()}")
    assert remove_empty(f"test-group-{os.getpid()}") == 0
    group.close()
    Group(Limits(pids=20), name=f"test-group-{os.getpid()}").close()


@needs("cgroup-writable")
def test_the_next_owner_kills_what_was_left_and_sets_its_own_limits() -> None:
    name = f"test-left-{os.getpid()}"
    first = Group(Limits(memory_mb=64, pids=20), name=name)
    child = enter(first, "echo in; while :; do sleep 600; done")
    assert child.stdout
    assert child.stdout.readline() == b"in\n"
    for lock in first._locks:  # as a killed owner leaves it
        os.close(lock)
    second = Group(Limits(memory_mb=128, pids=20), name=name)
    assert child.wait(timeout=120) == -9
    child.stdout.close()
    assert str(128 << 20) in {
        file.read_text().strip()
        for door in second.doors
        for file in (*Path(door).parent.glob("memory.max"), *Path(door).parent.glob("memory.*limit_in_bytes"))
    }
    second.close()


@needs("cgroup-writable")
def test_empty_groups_of_killed_owners_are_removed() -> None:
    name = f"test-empty-{os.getpid()}"
    group = Group(Limits(pids=20), name=name)
    for lock in group._locks:
        os.close(lock)
    assert remove_empty(name) == 1
    assert not Path(group.doors[0]).parent.exists()
