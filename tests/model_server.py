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
import shlex
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from types import TracebackType
from typing import Any

from tests.model_dialects import DIALECTS, Asked, Dialect, Failure, Reply

MARK = "MODEL-PLAN:"
BODY_BYTES = 32 * 1024 * 1024
REQUESTS = 2000
HANG_S = 600.0

Step = dict[str, Any]


def run(command: str) -> Step:
    """Run a command through whatever shell tool is offered; a program without one is told so in words."""
    return {"run": command}


def write(path: str, content: str) -> Step:
    """Make a file: through a shell tool, or in the form that a program without tools asks for its edits in."""
    return {"write": path, "content": content}


def only(step: Step, *, when: str = "", unless: str = "") -> Step:
    """A step that is in the plan only where the rest of the prompt has the one text in it, and not the other."""
    return {**step, "when": when, "unless": unless}


def say(text: str) -> Step:
    """Say a text and stop."""
    return {"say": text}


def refuse(text: str = "I cannot help with that.") -> Step:
    """Refuse in the way that the API has for it."""
    return {"refuse": text}


def fail(
    status: int,
    *,
    message: str = "",
    retry_after_s: float | None = None,
    times: int | None = None,
    headers: dict[str, str] | None = None,
) -> Step:
    """Answer with an HTTP error; to so many requests, else to all of them."""
    told = {"message": message, "retry_after_s": retry_after_s, "times": times, "headers": headers or {}}
    return {"fail": status, **told}


def overloaded(times: int | None = None) -> Step:
    """Answer that there is no room at present: 529 or 503."""
    return {"fail": 0, "kind": "overloaded", "times": times}


def overflow() -> Step:
    """Answer that the conversation does not fit the model."""
    return {"fail": 400, "kind": "overflow"}


def quota(resets_at: int | None = None) -> Step:
    """Answer that what was paid for is used up, until a time (Unix seconds) where the API can say one."""
    return {"fail": 0, "kind": "quota", "resets_at": resets_at}


def hang() -> Step:
    """Take the request and never answer, until the server is closed (at most ten minutes)."""
    return {"hang": True}


def cut() -> Step:
    """Break the answer off in its middle."""
    return {"cut": True}


def plan(*steps: Step) -> str:
    """The line of a prompt that has the model take these steps."""
    return f"{MARK} {json.dumps(steps)}"


class ModelServer:
    """The server, on a port of its own; `asked` is what it was asked so far. To be used in a `with`."""

    def __init__(self, *steps: Step) -> None:
        self.asked: list[Asked] = []
        """Each request to a model in the order of arrival, those on the side included."""
        self.unknown: list[str] = []
        """Method and path of what was asked beside that; of a proxy, method and host."""
        self.closing = threading.Event()
        self._steps = steps
        self._failed: Counter[tuple[str, int]] = Counter()
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
        if _beside(asked):
            return say(json.dumps(_fitting(asked.schema)) if asked.schema else "A short text")
        steps, since = _planned(asked)
        if steps is None:
            steps, since = list(self._steps), 0
        told = "\n".join(line for line in asked.prompt.splitlines() if MARK not in line)
        steps = [step for step in steps if step.get("when", "") in told and (step.get("unless") or "\0") not in told]
        answered = sum(role == "assistant" for role, _ in groupby(turn.role for turn in asked.turns[since:]))
        for number, step in enumerate(steps):
            if "fail" in step:
                if self._fails(json.dumps(steps), number, step.get("times"), answered):
                    return step
            elif answered:
                answered -= 1
            else:
                return step
        return steps[-1] if steps and "say" in steps[-1] else say("That is all.")

    def _fails(self, steps: str, number: int, times: int | None, answered: int) -> bool:
        """Whether a step that is a failure is still one; a conversation that went past it shows that it is not."""
        if answered:
            return False
        with self._lock:
            self._failed[steps, number] += 1
            return times is None or self._failed[steps, number] <= times


