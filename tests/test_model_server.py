"""The scripted model that the tests of real agent programs run against."""

from __future__ import annotations

import http.client
import json
import threading
import time
from typing import Any

import pytest

from thrum.scripted import (
    MARK,
    ModelServer,
    cut,
    fail,
    hang,
    overflow,
    overloaded,
    plan,
    quota,
    refuse,
    run,
    say,
    write,
)
from thrum.scripted.conversation import Asked
from thrum.scripted.dialects import CACHED_TOKENS, INPUT_TOKENS, OUTPUT_TOKENS, Anthropic, Chat, Gemini, Responses
from thrum.scripted.server import BODY_BYTES

SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
PATHS = {
    "anthropic": "/v1/messages",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "gemini": "/v1beta/models/m-1:generateContent",
}
APIS = sorted(PATHS)


def body(api: str, prompt: str, *, tools: bool = True, results: int = 0, stream: bool = False) -> dict[str, Any]:
    """A request of that API, after so many calls of a tool."""
    match api:
        case "anthropic":
            turns: list[Any] = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
            for number in range(results):
                call = {"type": "tool_use", "id": f"t{number}", "name": "Bash", "input": {}}
                result = {"type": "tool_result", "tool_use_id": f"t{number}", "content": f"result {number}"}
                turns += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
            offered = [{"name": "Bash", "input_schema": SCHEMA}] if tools else []
            return {"model": "m-1", "system": "be good", "messages": turns, "tools": offered, "stream": stream}
        case "chat":
            turns = [{"role": "system", "content": "be good"}, {"role": "user", "content": prompt}]
            for number in range(results):
                turns += [{"role": "assistant", "content": ""}, {"role": "tool", "content": f"result {number}"}]
            offered = [{"type": "function", "function": {"name": "bash", "parameters": SCHEMA}}] if tools else []
            return {"model": "m-1", "messages": turns, "tools": offered, "stream": stream}
        case "responses":
            turns = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": prompt}]}]
            for number in range(results):
                turns.append({"type": "function_call", "call_id": str(number), "name": "shell", "arguments": "{}"})
                turns.append({"type": "function_call_output", "call_id": str(number), "output": f"result {number}"})
            offered = [{"type": "function", "name": "shell", "parameters": SCHEMA}] if tools else []
            return {"model": "m-1", "instructions": "be good", "input": turns, "tools": offered, "stream": stream}
    turns = [{"role": "user", "parts": [{"text": prompt}]}]
    for number in range(results):
        turns.append({"role": "model", "parts": [{"functionCall": {"name": "run_shell_command", "args": {}}}]})
        response = {"name": "run_shell_command", "response": {"output": f"result {number}"}}
        turns.append({"role": "user", "parts": [{"functionResponse": response}]})
    declared = [{"functionDeclarations": [{"name": "run_shell_command", "parameters": SCHEMA}]}] if tools else []
    return {"systemInstruction": {"parts": [{"text": "be good"}]}, "contents": turns, "tools": declared}


