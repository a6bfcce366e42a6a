"""A language model on loopback that does as it is told: real agent programs run against it without key or network.

What it does stands in the prompt, as a plan of steps that `plan` writes:

    prompt = "Mend the parser.\n" + plan(run("echo hi > a.txt"), say("done"))
    with ModelServer() as model:
        ... run a program with model.url as its base URL, and prompt as its prompt ...
        assert model.asked[-1].results

The server keeps no conversation: which step is next follows from how often the conversation shows that the model
answered since the user's newest turn with a plan. So one server serves many agents at once, a program that asks again
after a failure is given the same step again, and so is a resumed session that brings a plan of its own. Only failures
with `times` are counted here, for each wording of a plan. A prompt without a plan follows the one the server was given.
Requests on the side, for a title or a commit message, get a short text and never a failure.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from thrum.scripted.conversation import Asked, Failure, Reply
from thrum.scripted.dialects import DIALECTS, Dialect
from thrum.scripted.script import Step, next_step, reply_to

BODY_BYTES = 32 * 1024 * 1024
REQUESTS = 2000
HANG_S = 600.0


class ModelServer:
    """The server, on a port of its own; `asked` is what it was asked so far. To be used in a `with`."""

    def __init__(self, *steps: Step) -> None:
        self.asked: list[Asked] = []
        """Each request to a model in the order of arrival, those on the side included."""
        self.unknown: list[str] = []
        """Method and path of what was asked beside that; of a proxy, method and host."""
        self.closing = threading.Event()
        self._steps = steps
        self._failed: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.model = self
        self._thread = threading.Thread(target=self._http.serve_forever, name="model-server", args=(0.05,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """The base URL, without a path and without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> ModelServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End every answer that is under way, and the server."""
        self.closing.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def note(self, asked: Asked | str) -> bool:
        """Keep what was asked; False once there was too much of it."""
        with self._lock:
            if len(self.asked) + len(self.unknown) >= REQUESTS:
                return False
            if isinstance(asked, str):
                self.unknown.append(asked)
            else:
                self.asked.append(asked)
            return True

    def step(self, asked: Asked) -> Step:
        """What to do about a request to a model."""
        return next_step(asked, self._steps, self._fails)

    def _fails(self, failure: str, times: int | None) -> bool:
        with self._lock:
            self._failed[failure] += 1
            return times is None or self._failed[failure] <= times


class _Http(ThreadingHTTPServer):
    # Closing waits for the threads, whose connections are ended first: none outlives the server.
    daemon_threads = False
    model: ModelServer

    def __init__(self, *arguments: Any) -> None:
        self._open: set[Any] = set()
        super().__init__(*arguments)

    def get_request(self) -> Any:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(2)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A program that is ended, or ends, breaks connections off; any other error is said as usual."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 300
    server: _Http

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._send(200, {})

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith("/models"):
            return self._send(200, {"object": "list", "data": [{"id": "scripted", "object": "model"}]})
        known = path == "/"
        if not known:
            self.server.model.note(f"GET {path}")
        return self._send(200 if known else 404, {"error": {"message": "there is no such page"}})

    def do_CONNECT(self) -> None:
        """As a proxy it lets nobody through; which host was wanted is kept."""
        self.server.model.note(f"CONNECT {self.path}")
        self.close_connection = True
        self._send(403, {"error": {"message": "this host is not allowed"}})

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        raw = self._body()
        if raw is None:
            return None
        if path.endswith("/messages/count_tokens"):
            return self._send(200, {"input_tokens": 1200})
        dialect = next((dialect for dialect in DIALECTS if dialect.fits(path)), None)
        if dialect is None:
            self.server.model.note(f"POST {path}")
            return self._send(404, {"error": {"message": "there is no such call"}})
        try:
            asked = dialect.read(path, json.loads(raw))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return self._send(400, {"error": {"message": f"not a request of this API: {error!r}"}})
        asked = replace(asked, key=self._key())
        if not self.server.model.note(asked):
            return self._send(503, {"error": {"message": "the scripted model was asked too often"}})
        return self._answer(dialect, asked, self.server.model.step(asked))

    def _key(self) -> str:
        names = ("x-api-key", "x-goog-api-key", "Authorization")
        return next((given.removeprefix("Bearer ") for name in names if (given := self.headers.get(name))), "")

    def _body(self) -> bytes | None:
        """The request's body; None where it was refused."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts: list[bytes] = []
            while size := int(self.rfile.readline(20).partition(b";")[0], 16):
                if sum(map(len, parts)) + size > BODY_BYTES:
                    self._refuse_body()
                    return None
                parts.append(self.rfile.read(size))
                self.rfile.readline(4)
            self.rfile.readline(4)
            return b"".join(parts)
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_BYTES:
            self._refuse_body()
            return None
        return self.rfile.read(length)

    def _refuse_body(self) -> None:
        self.close_connection = True
        self._send(413, {"error": {"message": "the request is too large"}})

    def _answer(self, dialect: Dialect, asked: Asked, step: Step) -> None:
        if "hang" in step:
            self.server.model.closing.wait(HANG_S)
            self.close_connection = True
        elif "fail" in step:
            self._fail(dialect, step)
        elif asked.stream:
            self._stream(dialect, asked, reply_to(asked, step), broken="cut" in step)
        else:
            self._send(200, dialect.whole(asked, reply_to(asked, step)), broken="cut" in step)

    def _fail(self, dialect: Dialect, step: Step) -> None:
        kind = step.get("kind", "")
        anthropic = dialect.api == "anthropic"
        statuses = {"overloaded": 529 if anthropic else 503, "quota": 400 if anthropic else 429}
        failure = Failure(
            status=step["fail"] or statuses[kind],
            kind=kind,
            message=step.get("message", ""),
            retry_after_s=step.get("retry_after_s"),
            resets_at=step.get("resets_at"),
        )
        headers = dict(step.get("headers") or {})
        if failure.retry_after_s is not None:
            headers["retry-after"] = f"{failure.retry_after_s:g}"
        self._send(failure.status, dialect.failure(failure), headers=headers)

    def _send(
        self, status: int, body: dict[str, Any], *, headers: dict[str, str] | None = None, broken: bool = False
    ) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if broken else data)
        self.close_connection = self.close_connection or broken

    def _stream(self, dialect: Dialect, asked: Asked, reply: Reply, *, broken: bool) -> None:
        lines = [_event(name, json.dumps(data)) for name, data in dialect.events(asked, reply)]
        if dialect.api == "chat":
            lines.append(_event("", "[DONE]"))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in _half(lines) if broken else lines:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        if broken:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")


def _event(name: str, data: str) -> bytes:
    return (f"event: {name}\n" if name else "").encode() + f"data: {data}\n\n".encode()


def _half(lines: Sequence[bytes]) -> list[bytes]:
    kept = list(lines[: len(lines) // 2])
    return kept or [lines[0][: len(lines[0]) // 2]]
