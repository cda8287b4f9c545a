"""The openai SDK, synchronous: each endpoint, whole and streamed, and what the headers say."""

import json
import time

import pytest
from pydantic import BaseModel

import upstream

HI = [{"role": "user", "content": "Hello"}]

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius"]}},
            "required": ["city"],
        },
    },
}


def test_chat(client, srp):
    answer = client.chat.completions.create(model="smart", messages=HI, temperature=0.2)
    assert answer.choices[0].message.content == srp.us.text
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 5


def test_the_provider_gets_the_request_with_its_own_model_and_credential(client, srp):
    client.chat.completions.create(
        model="smart",
        messages=[{"role": "user", "content": "Grüße, 世界 🌏 \"quoted\" \\ and \u2028"}],
        logit_bias={"50256": -100},
        extra_body={"vendor_extension": {"nested": [1, 2.50, None]}},
        extra_headers={"X-Sovereign-Supply": "floating", "X-Trace": "kept"},
    )
    received = srp.us.requests[0]
    assert received["path"] == "/v1/chat/completions"
    assert received["json"] == {
        "model": "frontier-1",
        "messages": [{"role": "user", "content": "Grüße, 世界 🌏 \"quoted\" \\ and \u2028"}],
        "logit_bias": {"50256": -100},
        "vendor_extension": {"nested": [1, 2.5, None]},
    }
    headers = received["headers"]
    assert headers["authorization"] == "Bearer sk-vendor-us"
    assert headers["x-trace"] == "kept"
    assert headers["x-sovereign-residency"] == "any"
    assert "x-sovereign-supply" not in headers


def test_what_the_headers_say(client, srp):
    raw = client.chat.completions.with_raw_response.create(
        model="smart", messages=HI, extra_headers={"x-request-id": "my-own-id"}
    )
    assert raw.status_code == 200
    assert raw.parse().choices[0].message.content == srp.us.text
    headers = raw.headers
    assert headers["x-request-id"] == "my-own-id"
    assert headers["x-sovereign-jurisdiction"] == "us"
    assert headers["x-sovereign-attempts"] == "1"
    assert int(headers["openai-processing-ms"]) >= 0
    hidden = ["server", "openai-organization", "set-cookie", "cf-ray"]
    hidden += ["x-ratelimit-remaining-requests", "x-sovereign-provider"]
    assert [name for name in hidden if name in headers] == []
    other = client.chat.completions.with_raw_response.create(model="smart", messages=HI)
    assert other.headers["x-request-id"] not in ("", "my-own-id", "req-vendor-us")


def test_stream(client, srp):
    stream = client.chat.completions.create(model="smart", messages=HI, stream=True)
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == srp.us.text
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert stream.response.headers["x-sovereign-jurisdiction"] == "us"
    assert stream.response.headers["x-sovereign-attempts"] == "1"
    # The proxy asked for the usage, and kept it to itself.
    assert srp.us.requests[0]["json"]["stream_options"] == {"include_usage": True}
    assert all(chunk.choices for chunk in chunks)


def test_stream_with_usage_asked_for(client, srp):
    options = {"include_usage": True}
    stream = client.chat.completions.create(
        model="smart", messages=HI, stream=True, stream_options=options
    )
    *_, last = stream
    assert last.choices == []
    assert last.usage.completion_tokens == 5


def test_a_stream_comes_as_it_is_made(client, srp):
    srp.us.then({"act": "answer", "pause": 0.2})
    started = time.monotonic()
    arrivals = []
    for _ in client.chat.completions.create(model="smart", messages=HI, stream=True):
        arrivals.append(time.monotonic() - started)
    assert len(arrivals) == 7
    assert arrivals[0] < 0.2, "the first event must not wait for the second"
    gaps = [later - earlier for earlier, later in zip(arrivals, arrivals[1:])]
    assert max(gaps) < 0.4 and min(gaps) > 0.1, gaps


def test_stream_helper(client, srp):
    with client.chat.completions.stream(model="smart", messages=HI) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
    assert "".join(deltas) == srp.us.text
    assert stream.get_final_completion().choices[0].message.content == srp.us.text