def post(model: ModelServer, path: str, sent: object, **headers: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", model.port, timeout=20)
    try:
        data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        connection.request("POST", path, data, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def ask(model: ModelServer, api: str, prompt: str, **more: Any) -> tuple[int, dict[str, Any]]:
    status, _, text = post(model, PATHS[api], body(api, prompt, **more))
    return status, json.loads(text)


def called(api: str, answer: dict[str, Any]) -> str:
    """The command of the tool that the answer calls; empty without one."""
    match api:
        case "anthropic":
            calls = [part["input"] for part in answer["content"] if part["type"] == "tool_use"]
        case "chat":
            message = answer["choices"][0]["message"]
            calls = [json.loads(call["function"]["arguments"]) for call in message.get("tool_calls", ())]
        case "responses":
            calls = [json.loads(part["arguments"]) for part in answer["output"] if part["type"] == "function_call"]
        case _:
            parts = answer["candidates"][0]["content"]["parts"]
            calls = [part["functionCall"]["args"] for part in parts if "functionCall" in part]
    return str(calls[0]["command"]) if calls else ""


@pytest.mark.parametrize("api", APIS)
def test_the_steps_of_a_plan_follow_the_conversation(api: str) -> None:
    prompt = "Do it.\n" + plan(run("echo one"), run("echo two"), say("that was it"))
    with ModelServer() as model:
        first, second, last = (ask(model, api, prompt, results=number)[1] for number in range(3))
        assert (called(api, first), called(api, second), called(api, last)) == ("echo one", "echo two", "")
        assert "that was it" in json.dumps(last)


@pytest.mark.parametrize("api", APIS)
def test_the_same_request_gets_the_same_step_again(api: str) -> None:
    prompt = plan(run("echo one"), say("done"))
    with ModelServer() as model:
        assert [called(api, ask(model, api, prompt)[1]) for _ in range(2)] == ["echo one", "echo one"]


@pytest.mark.parametrize("api", APIS)
def test_what_was_asked_is_kept(api: str) -> None:
    with ModelServer() as model:
        headers = {"Authorization": "Bearer k-1"}
        post(model, PATHS[api], body(api, "please " + plan(say("x")), results=2), **headers)
        [asked] = model.asked
    assert (asked.api, asked.model, asked.system, asked.key) == (api, "m-1", "be good", "k-1")
    assert asked.prompt.startswith("please ")
    assert [json.loads(text)["output"] if api == "gemini" else text for text in asked.results] == [
        "result 0",
        "result 1",
    ]


@pytest.mark.parametrize("api", APIS)
def test_a_stream_ends_as_its_api_says(api: str) -> None:
    path = "/v1beta/models/m-1:streamGenerateContent" if api == "gemini" else PATHS[api]
    with ModelServer(run("true")) as model:
        status, headers, text = post(model, path, body(api, "go", stream=True))
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    ends = {"anthropic": "message_stop", "chat": "[DONE]", "responses": "response.completed", "gemini": "STOP"}
    assert ends[api] in events[-1]
    for event in events[: -1 if api == "chat" else None]:
        json.loads(event)


@pytest.mark.parametrize("api", APIS)
def test_every_answer_says_what_it_took(api: str) -> None:
    with ModelServer(say("x")) as model:
        answer = ask(model, api, "go")[1]
    usage = answer.get("usage") or answer["usageMetadata"]
    numbers = {value for value in usage.values() if isinstance(value, int)}
    assert OUTPUT_TOKENS in numbers
    assert INPUT_TOKENS in numbers or INPUT_TOKENS - CACHED_TOKENS in numbers


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("status", [401, 429, 500])
def test_a_failure_is_an_http_error_of_that_api(api: str, status: int) -> None:
    with ModelServer(fail(status, retry_after_s=7, message="because")) as model:
        got, headers, text = post(model, PATHS[api], body(api, "go"))
    assert (got, headers["retry-after"], json.loads(text)["error"]["message"]) == (status, "7", "because")


def test_a_failure_with_a_count_passes() -> None:
    prompt = plan(fail(500, times=2), say("better"))
    with ModelServer() as model:
        assert [ask(model, "chat", prompt)[0] for _ in range(3)] == [500, 500, 200]


def test_a_failure_that_a_conversation_went_past_is_over() -> None:
    prompt = plan(fail(500, times=9), run("true"), say("better"))
    with ModelServer() as model:
        assert ask(model, "chat", prompt, results=1)[0] == 200


def test_a_failure_behind_a_step_waits_for_it() -> None:
    prompt = plan(run("true"), fail(500), say("never"))
    with ModelServer() as model:
        assert [ask(model, "responses", prompt, results=number)[0] for number in (0, 1, 1)] == [200, 500, 500]


@pytest.mark.parametrize("api", APIS)
def test_an_overflow_and_a_quota_are_worded_as_the_provider_does(api: str) -> None:
    with ModelServer() as model:
        status, answer = ask(model, api, plan(overflow()))
        assert status == 400
        assert any(word in json.dumps(answer) for word in ("too long", "context_length_exceeded", "maximum number"))
        status, answer = ask(model, api, plan(quota(resets_at=1_900_000_000)))
        assert status in (400, 429)
        assert any(word in json.dumps(answer) for word in ("credit balance", "usage_limit_reached", "QuotaFailure"))
        assert ask(model, api, plan(overloaded()))[0] == (529 if api == "anthropic" else 503)


@pytest.mark.parametrize("api", APIS)
def test_a_refusal_is_an_answer(api: str) -> None:
    with ModelServer(refuse("no")) as model:
        status, answer = ask(model, api, "go")
    assert status == 200
    assert any(word in json.dumps(answer) for word in ('"refusal"', "PROHIBITED_CONTENT"))


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_is_cut_is_seen_as_such(stream: bool) -> None:
    with ModelServer(cut()) as model, pytest.raises((http.client.IncompleteRead, ConnectionError)):
        post(model, PATHS["chat"], body("chat", "go", stream=stream))


def test_closing_ends_an_answer_that_hangs() -> None:
    model = ModelServer(hang())
    ended = threading.Event()

    def asking() -> None:
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            ask(model, "chat", "go")
        ended.set()

    thread = threading.Thread(target=asking)
    thread.start()
    deadline = time.monotonic() + 20
    while not model.asked and time.monotonic() < deadline:
        thread.join(0.01)
    model.close()
    thread.join(20)
    assert ended.is_set()


def test_the_newest_turn_with_a_plan_counts() -> None:
    conversation = body("chat", plan(say("old")), results=1)
    conversation["messages"].append({"role": "assistant", "content": "old"})
    conversation["messages"].append({"role": "user", "content": plan(run("echo new"), say("end"))})
    with ModelServer() as model:
        assert called("chat", json.loads(post(model, PATHS["chat"], conversation)[2])) == "echo new"


def test_a_plan_that_comes_along_with_the_result_of_a_tool_that_was_cut_off_counts() -> None:
    conversation = body("anthropic", plan(run("sleep 100"), say("old")), results=1)
    conversation["messages"][-1]["content"].append({"type": "text", "text": plan(run("echo new"), say("end"))})
    with ModelServer() as model:
        assert called("anthropic", json.loads(post(model, PATHS["anthropic"], conversation)[2])) == "echo new"


def test_a_request_on_the_side_takes_no_step_and_never_fails() -> None:
    with ModelServer() as model:
        status, answer = ask(model, "chat", "A title for this: " + plan(fail(500, times=1), say("x")), tools=False)
        assert (status, called("chat", answer)) == (200, "")
        assert ask(model, "chat", plan(fail(500, times=1), say("x")))[0] == 500


@pytest.mark.parametrize(("told", "wanted"), [("*SEARCH/REPLACE*", "<<<<<<< SEARCH"), ("*file listing*", "a.txt\n```")])
def test_a_program_without_tools_is_given_its_edits_in_words(told: str, wanted: str) -> None:
    with ModelServer() as model:
        _, answer = ask(model, "chat", f"{told} {plan(write('a.txt', 'hi'))}", tools=False)
    assert wanted in answer["choices"][0]["message"]["content"]


@pytest.mark.parametrize("told", ["*SEARCH/REPLACE*", "*file listing*"])
def test_an_edit_in_words_may_have_a_text_before_it(told: str) -> None:
    with ModelServer() as model:
        _, answer = ask(model, "chat", f"{told} {plan(write('a.txt', 'hi', saying='so be it'))}", tools=False)
    assert answer["choices"][0]["message"]["content"].startswith("so be it\n\na.txt\n```")


def test_a_file_is_written_by_the_shell() -> None:
    with ModelServer(write("a b.txt", "it's")) as model:
        assert called("gemini", ask(model, "gemini", "go")[1]) == """printf %s 'it'"'"'s' > 'a b.txt'"""


def test_where_the_end_is_a_command_a_text_ends_by_it() -> None:
    prompt = f"when done: COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT {plan(say('it is done'))}"
    with ModelServer() as model:
        assert "it is done" in called("chat", ask(model, "chat", prompt)[1])


def test_a_shell_that_takes_a_list_is_given_one() -> None:
    sent = body("chat", plan(run("echo 1")))
    schema = {"properties": {"command": {"type": "array"}, "why": {"type": "string"}}, "required": ["command", "why"]}
    sent["tools"][0]["function"]["parameters"] = schema
    with ModelServer() as model:
        [call] = json.loads(post(model, PATHS["chat"], sent)[2])["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"command": ["bash", "-c", "echo 1"], "why": "a step"}


@pytest.mark.parametrize("sent", [b"", b"{", b"[]", b'{"messages": 3}', b'{"messages": [{}]}', b"\xff\xfe"])
def test_what_is_no_request_is_refused(sent: bytes) -> None:
    with ModelServer() as model:
        assert post(model, PATHS["chat"], sent)[0] == 400
        assert not model.asked


def test_a_plan_that_is_none_is_told_in_words() -> None:
    with ModelServer() as model:
        assert "there is no plan" in json.dumps(ask(model, "chat", f"{MARK} what?")[1])


def test_a_body_that_is_too_large_is_refused_unread() -> None:
    with ModelServer() as model:
        connection = http.client.HTTPConnection("127.0.0.1", model.port, timeout=20)
        connection.putrequest("POST", PATHS["chat"])
        connection.putheader("Content-Length", str(BODY_BYTES + 1))
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()


def test_other_paths_are_not_found_and_kept() -> None:
    with ModelServer() as model:
        assert post(model, "/v1/telemetry", {})[0] == 404
        assert post(model, "/v1/messages/count_tokens", {})[0] == 200
        assert model.unknown == ["POST /v1/telemetry"]


def test_an_answer_fits_the_schema_that_was_asked_for() -> None:
    score = {"type": "OBJECT", "properties": {"score": {"type": "INTEGER", "minimum": 2}, "why": {"type": "STRING"}}}
    sent = body("gemini", "rate it", tools=False) | {"generationConfig": {"responseSchema": score}}
    with ModelServer() as model:
        answer = json.loads(post(model, PATHS["gemini"], sent)[2])
    assert json.loads(answer["candidates"][0]["content"]["parts"][0]["text"]) == {"score": 2, "why": "a text"}


def test_as_a_proxy_it_serves_plain_http_and_tells_which_other_hosts_were_wanted() -> None:
    with ModelServer(say("hi")) as model:
        assert post(model, f"http://model.test{PATHS['chat']}", body("chat", "go"))[0] == 200
        connection = http.client.HTTPConnection("127.0.0.1", model.port, timeout=20)
        connection.set_tunnel("api.example.org", 443)
        with pytest.raises(OSError, match="403"):
            connection.connect()
        connection.close()
        assert model.unknown == ["CONNECT api.example.org:443"]


def test_a_path_belongs_to_one_api() -> None:
    for dialect in (Anthropic(), Chat(), Responses(), Gemini()):
        assert [api for api, path in PATHS.items() if dialect.fits(path)] == [dialect.api]
        assert isinstance(dialect.read(PATHS[dialect.api], body(dialect.api, "x")), Asked)
