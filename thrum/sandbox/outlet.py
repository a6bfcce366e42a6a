"""The one way out of a network namespace: our proxy, on sockets that listen inside of it.

Nothing of ours runs in the sandbox for it. A helper process (`thrum.sandbox.entrance`) is started beside the sandbox,
enters its network namespace when that exists, and hands the sockets back; only then does the program begin. The
namespace has nothing but its own loopback, so that everything but these sockets fails at once.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from thrum.allowlist import AllowList, Target
from thrum.errors import SandboxError
from thrum.job import Outcome
from thrum.masking import masked
from thrum.sandbox import entrance, marks
from thrum.sandbox.proxy import Door, Proxy

log = logging.getLogger(__name__)

_PORT = 3128
_GATEWAY = "127.0.0.1"
_MOST = 200
"""Sockets that fit into one message."""
_ENTER_S = 30.0
_NS_GET_USERNS = 0xB701
"""From linux/nsfs.h."""


def variables(port: int) -> dict[str, str]:
    """The environment that programs look for a proxy in. Nothing bypasses it: loopback inside is not the host's."""
    url = f"http://{_GATEWAY}:{port}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    told = {name: url for upper in names for name in (upper, upper.lower())}
    # Node looks at these since its version 24, and then only if it is told to.
    return {**told, "NO_PROXY": "", "no_proxy": "", "NODE_USE_ENV_PROXY": "1"}


class Outlet:
    """What an allow list opens, for one run; ends with the block that it is used in.

    Every address of loopback on the list also listens inside, at its own port, and leads straight to the host's: many
    programs never ask a proxy for `localhost`.

    Raises:
        SandboxError: the list is malformed, or has too many addresses of loopback.
    """

    def __init__(self, allow: Sequence[str], *, mark: str, mask: Sequence[str] = ()) -> None:
        # Names of hosts are lower-cased, and so is a key that was taken for one.
        self._mask = tuple(value.lower() for value in mask)
        try:
            allowed = AllowList(allow)
        except ValueError as error:
            raise SandboxError(f"the allow list is malformed: an entry {error}") from error
        ipv6 = os.path.exists("/proc/net/if_inet6")
        self._direct = tuple(target for target in allowed.loopback if ipv6 or ":" not in target.host)
        if len(self._direct) > _MOST:
            raise SandboxError("the allow list has too many addresses of loopback", remedy=f"name at most {_MOST // 2}")
        taken = {target.port for target in self._direct}
        self._port = next(port for port in range(_PORT, 65536) if port not in taken)
        self.variables = variables(self._port)
        with ExitStack() as stack:
            self._proxy = stack.enter_context(Proxy(allowed))
            self._block, self._unblock = os.pipe2(os.O_CLOEXEC)
            stack.callback(os.close, self._block)
            stack.callback(os.close, self._unblock)
            self._channel, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.enter_context(self._channel)
            with inner:
                self._helper = subprocess.Popen(
                    (sys.executable, "-I", "-S", entrance.__file__),
                    stdin=inner.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env={marks.MARK: mark},
                )
            stack.callback(self._helper.wait)
            stack.callback(self._helper.kill)
            self._stack = stack.pop_all()

    @property
    def block(self) -> int:
        """A descriptor from which a byte can be read when the program may begin."""
        return self._block

    def tell(self, outcome: Outcome) -> Outcome:
        """The outcome, with what the program tried to reach in vain: it may be why it failed."""
        refused: Counter[str] = Counter()
        for name, times in self._proxy.refused.items():
            refused[masked(name, self._mask)] += times
        if not refused:
            return outcome
        log.warning("a program tried to reach what its allow list does not have", extra={"refused": refused})
        told = "not on the allow list: " + ", ".join(f"{name} ({times})" for name, times in sorted(refused.items()))
        reason = outcome.reason if outcome.ok else "; ".join(filter(None, (outcome.reason, told)))
        return replace(outcome, refused=refused, reason=reason)

    def open(self, pid: int) -> None:
        """Serve the network namespace of the process, then let its program begin.

        Raises:
            SandboxError: the namespace cannot be entered, or is our own.
        """
        targets = (Target(host=_GATEWAY, port=self._port), *self._direct)
        try:
            sockets = self._listening(pid, targets)
        except OSError as error:
            raise SandboxError(f"the sandbox's network namespace cannot be entered: {error}") from error
        self._proxy.serve(
            Door(socket=one, target=target) for one, target in zip(sockets, (None, *self._direct), strict=True)
        )
        os.write(self._unblock, b"\n")

    def close(self) -> None:
        """End the proxy, what it listened on, and the helper."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _listening(self, pid: int, targets: Sequence[Target]) -> list[socket.socket]:
        space = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.path.samestat(os.fstat(space), os.stat("/proc/self/ns/net")):
                raise SandboxError("the sandbox has no network namespace of its own")
            owner = fcntl.ioctl(space, _NS_GET_USERNS)
            try:
                ours = os.path.samestat(os.fstat(owner), os.stat("/proc/self/ns/user"))
                asked = "".join(f"{target.host} {target.port}\n" for target in targets).encode()
                socket.send_fds(self._channel, [asked], [space] if ours else [owner, space])
            finally:
                os.close(owner)
        finally:
            os.close(space)
        until = select.poll()
        until.register(self._channel, select.POLLIN)
        if not until.poll(_ENTER_S * 1000):
            self._helper.kill()
            raise SandboxError("the helper that enters the sandbox's network namespace does not answer")
        said, fds, _, _ = socket.recv_fds(self._channel, 4096, _MOST + 1)
        sockets = [socket.socket(fileno=fd) for fd in fds]
        # It has every capability in the sandbox's user namespace, and shall be gone before the program begins.
        self._helper.wait()
        if len(sockets) != len(targets):
            for one in sockets:
                one.close()
            told = said.decode(errors="replace") or f"the helper ended with code {self._helper.returncode}"
            raise SandboxError(f"nothing can listen in the sandbox's network namespace: {told}")
        return sockets
