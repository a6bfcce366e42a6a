"""The filtering proxy, asked over real sockets by clients that mean well and ill."""

from __future__ import annotations

import http.client
import http.server
import os
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until
from thrum.allowlist import AllowList, Target
from thrum.sandbox import relay
from thrum.sandbox.proxy import Door, Limits, Proxy, look_up
from thrum.sandbox.request import HEAD_BYTES, BadRequest, Body, parse

TIMEOUT_S = 120.0


class Origin(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = f"{self.requestline}\n{self.headers}".encode() + self.rfile.read(length)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


class Spoken(socketserver.ThreadingTCPServer):
    """A server that does with each connection what it is told."""

    daemon_threads = False
    request_queue_size = 256

    def __init__(self, speak: Callable[[socket.socket], None]) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.settimeout(TIMEOUT_S)
                try:
                    speak(self.request)
                except OSError:
                    pass

        super().__init__(("127.0.0.1", 0), Handler)


Serve = Callable[..., int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server, which is a handler of HTTP or a function of a socket; its port."""
    running: list[tuple[socketserver.BaseServer, threading.Thread]] = []

    def start(what: Any = Origin) -> int:
        server: socketserver.TCPServer
        if isinstance(what, type):
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), what)
        else:
            server = Spoken(what)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        running.append((server, thread))
        return int(server.server_address[1])

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


class Ward:
    """A proxy that listens on the host's loopback, for tests."""

    def __init__(self, *allow: str, resolve: Callable[[str, int], Sequence[str]] = look_up, **limits: Any) -> None:
        self.asked: list[str] = []

        def watched(host: str, port: int) -> Sequence[str]:
            self.asked.append(host)
            return resolve(host, port)

        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = listener.getsockname()[1]
        self.proxy = Proxy(AllowList(allow), limits=Limits(**limits), resolve=watched)
        self.doors = [Door(socket=listener)]

    def __enter__(self) -> Ward:
        self.proxy.serve(self.doors)
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.close()

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)

    def say(self, request: bytes) -> bytes:
        """What a client gets to read until the end that sends this and waits."""
        with self.dial() as client:
            client.sendall(request)
            return read_all(client)

    def status(self, request: bytes) -> int:
        return int(self.say(request).split()[1])

    def tunnel(self, target: str) -> socket.socket:
        client = self.dial()
        client.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        return client


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def read_until(sock: socket.socket, end: bytes) -> bytes:
    """All up to this, and nothing of what follows."""
    data = b""
    while not data.endswith(end):
        more = sock.recv(65536, socket.MSG_PEEK)
        assert more, data
        # The end may have begun with what was there before.
        before = data[-len(end) :]
        at = (before + more).find(end)
        data += sock.recv(len(more) if at < 0 else at + len(end) - len(before))
    return data


def get(url: str, *headers: str) -> bytes:
    return "\r\n".join((f"GET {url} HTTP/1.1", *headers, "", "")).encode()


# --- What is on the list ----------------------------------------------------------------------------------------


def test_a_tunnel_leads_to_what_is_listed(serve: Serve) -> None:
    port = serve()
    with Ward(f"127.0.0.1:{port}") as ward:
        client = http.client.HTTPConnection("127.0.0.1", ward.port, timeout=TIMEOUT_S)
        client.set_tunnel("127.0.0.1", port)
        client.request("GET", "/path")
        response = client.getresponse()
        assert (response.status, response.read().startswith(b"GET /path HTTP/1.1\n")) == (200, True)
        client.close()
        assert ward.proxy.refused == {}


def test_a_plain_request_is_passed_on_in_the_form_that_a_server_expects(serve: Serve) -> None:
    port = serve()
    with Ward(f"localhost:{port}") as ward:
        told = ward.say(
            get(
                f"HTTP://LOCALHOST:{port}/a/b?c=d",
                "Host: evil.example",
                "Connection: keep-alive, X-Own",
                "X-Own: 1",
                "Proxy-Connection: keep-alive",
                "Proxy-Authorization: Basic c2VjcmV0",
                "Upgrade: h2c",
                "TE: trailers",
                "X-Kept:  yes ",
            )
        ).decode()
    assert "GET /a/b?c=d HTTP/1.1\n" in told
    assert f"Host: localhost:{port}\n" in told
    assert "Connection: close\n" in told
    assert "X-Kept: yes\n" in told
    assert not re.search("evil|X-Own|Proxy-|Upgrade|TE:|keep-alive", told)


@pytest.mark.parametrize(("asked", "path"), [("", "/"), ("?a=b", "/?a=b"), ("/?a=b", "/?a=b")])
def test_a_url_without_a_path_means_its_root(serve: Serve, asked: str, path: str) -> None:
    port = serve()
    with Ward(f"127.0.0.1:{port}") as ward:
        assert f"GET {path} HTTP/1.1\n".encode() in ward.say(get(f"http://127.0.0.1:{port}{asked}"))


def test_bodies_are_passed_on_by_length_and_in_chunks(serve: Serve) -> None:
    def speak(sock: socket.socket) -> None:
        got = read_until(sock, b"END" if b"chunked" not in read_until(sock, b"\r\n\r\n") else b"\r\n0\r\nX: y\r\n\r\n")
        sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + got)

    port = serve(speak)
    with Ward(f"127.0.0.1:{port}") as ward:
        line = f"POST http://127.0.0.1:{port}/ HTTP/1.1\r\n".encode()
        large = b"x" * 300_000 + b"END"
        assert ward.say(line + b"Content-Length: 300003\r\n\r\n" + large).endswith(b"\r\n\r\n" + large)
        chunks = b"5;a=b\r\nhello\r\n" + b"1\r\n!\r\n" * 50 + b"0\r\nX: y\r\n\r\n"
        assert ward.say(line + b"Transfer-Encoding: chunked\r\n\r\n" + chunks).endswith(b"\r\n\r\n" + chunks)


