"""A program of its own: makes sockets listen in another network namespace, hands them over and ends.

Only a process with one thread may join the user namespace that a network namespace belongs to, which an ordinary user
must do first; so no thread of ours can do this. Standard input is a unix socket. One message comes in, with the
descriptors of the namespaces in the order in which they are joined and a line `address port` for each socket; one
goes out, with the sockets in the same order, or a text that says what failed.
"""

# As little as possible: each import is a part of every start. `socket` alone would double the time of all this.
import _socket
import os
import sys

if sys.version_info < (3, 12):
    import ctypes

_IP_FREEBIND = 15
_IPV6_FREEBIND = 78
_BACKLOG = 128


def main() -> None:
    """Serve the one request on standard input; the end of it before the request came is an order to go."""
    channel = _socket.socket(fileno=0)
    text, ancillary, _, _ = channel.recvmsg(65536, _socket.CMSG_SPACE(8))
    if not text:
        return
    try:
        for space in _descriptors(ancillary[0][2]):
            _join(space)
        sockets = [_listening(*line.split()) for line in text.decode().splitlines()]
        answer = b"".join(one.fileno().to_bytes(4, sys.byteorder) for one in sockets)
        channel.sendmsg([b"done"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, answer)])
    except OSError as error:
        channel.send(f"{error.strerror or error}".encode())


def _descriptors(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 4], sys.byteorder) for at in range(0, len(data), 4)]


def _join(space: int) -> None:
    if sys.version_info >= (3, 12):
        os.setns(space)
        return
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(space, 0):
        raise OSError(ctypes.get_errno(), f"the namespace cannot be joined: {os.strerror(ctypes.get_errno())}")


def _listening(address: str, port: str) -> _socket.socket:
    one = _socket.socket(_socket.AF_INET6 if ":" in address else _socket.AF_INET, _socket.SOCK_STREAM)
    one.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    # The namespace's loopback may not be up yet, and until then has no address.
    if ":" in address:
        one.setsockopt(_socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
    else:
        one.setsockopt(_socket.IPPROTO_IP, _IP_FREEBIND, 1)
    one.bind((address, int(port)))
    one.listen(_BACKLOG)
    return one


if __name__ == "__main__":
    main()
    # There is nothing to tidy up, and it takes time.
    os._exit(0)