def test_tool_calls_pass_through(client, srp):
    tools = [WEATHER]
    answer = client.chat.completions.create(
        model="smart", messages=HI, tools=tools, tool_choice="auto"
    )
    assert srp.us.requests[0]["json"]["tools"] == tools
    call = answer.choices[0].message.tool_calls[0]
    assert (call.id, call.function.name) == ("call_1", "get_weather")
    assert json.loads(call.function.arguments) == {"city": "Perth", "unit": "celsius"}
    told = [*HI, answer.choices[0].message, {"role": "tool", "tool_call_id": "call_1", "content": "31"}]
    client.chat.completions.create(model="smart", messages=told)
    assert srp.us.requests[1]["json"]["messages"][2]["tool_call_id"] == "call_1"


def test_streamed_tool_calls_pass_through(client):
    pieces, finish = [], None
    stream = client.chat.completions.create(
        model="smart", messages=HI, tools=[WEATHER], stream=True
    )
    for chunk in stream:
        choice = chunk.choices[0]
        for call in choice.delta.tool_calls or []:
            pieces.append(call.function.arguments)
        finish = choice.finish_reason or finish
    assert json.loads("".join(pieces)) == {"city": "Perth", "unit": "celsius"}
    assert finish == "tool_calls"


def test_structured_output(client, srp):
    class Verdict(BaseModel):
        sound: bool

    srp.us.text = '{"sound":true}'
    answer = client.chat.completions.parse(model="smart", messages=HI, response_format=Verdict)
    assert answer.choices[0].message.parsed == Verdict(sound=True)
    schema = srp.us.requests[0]["json"]["response_format"]["json_schema"]
    assert schema["name"] == "Verdict" and schema["strict"] is True


def test_completions(client, srp):
    answer = client.completions.create(model="smart", prompt="Once upon a time")
    assert answer.choices[0].text == srp.us.text
    stream = client.completions.create(model="smart", prompt="Once", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == srp.us.text


def test_embeddings(client, srp):
    answer = client.embeddings.create(model="smart", input=["one", "three"])
    assert [row.embedding for row in answer.data] == [[3.0, 0.0, 0.5, -1.0], [5.0, 1.0, 0.5, -1.0]]
    assert answer.usage.prompt_tokens == 5
    plain = client.embeddings.create(model="smart", input="one", encoding_format="float")
    assert plain.data[0].embedding == [3.0, 0.0, 0.5, -1.0]
    assert srp.us.requests[0]["path"] == "/v1/embeddings"


def test_responses(client, srp):
    answer = client.responses.create(model="smart", input="Hello")
    assert answer.output_text == srp.us.text
    assert answer.usage.output_tokens == 5
    events = list(client.responses.create(model="smart", input="Hello", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == srp.us.text
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == srp.us.text
    # Only chat and completions take stream options for usage.
    assert "stream_options" not in srp.us.requests[1]["json"]


def test_moderations(client):
    answer = client.moderations.create(model="smart", input="Hello")
    assert answer.results[0].flagged is False


def test_images(client):
    answer = client.images.generate(model="smart", prompt="A quokka")
    assert answer.data[0].b64_json


def test_speech_is_bytes(client):
    answer = client.audio.speech.create(model="smart", voice="alloy", input="Hello")
    assert answer.read() == upstream.SPEECH


@pytest.mark.parametrize("endpoint", ["transcriptions", "translations"])
def test_multipart_goes_through_with_its_model_replaced(client, srp, endpoint):
    sound = bytes(range(256)) * 1000
    create = getattr(client.audio, endpoint).create
    answer = create(model="smart", file=("hello.wav", sound, "audio/wav"), prompt="names")
    assert answer.text == srp.us.text
    received = srp.us.requests[0]
    assert received["path"] == f"/v1/audio/{endpoint}"
    assert sound in received["raw"]
    assert b'name="model"\r\n\r\nfrontier-1\r\n' in received["raw"]


def test_models(client):
    listed = client.models.list()
    assert sorted(model.id for model in listed) == ["fast", "smart", "sovereign"]
    assert {model.owned_by for model in listed} == {"srp"}
    assert client.models.retrieve("smart").id == "smart"


def test_a_large_request_and_many_on_one_connection(client, srp):
    page = "the quick brown fox " * 50_000
    for number in range(5):
        message = {"role": "user", "content": f"{number} {page}"}
        client.chat.completions.create(model="smart", messages=[message])
    bodies = [received["json"]["messages"][0]["content"] for received in srp.us.requests]
    assert bodies == [f"{number} {page}" for number in range(5)]