def _planned(asked: Asked) -> tuple[list[Step] | None, int]:
    """The plan of the newest turn of the user that has one, and where in the conversation that is."""
    for index in reversed(range(len(asked.turns))):
        turn = asked.turns[index]
        if turn.role == "user" and MARK in turn.text:
            found = turn.text.rpartition(MARK)[2].lstrip()
            try:
                return json.JSONDecoder().raw_decode(found)[0], index
            except ValueError:
                return [say(f"there is no plan in {found[:200]!r}")], index
    return None, 0


def _edits_in_words(asked: Asked) -> str:
    """The form that a program without tools asks for edits in: `diff`, `whole` or none."""
    told = asked.system + asked.prompt
    return "diff" if "SEARCH/REPLACE" in told else "whole" if "*file listing*" in told else ""


def _beside(asked: Asked) -> bool:
    return not asked.tools and not _edits_in_words(asked)


def _fitting(schema: dict[str, Any]) -> Any:
    """The least that fits a JSON schema."""
    match str(schema.get("type", "")).lower():
        case "object":
            properties = schema.get("properties") or {}
            return {name: _fitting(properties.get(name, {})) for name in schema.get("required") or properties}
        case "array":
            return []
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
    return (schema.get("enum") or ["a text"])[0]


def reply_to(asked: Asked, step: Step) -> Reply:
    """What the model says where the step is neither a failure nor silence."""
    if "refuse" in step:
        return Reply(text=step["refuse"], refused=True)
    if "run" in step:
        return _calling(asked, step["run"])
    if "write" in step:
        return _writing(asked, step["write"], step["content"])
    text = step.get("say", "This answer is cut off in its middle.")
    if "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT" in asked.system + asked.prompt:
        # Where the end has a command of its own, a text alone does not end anything.
        ended = _calling(asked, "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; printf '%s\\n' " + shlex.quote(text))
        return replace(ended, text=text)
    return Reply(text=text)


def _calling(asked: Asked, command: str) -> Reply:
    """A call of the shell tool, with something for every argument that its schema asks for."""
    for name, schema in asked.tools.items():
        if name == "exec" and schema.get("type") == "custom":
            # Codex gives its newer models a JavaScript of its own, in which the tools are functions.
            script = f"text(await tools.exec_command({json.dumps({'cmd': command})}))"
            return Reply(text="I run a command.", tool=name, arguments={"input": script})
        properties = schema.get("properties") or {}
        key = next((key for key in ("command", "cmd") if key in properties), "")
        if not key or not any(part in name.lower() for part in ("bash", "shell", "exec")):
            continue
        listed = properties[key].get("type") == "array"
        arguments: dict[str, Any] = {key: ["bash", "-c", command] if listed else command}
        for needed in schema.get("required") or ():
            kind = properties.get(needed, {}).get("type")
            arguments.setdefault(needed, {"integer": 1000, "number": 1000, "boolean": False}.get(kind, "a step"))
        return Reply(text="I run a command.", tool=name, arguments=arguments)
    return Reply(text=f"There is no shell among the tools: {', '.join(asked.tools) or 'none'}")


def _writing(asked: Asked, path: str, content: str) -> Reply:
    match _edits_in_words(asked) if not asked.tools else "":
        case "diff":
            return Reply(text=f"{path}\n```\n<<<<<<< SEARCH\n=======\n{content}>>>>>>> REPLACE\n```\n")
        case "whole":
            return Reply(text=f"{path}\n```\n{content}```\n")
    return _calling(asked, f"printf %s {shlex.quote(content)} > {shlex.quote(path)}")


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
        import sys

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
                    return self._refuse_body()
                parts.append(self.rfile.read(size))
                self.rfile.readline(4)
            self.rfile.readline(4)
            return b"".join(parts)
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(length) if length <= BODY_BYTES else self._refuse_body()

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
