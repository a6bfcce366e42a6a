"""The HTTP API as a WSGI application: who is let in, and what each route asks of the actors. It keeps no state.

Every call but `GET /health` needs the project's token, reads too: a port of loopback is open to every user of the
machine. All bodies are JSON; an error is `{"error": {"code", "message", "remedy"}}`, as with `thrum --json`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import falcon
import zmq

from thrum import __version__
from thrum.client import Client
from thrum.config import Project
from thrum.desk import Desk, repo_named
from thrum.errors import NotFoundError, ThrumError, UsageError
from thrum.messages import kinds as m
from thrum.records import RecordError, from_plain
from thrum.task import State
from thrum.transcript import entries, json_lines
from thrum.values import dataclass

from .base import Situation

log = logging.getLogger(__name__)

HOSTS = ("127.0.0.1", "localhost", "::1")
"""What a request may call us by: a page from elsewhere whose name was made to point here says its own name."""
BODY_BYTES = 1024 * 1024
ANSWER_S = 10.0
STATUS_S = 3.0

STATUS: dict[str, str] = {
    "usage": falcon.HTTP_400,
    "unauthorized": falcon.HTTP_401,
    "forbidden": falcon.HTTP_403,
    "not-found": falcon.HTTP_404,
    "method-not-allowed": falcon.HTTP_405,
    "refused": falcon.HTTP_409,
    "too-large": falcon.HTTP_413,
    "media-type": falcon.HTTP_415,
    "try-later": falcon.HTTP_503,
    "store-in-use": falcon.HTTP_503,
}
"""The HTTP status of each error code; of any other it is 500."""

T = TypeVar("T")


# --- Bodies: the fields are the keys, and those without a default must be there ------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """`POST /tasks`"""

    by: str
    title: str
    repo: str | None = None
    description: str = ""
    depends_on: tuple[str, ...] = ()
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """`POST /tasks/ID/approve`"""

    by: str
    commit: str = ""
    protected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """`POST /tasks/ID/reject`"""

    by: str
    feedback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """`POST /tasks/ID/retry`"""

    by: str
    feedback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """`POST /tasks/ID/cancel`"""

    by: str
    why: str = ""


DECISIONS: dict[str, tuple[type[Any], type[m.Command]]] = {
    "approve": (Approval, m.ApproveTask),
    "reject": (Rejection, m.RejectTask),
    "retry": (Retry, m.RetryTask),
    "cancel": (Cancellation, m.CancelTask),
}


# --- Resources ------------------------------------------------------------------------------------------------------


class Desks:
    """A desk for each thread that asks for one, as a socket belongs to one thread."""

    def __init__(self, told: Situation, token: str) -> None:
        self._told = told
        self._token = token
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._local = threading.local()
        self._clients: list[Client] = []

    def here(self) -> Desk:
        """That of the calling thread."""
        desk: Desk | None = getattr(self._local, "desk", None)
        if desk is None:
            client = Client(self._told.endpoint, context=self._context)
            self._clients.append(client)
            names = [repo.name for repo in self._told.project.here]
            self._local.desk = desk = Desk(client, names, self._token, answer_s=ANSWER_S)
        return desk

    def close(self) -> None:
        """Leave the bus, once no thread asks any more."""
        for client in self._clients:
            client.close()
        self._context.term()


class Health:
    """`GET /health`: that the process is there; it asks nobody, and needs no token."""

    def on_get(self, _: falcon.Request, resp: falcon.Response) -> None:
        resp.media = {"status": "ok", "version": __version__}


class Status:
    """`GET /status`: the scheduler's picture, the broker's, and each repository at a glance."""

    def __init__(self, desks: Desks, project: Project) -> None:
        self._desks = desks
        self._project = project

    def on_get(self, _: falcon.Request, resp: falcon.Response) -> None:
        repos = self._desks.here().repos
        resp.media = {
            "version": __version__,
            "directory": self._project.directory,
            "digest": self._project.digest,
            "schedule": self._asked("scheduler", m.GetSchedule()),
            "broker": self._asked("broker", m.GetBrokerStatus()),
            "repos": [{"repo": repo, **self._asked(f"repo.{repo}", m.GetRepoStatus())} for repo in repos],
        }

    def _asked(self, name: str, question: m.Message) -> dict[str, Any]:
        # One that is away must not hide the others.
        try:
            return dict(self._desks.here().client.request(name, question, timeout_s=STATUS_S))
        except ThrumError as error:
            return {"error": _view(error.code, error.message, error.remedy)}


class Tasks:
    """`GET /tasks[?repo=&state=]`, `POST /tasks`"""

    def __init__(self, desks: Desks) -> None:
        self._desks = desks

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        desk = self._desks.here()
        states = req.get_param_as_list("state") or []
        unknown = [state for state in states if state not in list(State)]
        if unknown:
            raise UsageError(f"there is no state {unknown[0]!r}", remedy=f"the states are: {', '.join(State)}")
        named = req.get_param_as_list("repo") or desk.repos
        repos = dict.fromkeys(repo_named(desk.repos, name) for name in named)
        views = [view for repo in repos for view in desk.tasks(repo, states)]
        resp.media = sorted(views, key=lambda view: (view["created_at"], view["id"]))

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        desk, body = self._desks.here(), _body(req, NewTask)
        view = desk.add(
            repo_named(desk.repos, body.repo),
            by=body.by,
            title=body.title,
            description=body.description,
            depends_on=body.depends_on,
            priority=body.priority,
            id=_message_id(req),
        )
        resp.status = falcon.HTTP_201
        resp.location = f"/tasks/{view['id']}"
        resp.media = view


class OneTask:
    """`GET /tasks/ID`, `/tasks/ID/diff[?attempt=]`, `/tasks/ID/transcript[?attempt=]` (JSON lines),
    `/tasks/ID/history`, and `POST /tasks/ID/DECISION`"""

    def __init__(self, desks: Desks) -> None:
        self._desks = desks

    def on_get(self, _: falcon.Request, resp: falcon.Response, task: str) -> None:
        resp.media = self._desks.here().task(task)

    def on_get_diff(self, req: falcon.Request, resp: falcon.Response, task: str) -> None:
        resp.media = self._desks.here().diff(task, req.get_param_as_int("attempt", min_value=1) or 0)

    def on_get_transcript(self, req: falcon.Request, resp: falcon.Response, task: str) -> None:
        desk, wanted = self._desks.here(), req.get_param_as_int("attempt", min_value=1)
        attempts = [one for one in desk.task(task)["attempts"] if wanted in (None, one["token"])]
        if not attempts:
            raise NotFoundError(f"{task} has no attempt {wanted}" if wanted else f"{task} has had no attempt yet")
        resp.content_type = "application/x-ndjson"
        resp.text = json_lines(task, attempts[-1]["token"], entries(desk.all_said(task, attempts[-1])))

    def on_get_history(self, _: falcon.Request, resp: falcon.Response, task: str) -> None:
        resp.media = self._desks.here().history(task)

    def on_post_decision(self, req: falcon.Request, resp: falcon.Response, task: str, decision: str) -> None:
        if decision not in DECISIONS:
            raise falcon.HTTPNotFound
        shape, command = DECISIONS[decision]
        body = _body(req, shape)
        words = {field.name: getattr(body, field.name) for field in fields(shape)}
        resp.media = self._desks.here().decide(command, task, id=_message_id(req), **words)


class Guard:
    """Who is let in: only calls to a loopback name, with the token, and with JSON where they bring something."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def process_request(self, req: falcon.Request, _: falcon.Response) -> None:
        """Refuse what is not let in."""
        if _host(req.get_header("Host") or "") not in HOSTS:
            raise _Refusal("forbidden", "the request is for another host than this one")
        if req.path != "/health" and not self._known(req.auth or ""):
            how = "send the header `Authorization: Bearer TOKEN`; the token is in .thrum/token"
            raise _Refusal("unauthorized", "the call carries no valid token", how)
        if req.method == "POST" and (req.content_type or "").partition(";")[0].strip() != falcon.MEDIA_JSON:
            raise _Refusal("media-type", "the body must be JSON", "Content-Type: application/json")

    def _known(self, auth: str) -> bool:
        scheme, _, given = auth.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token)