def test_a_door_with_a_target_leads_there_without_a_request(serve: Serve) -> None:
    port = serve()
    listener = socket.create_server(("127.0.0.1", 0))
    with Proxy(AllowList([f"localhost:{port}"])) as proxy:
        at = listener.getsockname()[1]
        proxy.serve([Door(socket=listener, target=Target(host="127.0.0.1", port=port))])
        client = http.client.HTTPConnection("127.0.0.1", at, timeout=TIMEOUT_S)
        client.request("GET", "/straight")
        assert client.getresponse().read().startswith(b"GET /straight ")
        client.close()


def test_each_address_of_a_name_is_tried(serve: Serve) -> None:
    port = serve()
    closed = socket.create_server(("127.0.0.2", 0))
    closed.close()
    allow = (f"api.example:{port}", f"127.0.0.1:{port}", f"127.0.0.2:{port}")
    with Ward(*allow, resolve=lambda host, port: ("127.0.0.2", "127.0.0.1")) as ward:
        assert ward.status(get(f"http://api.example:{port}/")) == 200


# --- What is not ------------------------------------------------------------------------------------------------


def test_what_is_not_listed_is_refused_told_and_counted_and_never_looked_up() -> None:
    with Ward("api.example:443", "*.sub.example") as ward:
        answer = ward.say(b"CONNECT evil.example:443 HTTP/1.1\r\n\r\n").decode()
        assert answer.startswith("HTTP/1.1 403 Forbidden\r\n")
        assert answer.endswith("\r\n\r\nevil.example:443 is not on Thrum's allow list\n")
        assert ward.status(b"CONNECT Evil.Example.:443 HTTP/1.1\r\n\r\n") == 403
        assert ward.status(get("http://api.example/")) == 403
        assert ward.status(b"CONNECT sub.example:443 HTTP/1.1\r\n\r\n") == 403
        assert ward.proxy.refused == {"evil.example:443": 2, "api.example:80": 1, "sub.example:443": 1}
        assert ward.asked == []


def test_the_count_of_what_was_refused_is_bounded() -> None:
    with Ward(refusals=2) as ward:
        for host in ("a", "b", "c", "d", "a"):
            assert ward.status(get(f"http://{host}.example/")) == 403
        assert ward.proxy.refused == {"a.example:80": 2, "b.example:80": 1, "others": 2}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1"])
def test_a_listed_name_that_leads_to_a_private_address_is_refused(serve: Serve, address: str) -> None:
    port = serve()
    with Ward(f"api.example:{port}", resolve=lambda host, port: (address,)) as ward:
        answer = ward.say(get(f"http://api.example:{port}/")).decode()
        assert answer.startswith("HTTP/1.1 403 ")
        assert f"api.example:{port} leads to a private address, and " in answer
        assert ward.proxy.refused == {f"api.example:{port}": 1}


