"""Attempts to reach the network, the bus and other sockets."""

from tests.escapes import Attempt


def _connect(family: str, kind: str, address: str) -> str:
    return f"""
with socket.socket(socket.AF_{family}, socket.SOCK_{kind}) as one:
    one.settimeout(20)
    one.connect({address})
    one.sendall(env["MARK"].encode())
"""


_INTERFACES = "import socket\nif any(name != 'lo' for _, name in socket.if_nameindex()): say()"
_PROXY = """
from urllib.parse import urlsplit
proxy = urlsplit(env["HTTP_PROXY"])
for text in ("CONNECT 127.0.0.1:{0} HTTP/1.1\\r\\nHost: 127.0.0.1:{1}\\r\\n\\r\\n{2}",
             "GET http://127.0.0.1:{0}/{2} HTTP/1.1\\r\\nHost: 127.0.0.1:{1}\\r\\n\\r\\n",
             "GET http://127.0.0.1:{1}@127.0.0.1:{0}/{2} HTTP/1.1\\r\\nHost: 127.0.0.1:{1}\\r\\n\\r\\n",
             "CONNECT 127.0.0.1:{1}\\r\\nX: 127.0.0.1:{0} HTTP/1.1\\r\\nHost: 127.0.0.1:{0}\\r\\n\\r\\n"):
    with socket.create_connection((proxy.hostname, proxy.port), timeout=20) as one:
        one.sendall(text.format(env["PORT"], env["LISTED"], env["MARK"]).encode())
        one.recv(4096)
"""

REACHING = (
    Attempt(
        name="connect to a port of this machine on loopback",
        script=_connect("INET", "STREAM", '("127.0.0.1", int(env["PORT"]))'),
        python=True,
    ),
    Attempt(
        name="connect to a port of this machine on loopback by IPv6",
        script=_connect("INET6", "STREAM", '("::1", int(env.get("PORT6", "9")))'),
        python=True,
    ),
    Attempt(
        name="connect to a port of this machine by its address in the network",
        script=_connect("INET", "STREAM", '(env["ADDRESS"], int(env["PORT"]))'),
        python=True,
    ),
    Attempt(
        name="send a datagram to this machine",
        script=_connect("INET", "DGRAM", '("127.0.0.1", int(env["UDP"]))'),
        python=True,
    ),
    Attempt(
        name="connect to the bus in the runtime folder", script=_connect("UNIX", "STREAM", 'env["BUS"]'), python=True
    ),
    Attempt(
        name="connect to an abstract socket", script=_connect("UNIX", "STREAM", '"\\0" + env["ABSTRACT"]'), python=True
    ),
    Attempt(
        name="connect to the bus through /proc/PID/root",
        script=_connect("UNIX", "STREAM", "f\"/proc/{env['VICTIM']}/root/{env['BUS']}\""),
        python=True,
    ),
    Attempt(
        name="past an allow list, connect to what is not on it",
        script=_connect("INET", "STREAM", '("127.0.0.1", int(env["PORT"]))'),
        python=True,
        allow=True,
    ),
    Attempt(
        name="past an allow list, ask its proxy for what is not on it, in four ways",
        script=_PROXY,
        python=True,
        allow=True,
        none="held",
    ),
    Attempt(name="see the machine's network interfaces", script=_INTERFACES, python=True),
    Attempt(
        name="read and write raw packets",
        script="socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300)\nsay()",
        python=True,
        none="gets out as root",
    ),
    Attempt(
        name="open a socket to the hypervisor (AF_VSOCK)",
        script="socket.socket(40, socket.SOCK_STREAM)\nsay()",
        python=True,
        none="not tried",
    ),
)