class _Refusal(ThrumError):
    """A request that is not taken; `code` is a key of `STATUS`."""

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


def _host(header: str) -> str:
    """The name in a Host header, without the port."""
    return header[1:].partition("]")[0] if header.startswith("[") else header.partition(":")[0].lower()


def _body(req: falcon.Request, shape: type[T]) -> T:
    raw = req.bounded_stream.read(BODY_BYTES + 1)
    if len(raw) > BODY_BYTES:
        raise _Refusal("too-large", f"the body is larger than {BODY_BYTES} bytes")
    try:
        return from_plain(shape, json.loads(raw))
    except RecordError as error:
        remedy = f"the keys are: {', '.join(error.valid)}" if error.valid else ""
        raise UsageError(f"the body does not fit: {error}", remedy=remedy) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is not JSON: {error}") from None


def _message_id(req: falcon.Request) -> str | None:
    """The id under which the command is known, so that the same one sent again is done once."""
    key = req.get_header("Idempotency-Key")
    if not key:
        return None
    # Hashed together with the path: it must not meet the id of any other message.
    return "http." + hashlib.sha256(f"{req.path}\0{key}".encode(errors="surrogateescape")).hexdigest()


# --- Errors ---------------------------------------------------------------------------------------------------------


def _view(code: str, message: str, remedy: str) -> dict[str, str]:
    return {"code": code, "message": message, "remedy": remedy}