@pytest.mark.parametrize(
    "target",
    [
        "2130706433:{port}", "0x7f000001:{port}", "0x7f.1:{port}", "127.1:{port}", "0177.0.0.1:{port}",
        "user@127.0.0.1:{port}", "127.0.0.1:{port}@evil.example", "127.0.0.1:{port}@evil.example:443", "127.0.0.1",
        "127.0.0.1:", "127.0.0.1:+{port}", "127.0.0.1:0x50", "127.0.0.1:99999", "[::1%25lo]:{port}",
        "http://127.0.0.1:{port}/", "127.0.0.1:{port}/path", "127.0.0.1%00.example:{port}", "", "/", "*",
    ],
)  # fmt: skip
def test_a_tunnel_to_what_is_no_host_and_port_is_a_bad_request(serve: Serve, target: str) -> None:
    port = serve()
    with Ward(f"127.0.0.1:{port}", f"localhost:{port}", "evil.example") as ward:
        assert ward.status(f"CONNECT {target.format(port=port)} HTTP/1.1\r\n\r\n".encode()) == 400
        assert ward.asked == []


@pytest.mark.parametrize("target", ["[::ffff:127.0.0.1]:{port}", "[::ffff:7f00:1]:{port}", "127.0.0.2:{port}"])
def test_another_spelling_of_a_listed_address_is_not_listed(serve: Serve, target: str) -> None:
    port = serve()
    with Ward(f"127.0.0.1:{port}") as ward:
        assert ward.status(f"CONNECT {target.format(port=port)} HTTP/1.1\r\n\r\n".encode()) == 403


@pytest.mark.parametrize("target", ["LocalHost:{port}", "localhost.:{port}", "127.0.0.1:{port}"])
def test_case_and_a_trailing_dot_do_not_matter(serve: Serve, target: str) -> None:
    port = serve()
    with Ward(f"localhost:{port}") as ward:
        assert ward.status(f"CONNECT {target.format(port=port)} HTTP/1.1\r\n\r\n\r\n".encode()) == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET https://127.0.0.1/ HTTP/1.1\r\n\r\n",
        b"GET ftp://127.0.0.1/ HTTP/1.1\r\n\r\n",
        b"GET http:///path HTTP/1.1\r\n\r\n",
        b"GET http://127.0.0.1\\@evil/ HTTP/1.1\r\n\r\n",
        b"GET http://user:word@127.0.0.1/ HTTP/1.1\r\n\r\n",
        b"GET http://127.0.0.1/#part HTTP/1.1\r\n\r\n",
        b"GET http://127.0.0.1/a b HTTP/1.1\r\n\r\n",
        b"GET  http://127.0.0.1/ HTTP/1.1\r\n\r\n",
        b"GET http://127.0.0.1/ HTTP/2.0\r\n\r\n",
        b"GET http://127.0.0.1/\r\n\r\n",
        b"GET\thttp://127.0.0.1/\tHTTP/1.1\r\n\r\n",
        b"GET http://127.0.0.1/\x00 HTTP/1.1\r\n\r\n",
        "GET http://127.0.0.1/ü HTTP/1.1\r\n\r\n".encode(),
        b"GET http://127.0.0.1/ HTTP/1.1\nX: y\n\n",
        b"GET http://127.0.0.1/ HTTP/1.1\r\nX: y\nZ: 1\r\n\r\n",
        b"GET http://127.0.0.1/ HTTP/1.1\r\nX: y\rZ: 1\r\n\r\n",
        b"GET http://127.0.0.1/ HTTP/1.1\r\nX: y\r\n folded\r\n\r\n",
        b"GET http://127.0.0.1/ HTTP/1.1\r\nX : y\r\n\r\n",
        b"GET http://127.0.0.1/ HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET http://127.0.0.1/ HTTP/1.1\r\nX: \x00\r\n\r\n",
        b"POST http://127.0.0.1/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST http://127.0.0.1/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST http://127.0.0.1/ HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST http://127.0.0.1/ HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
        b"POST http://127.0.0.1/ HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST http://127.0.0.1/ HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        b"POST http://127.0.0.1/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\r\nGET http://127.0.0.1/ HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"\x05\x01\x00",
    ],
)
def test_a_request_that_could_be_read_in_two_ways_is_refused(request_: bytes) -> None:
    with Ward("127.0.0.1:80") as ward:
        assert ward.status(request_) == 400


