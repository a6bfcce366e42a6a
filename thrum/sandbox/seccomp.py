"""A seccomp filter, as the bytes that bubblewrap loads: what no job needs and what its other walls do not stop.

Refused are new namespaces (a user namespace gives every capability over a fresh part of the kernel), the keyrings
(the session's keys are inherited, not namespaced), bpf, perf, userfaultfd and io_uring (attack surface),
the kernel's log, AF_VSOCK (it reaches a hypervisor past a closed network) and typing into a terminal (TIOCSTI).
"""

from __future__ import annotations

import errno
import struct

from thrum.values import dataclass

# linux/bpf_common.h, linux/filter.h: opcodes of classic BPF.
_LOAD = 0x20
_JUMP_EQUAL = 0x15
_JUMP_AT_LEAST = 0x35
_JUMP_ANY_BIT = 0x45
_RETURN = 0x06

# linux/seccomp.h: the data that a filter sees, and its verdicts.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000

_X32_BIT = 0x40000000
_NAMESPACES = 0x7E020080
"""CLONE_NEW* of linux/sched.h: ns, cgroup, uts, ipc, user, pid, net, time."""
_CLONE_NAMESPACES = _NAMESPACES & ~0xFF
"""The low byte of clone's flags is a signal."""
_AF_VSOCK = 40
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C


@dataclass(frozen=True, slots=True, kw_only=True)
class _Calls:
    """System call numbers of one architecture, from its unistd.h."""

    architecture: int
    clone: int
    unshare: int
    ioctl: int
    socket: int
    refused: tuple[int, ...]
    """setns, add_key, request_key, keyctl, bpf, perf_event_open, userfaultfd, io_uring_setup, _enter, _register,
    syslog."""
    clone3: int = 435


def _generic(architecture: int) -> _Calls:
    return _Calls(
        architecture=architecture,
        clone=220,
        unshare=97,
        ioctl=29,
        socket=198,
        refused=(268, 217, 218, 219, 280, 241, 282, 425, 426, 427, 116),
    )


_MACHINES = {
    "x86_64": _Calls(
        architecture=0xC000003E,
        clone=56,
        unshare=272,
        ioctl=16,
        socket=41,
        refused=(308, 248, 249, 250, 321, 298, 323, 425, 426, 427, 103),
    ),
    "aarch64": _generic(0xC00000B7),
    "riscv64": _generic(0xC00000F3),
}


def program(machine: str) -> bytes | None:
    """The filter for a machine as `os.uname` names it; None where we do not know its system calls.

    Refused calls fail with EPERM; clone3, whose flags no filter can see, and calls of a foreign architecture
    with ENOSYS, on which C libraries fall back to clone.
    """
    calls = _MACHINES.get(machine)
    if calls is None:
        return None
    code = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_JUMP_EQUAL, calls.architecture, 1, 0),
        _refuse(errno.ENOSYS),
        _step(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        code += [_step(_JUMP_AT_LEAST, _X32_BIT, 0, 1), _refuse(errno.ENOSYS)]
    code += [_step(_JUMP_EQUAL, calls.clone3, 0, 1), _refuse(errno.ENOSYS)]
    for number in calls.refused:
        code += [_step(_JUMP_EQUAL, number, 0, 1), _refuse(errno.EPERM)]
    code += _refuse_by_argument(calls.clone, _FIRST_ARGUMENT, _JUMP_ANY_BIT, _CLONE_NAMESPACES)
    code += _refuse_by_argument(calls.unshare, _FIRST_ARGUMENT, _JUMP_ANY_BIT, _NAMESPACES)
    code += _refuse_by_argument(calls.socket, _FIRST_ARGUMENT, _JUMP_EQUAL, _AF_VSOCK)
    code += _refuse_by_argument(calls.ioctl, _SECOND_ARGUMENT, _JUMP_EQUAL, _TIOCSTI)
    code += _refuse_by_argument(calls.ioctl, _SECOND_ARGUMENT, _JUMP_EQUAL, _TIOCLINUX)
    code.append(_step(_RETURN, _ALLOW))
    return b"".join(code)


def _step(opcode: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", opcode, if_true, if_false, value)


def _refuse(error: int) -> bytes:
    return _step(_RETURN, _REFUSE | error)


def _refuse_by_argument(number: int, argument: int, test: int, value: int) -> list[bytes]:
    """Refuse one call if the low half of an argument meets the test (little-endian machines)."""
    return [
        _step(_JUMP_EQUAL, number, 0, 4),
        _step(_LOAD, argument),
        _step(test, value, 0, 1),
        _refuse(errno.EPERM),
        _step(_LOAD, _NUMBER),
    ]