def _tell(resp: falcon.Response, code: str, message: str, remedy: str = "") -> None:
    resp.status = STATUS.get(code, falcon.HTTP_500)
    resp.media = {"error": _view(code, message, remedy)}
    if resp.status == falcon.HTTP_503:
        resp.set_header("Retry-After", "1")
    if resp.status == falcon.HTTP_401:
        resp.set_header("WWW-Authenticate", "Bearer")


def _on_ours(_: falcon.Request, resp: falcon.Response, error: ThrumError, __: Mapping[str, Any]) -> None:
    _tell(resp, error.code, error.message, error.remedy)


def _on_falcons(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, __: Mapping[str, Any]) -> None:
    match error.status_code:
        case 404:
            _tell(resp, "not-found", f"there is nothing at {req.path}")
        case 405:
            _tell(resp, "method-not-allowed", f"{req.path} takes no {req.method}")
        case _:
            _tell(resp, "usage", error.description or error.title or str(error.status))


def _on_any(req: falcon.Request, resp: falcon.Response, error: Exception, __: Mapping[str, Any]) -> None:
    log.error("a request ended on an error", exc_info=error, extra={"method": req.method, "path": req.path})
    _tell(resp, "internal", f"{type(error).__name__}: {error}", "this is a fault in Thrum; the log of `api` has more")


def application(desks: Desks, project: Project, token: str) -> falcon.App[Any, Any]:
    """The WSGI application."""
    app = falcon.App(middleware=[Guard(token)])
    app.add_error_handler(Exception, _on_any)
    app.add_error_handler(falcon.HTTPError, _on_falcons)
    app.add_error_handler(ThrumError, _on_ours)
    one = OneTask(desks)
    app.add_route("/health", Health())
    app.add_route("/status", Status(desks, project))
    app.add_route("/tasks", Tasks(desks))
    app.add_route("/tasks/{task}", one)
    app.add_route("/tasks/{task}/diff", one, suffix="diff")
    app.add_route("/tasks/{task}/transcript", one, suffix="transcript")
    app.add_route("/tasks/{task}/history", one, suffix="history")
    app.add_route("/tasks/{task}/{decision}", one, suffix="decision")
    return app