def test_a_header_cannot_bring_in_a_line() -> None:
    head = parse(b"GET http://api.example/%0d%0aEvil:1 HTTP/1.1\r\nX: a\x85b\r\n\r\n").head
    assert head == (b"GET /%0d%0aEvil:1 HTTP/1.1\r\nHost: api.example\r\nX: a\x85b\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("line", [b"X: " + b"y" * (1 << 20), b"X: y\r\n" * (1 << 18), b"X: " + b" " * (HEAD_BYTES)])
def test_headers_of_a_mebibyte_are_refused(line: bytes) -> None:
    with Ward("127.0.0.1:80") as ward, ward.dial() as client:
        try:
            client.sendall(b"GET http://127.0.0.1/ HTTP/1.1\r\n" + line)
        except ConnectionError:
            pass
        assert client.recv(100).startswith(b"HTTP/1.1 431 ")


def test_headers_of_almost_the_limit_are_read_in_any_pieces(serve: Serve) -> None:
    port = serve()
    request = get(f"http://127.0.0.1:{port}/", "X: y")
    with Ward(f"127.0.0.1:{port}") as ward:
        for size in range(1, 5):
            with ward.dial() as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for at in range(0, len(request), size):
                    client.send(request[at : at + size])
                assert read_all(client).startswith(b"HTTP/1.1 200 ")


def test_what_follows_a_request_is_not_passed_on(serve: Serve) -> None:
    heard: list[bytes] = []
    done = threading.Semaphore(0)

    def speak(sock: socket.socket) -> None:
        heard.append(read_until(sock, b"\r\n\r\n"))
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        heard.append(read_all(sock))
        done.release()

    port = serve(speak)
    second = b"GET /secret HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    with Ward(f"127.0.0.1:{port}") as ward:
        for between in (b"Content-Length: 0\r\n\r\n", b"\r\n", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"):
            first = get(f"http://127.0.0.1:{port}/").removesuffix(b"\r\n") + between
            answer = ward.say(first + second + get("http://evil.example/"))
            assert answer.count(b"HTTP/1.1") == 1
            assert done.acquire(timeout=TIMEOUT_S)
    assert len(heard) == 6
    assert not any(b"secret" in one for one in heard)


@pytest.mark.parametrize(
    "chunks",
    [
        b"x\r\n",
        b"-1\r\n",
        b" 1\r\n",
        b"5\nhello",
        b"1\r\rX\n",
        b"2\r\nabc\r\n",
        b"2\r\nab0\r\n",
        b"0\r\nno colon\r\n",
        b"0\r\n" + b"X: y\r\n" * 101,
        b"1" * 9999,
    ],
)
def test_a_malformed_chunk_is_no_body(chunks: bytes) -> None:
    with pytest.raises(BadRequest):
        Body(None).pass_on(chunks)


def test_a_chunked_body_ends_where_it_ends_in_whatever_pieces_it_comes() -> None:
    text = b"a;x\r\n0123456789\r\n1\r\n\n\r\n0\r\nT: 1\r\n\r\n"
    for size in range(1, len(text) + 4):
        body, passed = Body(None), b""
        for at in range(0, len(text) + 4, size):
            passed += body.pass_on((text + b"GET ")[at : at + size])
        assert (passed, body.over) == (text, True)


def test_a_cut_off_body_is_not_taken_for_a_whole_one(serve: Serve) -> None:
    ends: list[object] = []
    done = threading.Event()

    def speak(sock: socket.socket) -> None:
        read_until(sock, b"\r\n\r\nhalf")
        try:
            ends.append(sock.recv(100))
        except OSError as error:
            ends.append(type(error))
        done.set()

    port = serve(speak)
    with Ward(f"127.0.0.1:{port}") as ward, ward.dial() as client:
        client.sendall(f"POST http://127.0.0.1:{port}/ HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf".encode())
        client.shutdown(socket.SHUT_WR)
        assert done.wait(TIMEOUT_S)
    assert ends == [ConnectionResetError]


# --- What cannot be reached -------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with Ward(f"127.0.0.1:{port}", "no-address.example:80", resolve=lambda host, port: ()) as ward:
        answer = ward.say(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert b"Connection refused" in answer
        assert b"its name has no address" in ward.say(get("http://no-address.example/"))
        assert ward.proxy.refused == {}


def test_a_server_that_does_not_answer_is_given_up() -> None:
    # Its queue of one is full, and a connection to it hangs.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        port = full.getsockname()[1]
        with Ward(f"127.0.0.1:{port}", dial_s=0.05) as ward:
            assert ward.status(get(f"http://127.0.0.1:{port}/")) == 502
        for one in waiting:
            one.close()


def test_a_client_that_does_not_ask_is_given_up() -> None:
    with Ward(head_s=0.05) as ward:
        assert ward.status(b"GET http://a.example/ HTTP/1.1\r\n") == 408
        assert ward.status(b"") == 408


def test_a_client_that_leaves_without_asking_is_no_fault() -> None:
    with Ward() as ward, ward.dial() as client:
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b""


def test_silence_ends_a_tunnel(serve: Serve) -> None:
    port = serve(lambda sock: sock.recv(1))
    with Ward(f"127.0.0.1:{port}", idle_s=0.05) as ward:
        client = ward.tunnel(f"127.0.0.1:{port}")
        with client, pytest.raises(ConnectionResetError):
            client.recv(1)


# --- Passing on -------------------------------------------------------------------------------------------------


def test_events_pass_as_they_come(serve: Serve) -> None:
    heard = threading.Semaphore(0)

    def speak(sock: socket.socket) -> None:
        read_until(sock, b"\r\n\r\n")
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for number in range(20):
            # The next token comes only once the client has the one before.
            assert heard.acquire(timeout=TIMEOUT_S)
            sock.sendall(b"data: %d\n\n" % number)

    port = serve(speak)
    with Ward(f"127.0.0.1:{port}") as ward, ward.dial() as plain, ward.tunnel(f"127.0.0.1:{port}") as tunnel:
        for client, url in ((plain, f"http://127.0.0.1:{port}/"), (tunnel, "/")):
            client.sendall(get(url))
            read_until(client, b"\r\n\r\n")
            for number in range(20):
                heard.release()
                assert read_until(client, b"\n\n") == b"data: %d\n\n" % number
            assert read_all(client) == b""


def test_much_passes_both_ways_at_once(serve: Serve) -> None:
    size = 8 << 20

    def speak(sock: socket.socket) -> None:
        writer = threading.Thread(target=sock.sendall, args=(b"s" * size,))
        writer.start()
        got = 0
        while got < size:
            got += len(sock.recv(65536))
        writer.join()
        sock.sendall(b"!")

    port = serve(speak)
    with Ward(f"127.0.0.1:{port}") as ward, ward.tunnel(f"127.0.0.1:{port}") as client:
        # It writes all before it reads anything: only buffers are between, and the other side does the same.
        reader: list[bytes] = []
        thread = threading.Thread(target=lambda: reader.append(read_all(client)))
        thread.start()
        client.sendall(b"c" * size)
        thread.join(TIMEOUT_S)
        assert reader == [b"s" * size + b"!"]


def test_the_end_of_one_side_does_not_end_the_other(serve: Serve) -> None:
    def speak(sock: socket.socket) -> None:
        got = read_all(sock)
        sock.sendall(got[::-1])

    port = serve(speak)
    with Ward(f"127.0.0.1:{port}") as ward, ward.tunnel(f"127.0.0.1:{port}") as client:
        client.sendall(b"abc")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"cba"


def test_a_client_that_ends_after_its_request_is_answered(serve: Serve) -> None:
    port = serve()
    with Ward(f"127.0.0.1:{port}") as ward, ward.dial() as client:
        client.sendall(get(f"http://127.0.0.1:{port}/"))
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).startswith(b"HTTP/1.1 200 ")


def test_a_server_that_takes_nothing_any_more_is_heard_to_its_end() -> None:
    stop = os.eventfd(0)
    (client, ours), (theirs, server) = socket.socketpair(), socket.socketpair()
    for one in (ours, theirs):
        one.setblocking(False)
    with client, server:
        server.shutdown(socket.SHUT_RD)
        client.sendall(b"in vain")
        client.shutdown(socket.SHUT_WR)
        server.sendall(b"why")
        server.shutdown(socket.SHUT_WR)
        with ours, theirs:
            relay.tunnel(ours, theirs, relay.Patience(stop), idle_s=TIMEOUT_S)
        assert read_all(client) == b"why"
    os.close(stop)


def test_a_server_that_ends_first_can_still_be_written_to(serve: Serve) -> None:
    heard: list[bytes] = []
    done = threading.Event()

    def speak(sock: socket.socket) -> None:
        sock.shutdown(socket.SHUT_WR)
        heard.append(read_all(sock))
        done.set()

    port = serve(speak)
    with Ward(f"127.0.0.1:{port}") as ward, ward.tunnel(f"127.0.0.1:{port}") as client:
        assert client.recv(1) == b""
        client.sendall(b"still here")
        client.shutdown(socket.SHUT_WR)
        assert done.wait(TIMEOUT_S)
    assert heard == [b"still here"]


def test_what_a_client_says_at_once_with_its_request_reaches_the_server(serve: Serve) -> None:
    port = serve(lambda sock: sock.sendall(read_until(sock, b"early")))
    with Ward(f"127.0.0.1:{port}") as ward:
        assert ward.say(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\nearly".encode()).endswith(b"\r\n\r\nearly")


def test_a_server_that_refuses_a_body_is_heard(serve: Serve) -> None:
    def speak(sock: socket.socket) -> None:
        read_until(sock, b"\r\n\r\n")
        sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        read_all(sock)

    port = serve(speak)
    with Ward(f"127.0.0.1:{port}") as ward, ward.dial() as client:
        client.sendall(f"POST http://127.0.0.1:{port}/ HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n".encode())
        assert read_all(client).startswith(b"HTTP/1.1 413 ")


def test_a_refusal_is_heard_by_who_sends_a_body() -> None:
    with Ward() as ward, ward.dial() as client:
        client.sendall(b"POST http://a.example/ HTTP/1.1\r\nContent-Length: 500000\r\n\r\n" + b"x" * 500_000)
        assert read_all(client).startswith(b"HTTP/1.1 403 ")


def test_a_reset_of_the_server_is_passed_on(serve: Serve) -> None:
    def speak(sock: socket.socket) -> None:
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()

    port = serve(speak)
    with Ward(f"127.0.0.1:{port}") as ward, ward.tunnel(f"127.0.0.1:{port}") as client:
        client.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


# --- Many, and the end ------------------------------------------------------------------------------------------


def test_a_hundred_connections_at_once(serve: Serve) -> None:
    all_there = threading.Barrier(101)

    def speak(sock: socket.socket) -> None:
        read_until(sock, b"\r\n\r\n")
        all_there.wait(TIMEOUT_S)
        sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 100_000)

    port = serve(speak)
    with Ward(f"127.0.0.1:{port}") as ward:
        clients = [ward.dial() for _ in range(100)]
        for client in clients:
            client.sendall(get(f"http://127.0.0.1:{port}/"))
        all_there.wait(TIMEOUT_S)
        assert [read_all(client).count(b"x") for client in clients] == [100_000] * 100
        for client in clients:
            client.close()


def test_more_than_are_borne_are_told_so(serve: Serve) -> None:
    port = serve(read_all)
    with Ward(f"127.0.0.1:{port}", connections=2) as ward:
        held = [ward.tunnel(f"127.0.0.1:{port}") for _ in range(2)]
        with ward.dial() as third:
            assert third.recv(100).startswith(b"HTTP/1.1 503 ")
        for one in held:
            one.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_is_left_of_a_proxy_that_was_closed(serve: Serve) -> None:
    port = serve(read_all)
    before, threads = descriptors(), threading.active_count()
    ward = Ward(f"127.0.0.1:{port}")
    with ward:
        held = [ward.tunnel(f"127.0.0.1:{port}") for _ in range(5)] + [ward.dial()]
    for client in held:
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        client.close()
    assert not [one for one in threading.enumerate() if one.name in ("proxy", "proxied")]
    with pytest.raises(ConnectionRefusedError):
        ward.dial()
    ward.proxy.close()
    # The ends of servers follow, those of earlier tests included.
    until(lambda: descriptors() <= before and threading.active_count() <= threads)


def test_a_look_up_that_hangs_does_not_hold_up_the_end() -> None:
    go, begun = threading.Event(), threading.Event()

    def hang(host: str, port: int) -> Sequence[str]:
        begun.set()
        go.wait(TIMEOUT_S)
        return ()

    before = descriptors()
    ward = Ward("slow.example", resolve=hang)
    with ward:
        client = ward.dial()
        client.sendall(b"CONNECT slow.example:443 HTTP/1.1\r\n\r\n")
        assert begun.wait(TIMEOUT_S)
    go.set()
    for thread in threading.enumerate():
        if thread.name == "proxied":
            thread.join(TIMEOUT_S)
    client.close()
    until(lambda: descriptors() <= before)


def test_a_proxy_that_never_served_can_be_closed() -> None:
    before = descriptors()
    Proxy(AllowList(())).close()
    assert descriptors() <= before


def test_a_name_is_looked_up_by_the_system() -> None:
    assert set(look_up("localhost", 80)) & {"127.0.0.1", "::1"}
    assert look_up("no-such-host.invalid", 80) == ()
