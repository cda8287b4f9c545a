"""Answers in OpenAI's shapes, as a vendor would give them. Deterministic: tests compare texts."""

import base64
import json
import struct

CREATED = 1_700_000_000


def words_of(text):
    return [word if at == 0 else " " + word for at, word in enumerate(text.split(" "))]


def chat_usage(text):
    output = len(words_of(text))
    return {"prompt_tokens": 7, "completion_tokens": output, "total_tokens": 7 + output}


def tool_call(request):
    name = request["tools"][0]["function"]["name"]
    arguments = json.dumps({"city": "Perth", "unit": "celsius"})
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}


def chat(request, text):
    message = {"role": "assistant", "content": text, "refusal": None}
    finish = "stop"
    if request.get("tools"):
        message.update(content=None, tool_calls=[tool_call(request)])
        finish = "tool_calls"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": CREATED,
        "model": request["model"],
        "choices": [choice],
        "usage": chat_usage(text),
    }


def chat_deltas(request, text):
    """The deltas of a stream and the finish reason: a call's arguments come in two pieces."""
    if not request.get("tools"):
        return [{"content": word} for word in words_of(text)], "stop"
    call = tool_call(request)
    arguments = call["function"]["arguments"]
    opened = {"index": 0, **call, "function": {**call["function"], "arguments": ""}}
    pieces = [arguments[:9], arguments[9:]]
    rest = [{"index": 0, "function": {"arguments": piece}} for piece in pieces]
    return [{"tool_calls": [delta]} for delta in [opened, *rest]], "tool_calls"


def data_event(data):
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def chat_events(request, text):
    include_usage = (request.get("stream_options") or {}).get("include_usage")
    deltas, finish = chat_deltas(request, text)

    def chunk(choices, usage=None):
        body = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": request["model"],
            "choices": choices,
        }
        return data_event({**body, "usage": usage} if include_usage else body)

    def choice(delta, finish=None):
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

    yield chunk(choice({"role": "assistant", "content": ""}))
    for delta in deltas:
        yield chunk(choice(delta))
    yield chunk(choice({}, finish))
    if include_usage:
        yield chunk([], chat_usage(text))
    yield data_event("[DONE]")


def completion(request, text):
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": CREATED,
        "model": request["model"],
        "choices": [choice],
        "usage": chat_usage(text),
    }


def completion_events(request, text):
    for word in words_of(text):
        chunk = completion(request, word)
        chunk.pop("usage")
        chunk["choices"][0]["finish_reason"] = None
        yield data_event(chunk)
    chunk = completion(request, "")
    chunk.pop("usage")
    yield data_event(chunk)
    if (request.get("stream_options") or {}).get("include_usage"):
        yield data_event({**chunk, "choices": [], "usage": chat_usage(text)})
    yield data_event("[DONE]")


def response(request, text, status="completed"):
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    message = {
        "type": "message",
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }
    output = len(words_of(text))
    usage = {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 7 + output,
    }
    done = status == "completed"
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": request["model"],
        "output": [message] if done else [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": usage if done else None,
    }


def response_events(request, text):
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    done = response(request, text)
    item = done["output"][0]
    bodies = [
        ("response.created", {"response": response(request, text, "in_progress")}),
        (
            "response.output_item.added",
            {"output_index": 0, "item": {**item, "status": "in_progress", "content": []}},
        ),
        ("response.content_part.added", {**at, "part": part}),
        *[
            ("response.output_text.delta", {**at, "delta": word, "logprobs": []})
            for word in words_of(text)
        ],
        ("response.output_text.done", {**at, "text": text, "logprobs": []}),
        ("response.content_part.done", {**at, "part": item["content"][0]}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": done}),
    ]
    for number, (kind, body) in enumerate(bodies):
        data = json.dumps({"type": kind, "sequence_number": number, **body})
        yield f"event: {kind}\ndata: {data}\n\n".encode()


def embeddings(request):
    given = request["input"]
    inputs = [given] if isinstance(given, str) else given
    rows = []
    for index, one in enumerate(inputs):
        vector = [float(len(one)), float(index), 0.5, -1.0]
        if request.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack("<4f", *vector)).decode()
        rows.append({"object": "embedding", "index": index, "embedding": vector})
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return {"object": "list", "data": rows, "model": request["model"], "usage": usage}


def moderation(request):
    return {
        "id": "modr-1",
        "model": request["model"],
        "results": [
            {
                "flagged": False,
                "categories": {"violence": False},
                "category_scores": {"violence": 0.01},
                "category_applied_input_types": {"violence": ["text"]},
            }
        ],
    }


def images(_request):
    pixel = base64.b64encode(b"not really a picture").decode()
    return {"created": CREATED, "data": [{"b64_json": pixel}]}


def error(message, kind="server_error", code=None):
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
