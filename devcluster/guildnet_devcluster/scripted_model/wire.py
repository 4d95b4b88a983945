"""The four wire protocols: parse requests, and write replies as one body or as events. Pure.

An event is (name or None, object or text), as in server-sent events.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from guildnet_devcluster.scripted_model.conversation import (
    Json,
    ModelRequest,
    Reply,
    Tool,
    Usage,
    text_of,
)

Event = tuple[str | None, Json | str]


class Wire(Protocol):
    """One protocol."""

    def parse(self, body: Json, path: str) -> ModelRequest: ...
    def whole(self, reply: Reply, request: ModelRequest, usage: Usage, number: int) -> Json: ...
    def events(
        self, reply: Reply, request: ModelRequest, usage: Usage, number: int
    ) -> list[Event]: ...


def _raw(arguments: Json | str) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


class Anthropic:
    """Messages."""

    def parse(self, body: Json, path: str) -> ModelRequest:
        prompt, results = "", list[str]()
        for message in body["messages"]:
            parts = message["content"] if isinstance(message["content"], list) else []
            found = [text_of(p.get("content")) for p in parts if p.get("type") == "tool_result"]
            if message["role"] == "user" and not found and not results:
                prompt += text_of(message["content"])
            results += found
        return ModelRequest(
            str(body.get("model")),
            bool(body.get("stream")),
            prompt,
            # Tools that run on the endpoint have no schema.
            [
                Tool(t["name"], t["input_schema"])
                for t in body.get("tools") or ()
                if "input_schema" in t
            ],
            results,
            ((body.get("output_config") or {}).get("format") or {}).get("schema"),
        )

    def usage(self, usage: Usage) -> Json:
        return {
            "input_tokens": usage.read - usage.cached - usage.written,
            "cache_creation_input_tokens": usage.written,
            "cache_read_input_tokens": usage.cached,
            "output_tokens": usage.output,
        }

    def whole(self, reply: Reply, request: ModelRequest, usage: Usage, number: int) -> Json:
        content: list[Json] = [{"type": "text", "text": reply.text}]
        if reply.call:
            block: Json = {"type": "tool_use", "id": f"toolu_{number:08d}"}
            content.append({**block, "name": reply.call.tool.name, "input": reply.call.arguments})
        return {
            "id": f"msg_{number:08d}",
            "type": "message",
            "role": "assistant",
            "model": request.model,
            "content": content,
            "stop_reason": "tool_use" if reply.call else "end_turn",
            "stop_sequence": None,
            "usage": self.usage(usage),
        }

    def events(self, reply: Reply, request: ModelRequest, usage: Usage, number: int) -> list[Event]:
        whole = self.whole(reply, request, usage, number)
        initial = {**self.usage(usage), "output_tokens": 1}
        first = {**whole, "content": [], "stop_reason": None, "usage": initial}
        events: list[Json] = [{"type": "message_start", "message": first}]
        for index, block in enumerate(whole["content"]):
            if block["type"] == "text":
                empty = {**block, "text": ""}
                delta = {"type": "text_delta", "text": block["text"]}
            else:
                empty = {**block, "input": {}}
                delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            events += [
                {"type": "content_block_start", "index": index, "content_block": empty},
                {"type": "content_block_delta", "index": index, "delta": delta},
                {"type": "content_block_stop", "index": index},
            ]
        end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        total = {"output_tokens": usage.output}
        events.append({"type": "message_delta", "delta": end, "usage": total})
        events.append({"type": "message_stop"})
        return [(event["type"], event) for event in events]


class Chat:
    """Chat Completions."""

    def parse(self, body: Json, path: str) -> ModelRequest:
        prompt, results = "", list[str]()
        for message in body["messages"]:
            if message["role"] == "tool":
                results.append(text_of(message["content"]))
            elif message["role"] == "user" and not results:
                prompt += text_of(message["content"])
        functions = [t["function"] for t in body.get("tools") or () if t.get("type") == "function"]
        form = body.get("response_format") or {}
        schema = None
        if form.get("type") in ("json_schema", "json_object"):
            schema = (form.get("json_schema") or {}).get("schema") or {"type": "object"}
        return ModelRequest(
            str(body.get("model")),
            bool(body.get("stream")),
            prompt,
            [Tool(f["name"], f.get("parameters") or {}) for f in functions],
            results,
            schema,
            bool((body.get("stream_options") or {}).get("include_usage")),
        )

    def usage(self, usage: Usage) -> Json:
        return {
            "prompt_tokens": usage.read,
            "prompt_tokens_details": {"cached_tokens": usage.cached},
            "completion_tokens": usage.output,
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.read + usage.output,
        }

    def _frame(self, request: ModelRequest, number: int, kind: str, choices: list[Json]) -> Json:
        return {
            "id": f"chatcmpl-{number:08d}",
            "object": kind,
            "created": 1_700_000_000,
            "model": request.model,
            "choices": choices,
        }

    def whole(self, reply: Reply, request: ModelRequest, usage: Usage, number: int) -> Json:
        message: Json = {"role": "assistant", "content": reply.text}
        if reply.call:
            message["tool_calls"] = [self._call(reply, number, _raw(reply.call.arguments))]
        reason = "tool_calls" if reply.call else "stop"
        choice = {"index": 0, "message": message, "finish_reason": reason}
        frame = self._frame(request, number, "chat.completion", [choice])
        return {**frame, "usage": self.usage(usage)}

    def _call(self, reply: Reply, number: int, arguments: str) -> Json:
        assert reply.call is not None
        function = {"name": reply.call.tool.name, "arguments": arguments}
        return {"index": 0, "id": f"call_{number:08d}", "type": "function", "function": function}

    def events(self, reply: Reply, request: ModelRequest, usage: Usage, number: int) -> list[Event]:
        deltas: list[Json] = [{"role": "assistant", "content": reply.text}]
        if reply.call:
            raw = _raw(reply.call.arguments)
            deltas.append({"tool_calls": [self._call(reply, number, "")]})
            deltas.append({"tool_calls": [{"index": 0, "function": {"arguments": raw}}]})
        reason = "tool_calls" if reply.call else "stop"
        kind = "chat.completion.chunk"
        choices: list[Json] = [
            {"index": 0, "delta": delta, "finish_reason": None} for delta in deltas
        ]
        choices.append({"index": 0, "delta": {}, "finish_reason": reason})
        events: list[Event] = [(None, self._frame(request, number, kind, [c])) for c in choices]
        if request.wants_usage:
            frame = self._frame(request, number, kind, [])
            events.append((None, {**frame, "usage": self.usage(usage)}))
        return [*events, (None, "[DONE]")]


class Responses:
    """Responses."""

    def parse(self, body: Json, path: str) -> ModelRequest:
        prompt, results = "", list[str]()
        given = body["input"]
        items = given if isinstance(given, list) else [{"role": "user", "content": given}]
        for item in items:
            if item.get("type") in ("function_call_output", "custom_tool_call_output"):
                results.append(text_of(item["output"]))
            elif item.get("role") == "user" and not results:
                prompt += text_of(item["content"])
        tools = [
            Tool(t["name"], t.get("parameters") or {}, t["type"] == "custom")
            for t in body.get("tools") or ()
            if t.get("type") in ("function", "custom")
        ]
        schema = ((body.get("text") or {}).get("format") or {}).get("schema")
        stream = bool(body.get("stream"))
        return ModelRequest(str(body.get("model")), stream, prompt, tools, results, schema)

    def usage(self, usage: Usage) -> Json:
        return {
            "input_tokens": usage.read,
            "input_tokens_details": {"cached_tokens": usage.cached},
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.read + usage.output,
        }

    def whole(self, reply: Reply, request: ModelRequest, usage: Usage, number: int) -> Json:
        part = {"type": "output_text", "text": reply.text, "annotations": []}
        item = {"type": "message", "id": f"msg_{number:08d}", "status": "completed"}
        output: list[Json] = [{**item, "role": "assistant", "content": [part]}]
        if reply.call:
            is_free = reply.call.tool.is_freeform
            output.append(
                {
                    "type": "custom_tool_call" if is_free else "function_call",
                    "id": f"fc_{number:08d}",
                    "status": "completed",
                    "call_id": f"call_{number:08d}",
                    "name": reply.call.tool.name,
                    "input" if is_free else "arguments": _raw(reply.call.arguments),
                }
            )
        return {
            "id": f"resp_{number:08d}",
            "object": "response",
            "created_at": 1_700_000_000,
            "status": "completed",
            "model": request.model,
            "output": output,
            "usage": self.usage(usage),
        }

    def events(self, reply: Reply, request: ModelRequest, usage: Usage, number: int) -> list[Event]:
        whole = self.whole(reply, request, usage, number)
        initial = {**whole, "status": "in_progress", "output": [], "usage": None}
        events: list[Json] = [{"type": "response.created", "response": initial}]
        for index, item in enumerate(whole["output"]):
            events += self._item_events(item, index)
        events.append({"type": "response.completed", "response": whole})
        return [(e["type"], {**e, "sequence_number": n}) for n, e in enumerate(events)]

    def _item_events(self, item: Json, index: int) -> Iterable[Json]:
        empty: Json
        place: Json = {"item_id": item["id"], "output_index": index}
        before: list[Json] = []
        after: list[Json] = []
        if item["type"] == "message":
            place["content_index"], part = 0, item["content"][0]
            stem, name, value, empty = "response.output_text", "text", part["text"], {"content": []}
            added = {"type": "response.content_part.added", "part": {**part, "text": ""}}
            before = [{**added, **place}]
            after = [{"type": "response.content_part.done", "part": part, **place}]
        elif "input" in item:
            stem, name = "response.custom_tool_call_input", "input"
            value, empty = item[name], {name: ""}
        else:
            stem, name = "response.function_call_arguments", "arguments"
            value, empty = item[name], {name: ""}
        opened = {**item, **empty, "status": "in_progress"}
        return [
            {"type": "response.output_item.added", "output_index": index, "item": opened},
            *before,
            {"type": f"{stem}.delta", "delta": value, **place},
            {"type": f"{stem}.done", name: value, **place},
            *after,
            {"type": "response.output_item.done", "output_index": index, "item": item},
        ]


class Gemini:
    """generateContent and streamGenerateContent."""

    def parse(self, body: Json, path: str) -> ModelRequest:
        model, _, action = path.rpartition("/models/")[2].partition(":")
        prompt, results = "", list[str]()
        for part in (p for content in body["contents"] for p in content.get("parts") or ()):
            if "functionResponse" in part:
                response = part["functionResponse"].get("response") or {}
                results.append(text_of(list(response.values())))
            elif not results:
                prompt += text_of(part)
        declared = [
            t for group in body.get("tools") or () for t in group.get("functionDeclarations") or ()
        ]
        tools = [
            Tool(t["name"], t.get("parametersJsonSchema") or t.get("parameters") or {})
            for t in declared
        ]
        config = body.get("generationConfig") or {}
        schema = config.get("responseJsonSchema") or config.get("responseSchema")
        return ModelRequest(model, action.startswith("stream"), prompt, tools, results, schema)

    def usage(self, usage: Usage) -> Json:
        return {
            "promptTokenCount": usage.read,
            "cachedContentTokenCount": usage.cached,
            "candidatesTokenCount": usage.output - usage.reasoning,
            "thoughtsTokenCount": usage.reasoning,
            "totalTokenCount": usage.read + usage.output,
        }

    def _parts(self, reply: Reply, number: int) -> list[Json]:
        parts: list[Json] = [{"text": reply.text}]
        if reply.call:
            call = {"id": f"call{number}", "name": reply.call.tool.name}
            parts.append({"functionCall": {**call, "args": reply.call.arguments}})
        return parts

    def _frame(
        self, parts: list[Json], request: ModelRequest, usage: Usage, number: int, *, last: bool
    ) -> Json:
        candidate: Json = {"index": 0, "content": {"role": "model", "parts": parts}}
        if last:
            candidate["finishReason"] = "STOP"
        return {
            "candidates": [candidate],
            "usageMetadata": self.usage(usage),
            "modelVersion": request.model,
            "responseId": f"r{number}",
        }

    def whole(self, reply: Reply, request: ModelRequest, usage: Usage, number: int) -> Json:
        return self._frame(self._parts(reply, number), request, usage, number, last=True)

    def events(self, reply: Reply, request: ModelRequest, usage: Usage, number: int) -> list[Event]:
        parts = self._parts(reply, number)
        return [
            (None, self._frame([part], request, usage, number, last=part is parts[-1]))
            for part in parts
        ]


WIRES: Mapping[str, tuple[str, Wire]] = {
    "anthropic": (r"/v1/messages", Anthropic()),
    "openai-chat": (r"/v1/chat/completions", Chat()),
    "openai-responses": (r"/v1/responses", Responses()),
    "gemini": (r"/v1beta/models/[^/]+:(?:streamG|g)enerateContent", Gemini()),
}


def find_wire(path: str) -> tuple[str, Wire] | None:
    """Return (name, protocol) for a path; None for any other path."""
    for name, (pattern, wire) in WIRES.items():
        if re.search(pattern + r"\Z", path):
            return name, wire
    return None


def as_text(event: Event) -> str:
    """One server-sent event."""
    name, value = event
    data = value if isinstance(value, str) else json.dumps(value)
    return (f"event: {name}\n" if name else "") + f"data: {data}\n\n"


def refusal(status: int, message: str) -> Json:
    """An error body that the clients of all protocols understand."""
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind: Any = kinds.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "code": status, "message": message}}
