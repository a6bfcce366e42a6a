"""The four ways of talking to a language model over HTTP: what a request says, and how an answer is written.

Pure: `thrum.scripted.server` moves the bytes. A dialect knows its paths, reads a request into `Asked`, and writes a
`Reply` as one JSON object or as server-sent events, and a failure as its provider words it.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from thrum.scripted.conversation import Asked, Failure, Reply, Turn, text_of

INPUT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS = 1200, 200, 80
"""What each answer is said to have taken; the cached ones are part of the input."""

Event = tuple[str, dict[str, Any]]
"""The name of a server-sent event, empty where the API names none, and its data."""

_ids = itertools.count(1)


def _new_id(prefix: str) -> str:
    return f"{prefix}_{next(_ids):06d}"


class Anthropic:
    """`POST …/v1/messages`"""

    api = "anthropic"

    def fits(self, path: str) -> bool:
        return path.endswith("/v1/messages")

    def read(self, path: str, body: dict[str, Any]) -> Asked:
        system = [text_of(body.get("system"))]
        turns = []
        for message in body.get("messages", []):
            content, role = message["content"], message["role"]
            if role == "system":
                system.append(text_of(content))
                continue
            parts = [{"text": content}] if isinstance(content, str) else content
            results = [part for part in parts if part.get("type") == "tool_result"]
            if results:
                turns.append(Turn(role="tool", text=text_of(results)))
            rest = text_of([part for part in parts if part.get("type") != "tool_result"])
            if rest or not results:
                # What a program adds to a result is no new word of the user, unless it was cut off in its tool.
                turns.append(Turn(role="beside" if results else role, text=rest))
        tools = {tool["name"]: tool["input_schema"] for tool in body.get("tools", []) if "input_schema" in tool}
        return Asked(
            api=self.api,
            path=path,
            model=body.get("model", ""),
            stream=bool(body.get("stream")),
            system="\n".join(system),
            turns=tuple(turns),
            tools=tools,
        )

    def whole(self, asked: Asked, reply: Reply) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": reply.text}] if reply.text else []
        if reply.tool:
            content.append({"type": "tool_use", "id": _new_id("toolu"), "name": reply.tool, "input": reply.arguments})
        reason = "refusal" if reply.refused else "tool_use" if reply.tool else "end_turn"
        usage = {
            "input_tokens": INPUT_TOKENS - CACHED_TOKENS,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": CACHED_TOKENS,
            "output_tokens": OUTPUT_TOKENS,
        }
        return {
            "id": _new_id("msg"),
            "type": "message",
            "role": "assistant",
            "model": asked.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": usage,
        }

    def events(self, asked: Asked, reply: Reply) -> Iterator[Event]:
        whole = self.whole(asked, reply)
        begun = {**whole, "content": [], "stop_reason": None}
        yield "message_start", {"type": "message_start", "message": begun}
        for index, block in enumerate(whole["content"]):
            if block["type"] == "text":
                empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
            else:
                arguments = json.dumps(block["input"])
                empty, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": arguments}
            yield "content_block_start", {"type": "content_block_start", "index": index, "content_block": empty}
            yield "content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}
            yield "content_block_stop", {"type": "content_block_stop", "index": index}
        ended = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        yield "message_delta", {"type": "message_delta", "delta": ended, "usage": {"output_tokens": OUTPUT_TOKENS}}
        yield "message_stop", {"type": "message_stop"}

    def failure(self, failure: Failure) -> dict[str, Any]:
        kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large"}
        kinds |= {400: "invalid_request_error", 429: "rate_limit_error", 529: "overloaded_error"}
        messages = {
            "overflow": "prompt is too long: 210000 tokens > 200000 maximum",
            "overloaded": "Overloaded",
            "quota": "Your credit balance is too low to access the Anthropic API.",
        }
        message = failure.message or messages.get(failure.kind, f"the scripted model answers {failure.status}")
        return {"type": "error", "error": {"type": kinds.get(failure.status, "api_error"), "message": message}}


class _OpenAI:
    """What the two APIs of OpenAI have in common."""

    def failure(self, failure: Failure) -> dict[str, Any]:
        codes = {401: "invalid_api_key", 429: "rate_limit_exceeded", 503: "server_is_overloaded"}
        kinds = {401: "invalid_request_error", 400: "invalid_request_error", 429: "requests"}
        code, kind = codes.get(failure.status), kinds.get(failure.status, "server_error")
        message = failure.message or f"the scripted model answers {failure.status}"
        if failure.kind == "overflow":
            code = "context_length_exceeded"
            message = "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000."
        elif failure.kind == "quota":
            code = kind = "insufficient_quota"
            message = "You exceeded your current quota, please check your plan and billing details."
            if failure.resets_at is not None:
                code = kind = "usage_limit_reached"
                message = "The usage limit has been reached"
        error = {"message": message, "type": kind, "param": None, "code": code}
        return {"error": error if failure.resets_at is None else {**error, "resets_at": failure.resets_at}}


class Chat(_OpenAI):
    """`POST …/chat/completions` of OpenAI, which many others speak too."""

    api = "chat"

    def fits(self, path: str) -> bool:
        return path.endswith("/chat/completions")

    def read(self, path: str, body: dict[str, Any]) -> Asked:
        system, turns = [], []
        for message in body.get("messages", []):
            if message["role"] in ("system", "developer"):
                system.append(text_of(message.get("content")))
            else:
                turns.append(Turn(role=message["role"], text=text_of(message.get("content"))))
        offered = [tool["function"] for tool in body.get("tools") or [] if "function" in tool]
        return Asked(
            api=self.api,
            path=path,
            model=body.get("model", ""),
            stream=bool(body.get("stream")),
            system="\n".join(system),
            turns=tuple(turns),
            tools={tool["name"]: tool.get("parameters") or {} for tool in offered},
        )

    def whole(self, asked: Asked, reply: Reply) -> dict[str, Any]:
        message, reason = self._message(reply)
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return self._head(asked, "chat.completion", [choice]) | {"usage": self._usage()}

    def events(self, asked: Asked, reply: Reply) -> Iterator[Event]:
        message, reason = self._message(reply)
        calls = [{"index": 0, **call} for call in message.get("tool_calls", ())]
        delta = {**message, "tool_calls": calls} if calls else message
        kind = "chat.completion.chunk"
        yield "", self._head(asked, kind, [{"index": 0, "delta": delta, "finish_reason": None}])
        yield "", self._head(asked, kind, [{"index": 0, "delta": {}, "finish_reason": reason}])
        yield "", self._head(asked, kind, []) | {"usage": self._usage()}

    @staticmethod
    def _message(reply: Reply) -> tuple[dict[str, Any], str]:
        if reply.refused:
            return {"role": "assistant", "content": None, "refusal": reply.text}, "content_filter"
        message: dict[str, Any] = {"role": "assistant", "content": reply.text}
        if not reply.tool:
            return message, "stop"
        called = {"name": reply.tool, "arguments": json.dumps(reply.arguments)}
        return message | {"tool_calls": [{"id": _new_id("call"), "type": "function", "function": called}]}, "tool_calls"

    @staticmethod
    def _head(asked: Asked, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "object": kind, "created": 1_700_000_000, "model": asked.model, "choices": choices}

    @staticmethod
    def _usage() -> dict[str, Any]:
        return {
            "prompt_tokens": INPUT_TOKENS,
            "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
            "completion_tokens": OUTPUT_TOKENS,
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        }


class Responses(_OpenAI):
    """`POST …/responses` of OpenAI."""

    api = "responses"

    def fits(self, path: str) -> bool:
        return path.endswith("/responses")

    def read(self, path: str, body: dict[str, Any]) -> Asked:
        system, turns, beside = [text_of(body.get("instructions"))], [], []
        given = body.get("input", [])
        items: list[dict[str, Any]] = [{"role": "user", "content": given}] if isinstance(given, str) else given
        for item in items:
            kind, role = item.get("type", "message"), item.get("role", "")
            if kind == "message" and role in ("system", "developer"):
                system.append(text_of(item.get("content")))
            elif kind == "message":
                turns.append(Turn(role=role, text=text_of(item.get("content"))))
            elif kind == "additional_tools":
                beside += [tool for group in item["tools"] for tool in group.get("tools", [group])]
            elif kind.endswith("_output"):
                turns.append(Turn(role="tool", text=text_of(item.get("output"))))
            elif kind.endswith("_call"):
                turns.append(Turn(role="assistant", text=""))
        offered = [tool for tool in (body.get("tools") or []) + beside if tool.get("type") in ("function", "custom")]
        return Asked(
            api=self.api,
            path=path,
            model=body.get("model", ""),
            stream=bool(body.get("stream")),
            system="\n".join(system),
            turns=tuple(turns),
            tools={tool["name"]: tool.get("parameters") or {"type": tool["type"]} for tool in offered},
        )

    def whole(self, asked: Asked, reply: Reply) -> dict[str, Any]:
        output: list[dict[str, Any]] = []
        if reply.text:
            said: dict[str, Any] = {"type": "refusal", "refusal": reply.text}
            if not reply.refused:
                said = {"type": "output_text", "text": reply.text, "annotations": []}
            message: dict[str, Any] = {"type": "message", "id": _new_id("msg"), "role": "assistant"}
            output.append(message | {"status": "completed", "content": [said]})
        if reply.tool and asked.tools[reply.tool].get("type") == "custom":
            call = {"type": "custom_tool_call", "id": _new_id("ctc"), "call_id": _new_id("call"), "status": "completed"}
            output.append(call | {"name": reply.tool, "input": reply.arguments["input"]})
        elif reply.tool:
            call = {"type": "function_call", "id": _new_id("fc"), "call_id": _new_id("call"), "status": "completed"}
            output.append(call | {"name": reply.tool, "arguments": json.dumps(reply.arguments)})
        usage = {
            "input_tokens": INPUT_TOKENS,
            "input_tokens_details": {"cached_tokens": CACHED_TOKENS},
            "output_tokens": OUTPUT_TOKENS,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        }
        head = {"id": _new_id("resp"), "object": "response", "created_at": 1_700_000_000, "model": asked.model}
        return {**head, "status": "completed", "output": output, "usage": usage}

    def events(self, asked: Asked, reply: Reply) -> Iterator[Event]:
        whole = self.whole(asked, reply)
        begun = {**whole, "status": "in_progress", "output": [], "usage": None}
        yield "response.created", {"type": "response.created", "response": begun}
        for index, item in enumerate(whole["output"]):
            for kind in ("response.output_item.added", "response.output_item.done"):
                yield kind, {"type": kind, "output_index": index, "item": item}
        yield "response.completed", {"type": "response.completed", "response": whole}


class Gemini:
    """`POST …/models/NAME:generateContent` and `:streamGenerateContent`"""

    api = "gemini"
    _PATH = re.compile(r"/models/([^/:]+):(g|streamG)enerateContent$")

    def fits(self, path: str) -> bool:
        return self._PATH.search(path) is not None

    def read(self, path: str, body: dict[str, Any]) -> Asked:
        named = self._PATH.search(path)
        assert named
        turns = []
        for content in body.get("contents", []):
            parts = content.get("parts", [])
            role = "assistant" if content.get("role") == "model" else "user"
            role = "tool" if any("functionResponse" in part for part in parts) else role
            turns.append(Turn(role=role, text=text_of(parts)))
        offered = [tool for group in body.get("tools") or [] for tool in group.get("functionDeclarations", ())]
        schemas = {tool["name"]: tool.get("parametersJsonSchema") or tool.get("parameters") or {} for tool in offered}
        wanted = body.get("generationConfig") or {}
        return Asked(
            api=self.api,
            path=path,
            model=named[1],
            stream=named[2] == "streamG",
            system=text_of((body.get("systemInstruction") or {}).get("parts")),
            turns=tuple(turns),
            tools=schemas,
            schema=wanted.get("responseJsonSchema") or wanted.get("responseSchema") or {},
        )

    def whole(self, asked: Asked, reply: Reply) -> dict[str, Any]:
        parts: list[dict[str, Any]] = [{"text": reply.text}] if reply.text and not reply.refused else []
        if reply.tool:
            parts.append({"functionCall": {"name": reply.tool, "args": reply.arguments}})
        reason = "PROHIBITED_CONTENT" if reply.refused else "STOP"
        usage = {
            "promptTokenCount": INPUT_TOKENS,
            "cachedContentTokenCount": CACHED_TOKENS,
            "candidatesTokenCount": OUTPUT_TOKENS,
            "totalTokenCount": INPUT_TOKENS + OUTPUT_TOKENS,
        }
        candidate = {"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": 0}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": asked.model}

    def events(self, asked: Asked, reply: Reply) -> Iterator[Event]:
        yield "", self.whole(asked, reply)

    def failure(self, failure: Failure) -> dict[str, Any]:
        words = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED"}
        words |= {500: "INTERNAL", 503: "UNAVAILABLE"}
        message = failure.message or f"the scripted model answers {failure.status}"
        details: list[dict[str, Any]] = []
        if failure.kind == "overflow":
            message = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
        elif failure.kind == "quota":
            message = "You exceeded your current quota, please check your plan and billing details."
            violation = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}
            details.append({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]})
        if failure.retry_after_s is not None:
            delay = f"{failure.retry_after_s:g}s"
            details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
        status = words.get(failure.status, "UNKNOWN")
        return {"error": {"code": failure.status, "message": message, "status": status, "details": details}}


Dialect = Anthropic | Chat | Responses | Gemini
DIALECTS: tuple[Dialect, ...] = (Anthropic(), Chat(), Responses(), Gemini())
