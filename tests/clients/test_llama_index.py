"""llama-index-llms-openai-like, as an application uses it."""

import openai
import pytest
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

import instance as stage

HELLO = [ChatMessage(role="user", content="Hello")]


def model_of(srp, **settings):
    defaults = {"is_chat_model": True, "is_function_calling_model": True, "context_window": 8192}
    return OpenAILike(
        model="smart", api_base=srp.base_url, api_key=stage.KEY, **{**defaults, **settings}
    )


@pytest.fixture
def model(srp):
    return model_of(srp)


def test_chat(model, srp):
    assert model.chat(HELLO).message.content == srp.us.text


def test_stream_chat(model, srp):
    deltas = [part.delta for part in model.stream_chat(HELLO)]
    assert "".join(delta or "" for delta in deltas) == srp.us.text


def test_complete(srp):
    assert model_of(srp, is_chat_model=False).complete("Hello").text == srp.us.text
    assert srp.us.requests[0]["path"] == "/v1/completions"


async def test_async(model, srp):
    assert (await model.achat(HELLO)).message.content == srp.us.text
    stream = await model.astream_chat(HELLO)
    assert "".join([part.delta or "" async for part in stream]) == srp.us.text


def test_failover_is_not_seen(model, srp):
    srp.us.always = {"act": "status", "status": 500}
    assert model.chat(HELLO).message.content == srp.de.text
    deltas = [part.delta for part in model.stream_chat(HELLO)]
    assert "".join(delta or "" for delta in deltas) == srp.de.text


def test_a_residency_rejection_is_its_own_error_at_once(srp, http):
    headers = {"X-Sovereign-Residency": "nz-only"}
    model = model_of(srp, default_headers=headers, http_client=http)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        model.chat(HELLO)
    assert caught.value.code == "data_residency_mismatch"
    assert (http.sent, srp.seen) == (1, 0)


def test_death_in_mid_stream_is_an_error(model, srp):
    srp.us.then({"act": "die", "after": 3, "pause": 0.02})
    said = []
    with pytest.raises(openai.APIError) as caught:
        for part in model.stream_chat(HELLO):
            said.append(part.delta or "")
    assert "".join(said) == "Greetings from"
    assert caught.value.code == "upstream_died"
