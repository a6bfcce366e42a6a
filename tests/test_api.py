"""The HTTP API over a real tree: what it answers, and whom it does not let in."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.projects import ThrumProject
from tests.repositories import git
from thrum.actors import api
from thrum.actors.api_app import STATUS
from thrum.errors import BusyError, ThrumError


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: Any

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"])


class Api:
    """The API of a project that is up."""

    def __init__(self, project: ThrumProject, address: str) -> None:
        self.project = project
        self.port = int(address.rpartition(":")[2])
        self.token = (project.directory / ".thrum/token").read_text().strip()

    def call(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **headers: str) -> Answer:
        """Make a call with the token; `headers` change what is sent, an empty one is left out."""
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            data = raw if raw is not None else json.dumps(body).encode() if method == "POST" else None
            connection.request(method, path, data, {name: value for name, value in sent.items() if value})
            response = connection.getresponse()
            return Answer(response.status, response.headers, json.loads(response.read()))
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self.call("POST", path, body, **headers)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API that is asked, but of whose tasks none can start: the budget is 0."""
    project = ThrumProject(tmp_path_factory.mktemp("quiet"), pipeline="[budget]\nceiling_usd = 0.0\n")
    with project.up() as state:
        yield Api(project, state["api"])


def test_a_task_goes_from_http_to_the_branch(tmp_path: Path) -> None:
    project = ThrumProject(tmp_path)
    with project.up() as state:
        api = Api(project, state["api"])
        added = api.post("/tasks", {"by": "ada", "title": "Write a note", "description": "Any."})
        assert (added.status, added.headers["Location"]) == (201, "/tasks/demo-1")
        assert added.body["state"] == "pending"
        project.command("run", code=4)
        shown = api.get("/tasks/demo-1").body
        assert shown["state"] == "awaiting-approval"
        assert [one["id"] for one in api.get("/tasks?state=awaiting-approval&repo=demo").body] == ["demo-1"]
        assert api.get("/tasks?state=merged").body == []
        assert "+line" in api.get("/tasks/demo-1/diff").body["diff"]
        assert api.get("/tasks/demo-1/history").body[0]["kind"] == "added"
        told = {"task": "demo-1", "attempt": 1, "kind": "printed", "text": "working", "tool": ""}
        transcript = api.get("/tasks/demo-1/transcript")
        assert (transcript.headers["Content-Type"], transcript.body) == ("application/x-ndjson", told)
        assert api.get("/tasks/demo-1/transcript?attempt=1").body == told
        assert api.get("/tasks/demo-1/transcript?attempt=2").status == 404
        rejected = api.post("/tasks/demo-1/reject", {"by": "ada", "feedback": "once more"})
        assert (rejected.status, rejected.body["rejections"]) == (200, 1)
        project.command("run", code=4)
        head = api.get("/tasks/demo-1").body["commits"]["head"]
        assert api.post("/tasks/demo-1/approve", {"by": "ada", "commit": shown["commits"]["head"]}).status == 409
        assert api.post("/tasks/demo-1/approve", {"by": "ada", "commit": head}).status == 200
        project.command("run")
        assert api.get("/tasks/demo-1").body["commits"]["landed"] == git(project.repo, "rev-parse", "main")
        assert api.post("/tasks/demo-1/cancel", {"by": "ada"}).code == "refused"


def test_health_needs_no_token_and_everything_else_does(quiet: Api) -> None:
    assert quiet.get("/health", Authorization="").body["status"] == "ok"
    for method, path in (
        ("GET", "/status"),
        ("GET", "/tasks"),
        ("GET", "/tasks/demo-1"),
        ("GET", "/tasks/demo-1/diff"),
        ("GET", "/tasks/demo-1/history"),
        ("GET", "/tasks/demo-1/transcript"),
        ("POST", "/tasks"),
        ("POST", "/tasks/demo-1/approve"),
        ("POST", "/tasks/demo-1/reject"),
        ("POST", "/tasks/demo-1/retry"),
        ("POST", "/tasks/demo-1/cancel"),
        ("GET", "/nowhere"),
        ("OPTIONS", "/tasks"),
    ):
        for authorization in ("", "Bearer", "Bearer wrong", f"Basic {quiet.token}", quiet.token):
            answer = quiet.call(method, path, {}, Authorization=authorization)
            assert (answer.status, answer.code) == (401, "unauthorized"), (method, path, authorization)
            assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_page_from_elsewhere_whose_name_points_here_is_refused(quiet: Api) -> None:
    for host in ("evil.example", f"evil.example:{quiet.port}", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]"):
        answer = quiet.get("/health", Host=host) if host else quiet.get("/health", Host=" ")
        assert (answer.status, answer.code) == (403, "forbidden"), host
    for host in ("localhost", f"LOCALHOST:{quiet.port}", f"127.0.0.1:{quiet.port}", "[::1]:80"):
        assert quiet.get("/health", Host=host).status == 200, host


def test_bodies_must_be_json_and_must_fit(quiet: Api) -> None:
    fine = {"by": "ada", "title": "x"}
    for content_type in ("", "text/plain", "application/x-www-form-urlencoded"):
        answer = quiet.post("/tasks", fine, Content_Type=content_type)
        assert (answer.status, answer.code) == (415, "media-type")
    for raw in (b"", b"[", b"null", b"[]", b'"x"', b"\xff", b"[" * 100_000):
        answer = quiet.call("POST", "/tasks", raw=raw)
        assert (answer.status, answer.code) == (400, "usage"), raw[:10]
    for body, words in (
        ({"by": "ada"}, "title: is missing"),
        ({"title": "x"}, "by: is missing"),
        ({**fine, "titel": "y"}, "titel"),
        ({**fine, "priority": "high"}, "priority"),
        ({**fine, "depends_on": "demo-1"}, "depends_on"),
        ({**fine, "title": ""}, "the title is empty"),
        ({**fine, "title": "a\x1bb"}, "control character"),
        ({**fine, "title": "x" * 10_000}, "more than 300"),
        ({**fine, "by": " "}, "who asks"),
    ):
        answer = quiet.post("/tasks", body)
        assert (answer.status, answer.code) == (400, "usage"), body
        assert words in answer.body["error"]["message"]
    assert quiet.get("/tasks").body == [] or all(task["title"] != "x" for task in quiet.get("/tasks").body)


