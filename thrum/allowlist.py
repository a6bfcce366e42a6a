"""Which addresses of the network a program may reach: entries of an `allow` list, and what they decide. Pure.

An entry is `host:port`. The host is a name, `*.example.com` for all that lies below a name (but not the name
itself), an IPv4 address, or an IPv6 address in brackets; without a port it is 443. Case and one trailing dot do not
matter. `localhost` means 127.0.0.1 and ::1, whatever a resolver says of it.

A name leads only where anybody's name may: an address of loopback, of a private network or of a link must be on the
list itself, with the port, or be `localhost`. Else whoever answers for a listed name could let it point at services
of this host or its network (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from thrum.config import BackendConfig, SandboxConfig
from thrum.values import dataclass

HTTPS = 443
LOCALHOST = ("127.0.0.1", "::1")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""As the last label it makes a name an address, to some resolvers: 2130706433, 0x7f.1 and 127.1 are 127.0.0.1."""
_PORT = re.compile(r"[0-9]{1,5}")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a connection shall go: a host in its canonical form (an IPv6 address without brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a list."""

    target: Target
    below: bool = False
    """Whether it stands for every name below the host, and not for the host."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that it names without a resolver; none if its host is any other name."""
        host = self.target.host
        if self.below:
            return ()
        return LOCALHOST if host == "localhost" else (host,) if address_of(host) else ()

    def names(self, target: Target) -> bool:
        """Whether the target is what the entry says, to the letter."""
        if target.port != self.target.port:
            return False
        if self.below:
            return address_of(target.host) is None and target.host.endswith(f".{self.target.host}")
        return target.host == self.target.host


class AllowList:
    """What a program may reach; made of entries as they are written.

    Raises:
        ValueError: an entry is none; the text says why.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._entries = tuple(dict.fromkeys(map(parse_entry, entries)))

    def allows(self, target: Target) -> bool:
        """Whether the target is on the list; where its name leads is another question (`admits`).

        `localhost` and an address of it are the same: either is on the list if the other is.
        """
        return any(entry.names(target) for entry in self._entries) or bool(self.known_addresses(target))

    def known_addresses(self, target: Target) -> tuple[str, ...]:
        """Where the target is, as far as the list says: for an address, or `localhost`, that is on it."""
        wanted = LOCALHOST if target.host == "localhost" else (target.host,)
        return tuple(address for address in wanted if self._lists(address, target.port))

    def admits(self, address: str, port: int) -> bool:
        """Whether a name that is on the list may lead to this address."""
        found = address_of(address)
        return found is not None and (_public(found) or self._lists(str(found), port))

    @property
    def loopback(self) -> tuple[Target, ...]:
        """Every address of loopback on the list."""
        named = (Target(host=one, port=entry.target.port) for entry in self._entries for one in entry.addresses)
        return tuple(dict.fromkeys(one for one in named if ipaddress.ip_address(one.host).is_loopback))

    def _lists(self, address: str, port: int) -> bool:
        return any(entry.target.port == port and address in entry.addresses for entry in self._entries)


def reach(sandbox: SandboxConfig, backend: BackendConfig) -> tuple[bool, tuple[str, ...]]:
    """Whether an agent reaches the whole network, and else what of it.

    A backend that sets `network` or `allow` decides alone, so that neither is widened or lost by the other level's.
    """
    by = sandbox if backend.network is None and backend.allow is None else backend
    return bool(by.network), () if by.network else by.allow or ()


def host_of(url: str) -> str:
    """The `host:port` of an address.

    Raises:
        ValueError: it is no address of the web.
    """
    parts = urlsplit(url)
    ports = {"http": 80, "https": 443}
    if parts.scheme not in ports or not parts.hostname:
        raise ValueError(f"{url!r} is no http or https address")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port or ports[parts.scheme]}"


def parse_entry(text: str) -> Entry:
    """The entry that is written so.

    Raises:
        ValueError: it is none; the text says why, and what to write.
    """
    if "://" in text or "/" in text:
        raise ValueError("is no host:port: leave the scheme and the path out")
    if text in ("*", "*:*") or text.startswith("*:"):
        raise ValueError("would allow everything: set network = true for that")
    below = text.startswith("*.")
    target = parse_target(text[2:] if below else text, HTTPS)
    address = address_of(target.host)
    if address is not None and below:
        raise ValueError("is neither a name nor an address: nothing lies below an address")
    if address is not None and (address.is_unspecified or address.is_multicast):
        raise ValueError("is the address of no host: write the one that it listens on, such as 127.0.0.1")
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        raise ValueError(f"is an IPv4 address in other words: write {address.ipv4_mapped}")
    return Entry(target=target, below=below)


def parse_target(text: str, default_port: int | None = None) -> Target:
    """The target of `host:port`, in canonical form; the port may be left out if there is a default.

    Raises:
        ValueError: it is none; the text says why.
    """
    host, separator, port_text = text.rpartition(":")
    if not separator or text.endswith("]"):
        host, port_text = text, ""
        if default_port is None:
            raise ValueError("has no port")
    elif not _PORT.fullmatch(port_text) or not 0 < int(port_text) < 65536:
        raise ValueError(f"has a port that is none: {port_text!r} is no number from 1 to 65535")
    return Target(host=_canonical(host), port=int(port_text) if port_text else default_port or 0)


def address_of(host: str) -> Address | None:
    """The IP address that the host is, in its usual form; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _canonical(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        inner = host[1:-1]
        if ":" not in inner or "%" in inner or address_of(inner) is None:
            raise ValueError(f"has no IPv6 address in its brackets: {inner!r}")
        return str(ipaddress.ip_address(inner))
    if ":" in host:
        raise ValueError("has too many colons: an IPv6 address stands in brackets, such as [::1]:443")
    if not host.isascii():
        raise ValueError("may hold ASCII only: write an international name in its xn-- form")
    name = host.lower().removesuffix(".")
    if address_of(name):
        return name
    labels = name.split(".")
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(f"{host!r} is no name of a host")
    if _NUMBER.fullmatch(labels[-1]):
        raise ValueError(f"{host!r} is neither a name nor an address: write an address as 127.0.0.1")
    return name


def _public(address: Address) -> bool:
    """Whether the address, and an IPv4 address that is wrapped in it, is one of the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None and not _public(inner):
            return False
        if address.ipv4_mapped:
            return True
    return address.is_global and not address.is_multicast
