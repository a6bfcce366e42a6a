"""A system call filter for containers of engines whose own lets through what `thrum.sandbox.seccomp` refuses.

Engines before version 25 let programs use io_uring, and before 23 open sockets to a hypervisor (AF_VSOCK), which pass a
closed network. Newer ones have a filter that refuses these, and go without ours. Ours takes the place of the engine's:
it refuses by name what containers have no use for, whether or not the capabilities that they lack would stop it too.
"""

from __future__ import annotations

import errno
import json
import re
from typing import Any

_OWN_FILTER_SINCE = 25

_REFUSED = (
    "acct add_key bpf clock_adjtime clock_adjtime64 clock_settime clock_settime64 create_module delete_module "
    "fanotify_init finit_module fsconfig fsmount fsopen fspick get_kernel_syms init_module io_uring_enter "
    "io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie mount "
    "mount_setattr move_mount nfsservctl open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root "
    "process_madvise process_vm_readv process_vm_writev query_module quotactl quotactl_fd reboot request_key setns "
    "settimeofday stime swapoff swapon sysfs syslog _sysctl umount umount2 unshare uselib userfaultfd ustat vhangup "
    "vm86 vm86old "
)
_CLONE_NAMESPACES = 0x7E020000
_AF_VSOCK = 40
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_MACHINES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "riscv64": ("SCMP_ARCH_RISCV64",),
}
"""Each with what else its processors run: a call of a convention that is not listed would kill the program."""


def needed(version: str) -> bool:
    """Whether containers of an engine of this version need a filter of ours."""
    major = re.match(r"\d+", version)
    return major is None or int(major[0]) < _OWN_FILTER_SINCE


def profile(machine: str) -> str | None:
    """The filter as docker reads it, for a machine as `os.uname` names it; None where we do not know the machine."""
    if machine not in _MACHINES:
        return None
    rules: list[dict[str, Any]] = [
        _refuse(*_REFUSED.split()),
        _refuse("clone3", error=errno.ENOSYS),
        *(_refuse("clone", argument=0, mask=1 << bit, value=1 << bit) for bit in _bits(_CLONE_NAMESPACES)),
        _refuse("socket", argument=0, value=_AF_VSOCK),
        _refuse("ioctl", argument=1, mask=0xFFFFFFFF, value=_TIOCSTI),
        _refuse("ioctl", argument=1, mask=0xFFFFFFFF, value=_TIOCLINUX),
    ]
    return json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "architectures": _MACHINES[machine], "syscalls": rules})


def _bits(flags: int) -> list[int]:
    return [bit for bit in range(32) if flags >> bit & 1]


def _refuse(
    *names: str, error: int = errno.EPERM, argument: int | None = None, mask: int = 0xFFFFFFFF, value: int = 0
) -> dict[str, Any]:
    """A rule for these calls; with an argument, for those where it has this value under the mask."""
    rule: dict[str, Any] = {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": error}
    if argument is not None:
        rule["args"] = [{"index": argument, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}]
    return rule
