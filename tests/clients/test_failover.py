"""Failover seen as nothing at all; a death in mid-stream as an error, never as an end."""

import httpx
import openai
import pytest

import instance as stage

HI = [{"role": "user", "content": "Hello"}]

FAILURES = {
    **{f"status {code}": {"act": "status", "status": code} for code in (408, 500, 502, 503, 504, 529)},
    "rate limit": {"act": "status", "status": 429, "headers": {"retry-after": "1"}},
    "quota": {"act": "status", "status": 429, "code": "insufficient_quota"},
    "credential refused": {"act": "status", "status": 401},
    "reset": {"act": "reset"},
}

WHOLE_FAILURES = {"truncated": {"act": "truncated"}, "unparsable": {"act": "unparsable"}}

STREAM_FAILURES = {
    "error as first event": {"act": "error_first"},
    "death before the first event": {"act": "die", "after": 0},
}


def cases(failures):
    return [pytest.param(act, id=name) for name, act in failures.items()]


@pytest.mark.parametrize("act", cases({**FAILURES, **WHOLE_FAILURES}))
def test_a_call_goes_on_unseen(client, http, srp, act):
    srp.us.always = act
    raw = client.chat.completions.with_raw_response.create(model="smart", messages=HI)
    assert raw.parse().choices[0].message.content == srp.de.text
    assert raw.headers["x-sovereign-jurisdiction"] == "de"
    assert raw.headers["x-sovereign-attempts"] in ("2", "3")  # a reset may be worth one repeat
    assert http.sent == 1
    assert srp.de.requests[0]["json"]["model"] == "grenze-2"
    assert "authorization" not in srp.de.requests[0]["headers"], "another vendor's credential"


@pytest.mark.parametrize("act", cases({**FAILURES, **STREAM_FAILURES}))
def test_a_stream_goes_on_unseen(client, http, srp, act):
    srp.us.always = act
    stream = client.chat.completions.create(model="smart", messages=HI, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == srp.de.text
    assert stream.response.headers["x-sovereign-jurisdiction"] == "de"
    assert http.sent == 1


def test_the_last_attempt_is_the_backstops(client, http, srp):
    srp.us.always = srp.de.always = {"act": "status", "status": 500}
    raw = client.chat.completions.with_raw_response.create(model="smart", messages=HI)
    assert raw.parse().choices[0].message.content == srp.aloomu.text
    assert raw.headers["x-sovereign-attempts"] == "3"
    assert http.sent == 1


def test_a_provider_that_is_not_there(client, http, srp):
    srp.us.close()
    for _ in range(5):
        answer = client.chat.completions.create(model="smart", messages=HI)
        assert answer.choices[0].message.content == srp.de.text
    assert http.sent == 5


def test_one_dead_endpoint_of_a_fleet(start, http):
    # Three repeats at the fleet's other endpoint are within its budget; then the breaker is open.
    srp = start(consecutive_failures=3)
    client = openai.OpenAI(base_url=srp.base_url, api_key=stage.KEY, http_client=http)
    srp.fleet[0].close()
    for _ in range(20):
        raw = client.chat.completions.with_raw_response.create(model="fast", messages=HI)
        assert raw.headers["x-sovereign-jurisdiction"] == "au"
    assert raw.headers["x-sovereign-attempts"] == "1"
    assert len(srp.us.requests) == 0


def test_death_in_mid_stream_is_an_error(client, http, srp):
    srp.us.then({"act": "die", "after": 3, "pause": 0.02})
    stream = client.chat.completions.create(model="smart", messages=HI, stream=True)
    said = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in stream:
            said.append(chunk.choices[0].delta.content)
    assert "".join(said) == "Greetings from"
    assert caught.value.code == "upstream_died"
    assert http.sent == 1
    assert len(srp.de.requests) == 0, "what was said cannot be unsaid: no second provider"


def test_death_in_mid_response_is_an_error(client, srp):
    srp.us.then({"act": "die", "after": 5, "pause": 0.02})
    events = []
    with pytest.raises(openai.APIError) as caught:
        for event in client.responses.create(model="smart", input="Hello", stream=True):
            events.append(event)
    assert [event.type for event in events].count("response.output_text.delta") == 2
    assert caught.value.code == "upstream_died"


def test_responses_and_embeddings_go_on_too(client, srp):
    srp.us.always = {"act": "status", "status": 503}
    assert client.responses.create(model="smart", input="Hello").output_text == srp.de.text
    assert client.embeddings.create(model="smart", input="one").data[0].embedding[0] == 3.0
    events = list(client.responses.create(model="smart", input="Hello", stream=True))
    assert events[-1].response.output_text == srp.de.text