def test_a_body_that_is_too_large_is_refused(quiet: Api) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", quiet.port, timeout=30)
    try:
        connection.putrequest("POST", "/tasks")
        connection.putheader("Authorization", f"Bearer {quiet.token}")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(2**30))
        connection.endheaders()
        assert connection.getresponse().status == 413
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/tasks/demo-99", None, 404, "not-found"),
        ("GET", "/tasks/other-1", None, 404, "not-found"),
        ("GET", "/tasks/x", None, 404, "not-found"),
        ("GET", "/tasks/demo-99/diff", None, 404, "not-found"),
        ("GET", "/tasks/demo-99/history", None, 404, "not-found"),
        ("GET", "/tasks/demo-99/diff?attempt=no", None, 400, "usage"),
        ("GET", "/tasks?repo=other", None, 404, "not-found"),
        ("GET", "/tasks?state=doen", None, 400, "usage"),
        ("GET", "/nowhere", None, 404, "not-found"),
        ("DELETE", "/tasks", None, 405, "method-not-allowed"),
        ("POST", "/tasks/demo-99/approve", {"by": "ada"}, 404, "not-found"),
        ("POST", "/tasks/demo-99/merge", {"by": "ada"}, 404, "not-found"),
        ("POST", "/tasks/demo-99/reject", {"by": "ada"}, 400, "usage"),
        ("POST", "/tasks", {"by": "ada", "title": "x", "repo": "other"}, 404, "not-found"),
        ("POST", "/tasks", {"by": "ada", "title": "x", "depends_on": ["demo-99"]}, 404, "not-found"),
    ],
)
def test_errors_have_a_fitting_status_and_one_shape(
    quiet: Api, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = quiet.call(method, path, body)
    assert (answer.status, answer.code) == (status, code)
    assert set(answer.body["error"]) == {"code", "message", "remedy"}


def test_a_call_that_is_sent_again_with_its_key_is_done_once(quiet: Api) -> None:
    body = {"by": "ada", "title": "Only once"}
    first = quiet.post("/tasks", body, Idempotency_Key="k-1")
    again = quiet.post("/tasks", body, Idempotency_Key="k-1")
    other = quiet.post("/tasks", body, Idempotency_Key="k-2")
    assert first.body["id"] == again.body["id"] != other.body["id"]
    # The same key on another path is another call.
    assert quiet.post(f"/tasks/{first.body['id']}/cancel", {"by": "ada"}, Idempotency_Key="k-1").status == 200
    assert quiet.get(f"/tasks/{first.body['id']}").body["state"] == "cancelled"
    assert quiet.post(f"/tasks/{first.body['id']}/retry", {"by": "ada"}).body["state"] == "pending"


def test_many_calls_at_once_are_all_answered(quiet: Api) -> None:
    before = len(quiet.get("/tasks").body)
    with ThreadPoolExecutor(24) as pool:
        added = list(pool.map(lambda n: quiet.post("/tasks", {"by": "ada", "title": f"Task {n}"}), range(48)))
    assert [answer.status for answer in added] == [201] * 48
    assert len({answer.body["id"] for answer in added}) == 48
    assert len(quiet.get("/tasks").body) == before + 48


def test_the_status_tells_of_every_actor(quiet: Api) -> None:
    body = quiet.get("/status").body
    assert body["directory"] == str(quiet.project.directory)
    assert body["digest"] == quiet.project.json("status")["digest"]
    assert [repo["repo"] for repo in body["repos"]] == ["demo"]
    assert body["schedule"]["missing"] == []
    assert "api" in {peer["name"] for peer in body["broker"]["peers"]}


def test_it_listens_on_loopback_alone(quiet: Api) -> None:
    import psutil

    api = next(row for row in quiet.project.json("status")["actors"] if row["name"] == "api")
    listening = [one for one in psutil.Process(api["pid"]).net_connections("inet") if one.status == "LISTEN"]
    assert [one.laddr.ip for one in listening] == ["127.0.0.1"]


def test_a_port_in_use_is_told_with_the_key_that_changes_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BusyError, match=rf"cannot listen on port {port} .*\[api\] port"):
            api.listening(port)


def test_what_went_down_leaves_no_address_behind(tmp_path: Path) -> None:
    project = ThrumProject(tmp_path)
    with project.up():
        assert (tmp_path / ".thrum/api").exists()
        project.command("down")
        assert not (tmp_path / ".thrum/api").exists()


def test_without_the_api_nothing_listens(tmp_path: Path) -> None:
    project = ThrumProject(tmp_path, pipeline="[api]\nenabled = false\n")
    with project.up() as state:
        assert state["api"] == ""
        assert "api" not in {actor["name"] for actor in state["actors"]}


def test_every_error_of_ours_has_a_status() -> None:
    def codes(cls: type[ThrumError]) -> set[str]:
        return {cls.code}.union(*map(codes, cls.__subclasses__()))

    # Those that are nobody's request: they are a fault on this side, and answered with 500.
    ours = {"error", "tool", "git", "repository", "sandbox", "store", "store-damaged", "wire", "transition", "config"}
    assert codes(ThrumError) - set(STATUS) <= ours
