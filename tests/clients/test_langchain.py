"""langchain-openai, as an application uses it."""

import openai
import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

import instance as stage


@tool
def get_weather(city: str, unit: str) -> str:
    """The weather in a city."""
    return f"31 {unit} in {city}"


@pytest.fixture
def model(srp):
    return ChatOpenAI(model="smart", base_url=srp.base_url, api_key=stage.KEY)


def test_invoke(model, srp):
    answer = model.invoke([SystemMessage("Be brief."), HumanMessage("Hello")])
    assert answer.content == srp.us.text
    assert answer.usage_metadata["output_tokens"] == 5
    assert [m["role"] for m in srp.us.requests[0]["json"]["messages"]] == ["system", "user"]


def test_stream(model, srp):
    chunks = list(model.stream("Hello"))
    assert "".join(chunk.content for chunk in chunks) == srp.us.text
    assert sum(1 for chunk in chunks if chunk.content) == 5


def test_stream_with_usage(srp):
    model = ChatOpenAI(
        model="smart", base_url=srp.base_url, api_key=stage.KEY, stream_usage=True
    )
    used = [chunk.usage_metadata for chunk in model.stream("Hello") if chunk.usage_metadata]
    assert [usage["output_tokens"] for usage in used] == [5]


async def test_async(model, srp):
    assert (await model.ainvoke("Hello")).content == srp.us.text
    chunks = [chunk.content async for chunk in model.astream("Hello")]
    assert "".join(chunks) == srp.us.text


def test_tools(model):
    answer = model.bind_tools([get_weather]).invoke("How warm is it in Perth?")
    call = answer.tool_calls[0]
    assert call["args"] == {"city": "Perth", "unit": "celsius"}
    assert get_weather.invoke(call).content == "31 celsius in Perth"


def test_responses_api(srp):
    model = ChatOpenAI(
        model="smart", base_url=srp.base_url, api_key=stage.KEY, use_responses_api=True
    )
    assert model.invoke("Hello").text == srp.us.text


def test_embeddings(srp):
    embeddings = OpenAIEmbeddings(
        model="smart",
        base_url=srp.base_url,
        api_key=stage.KEY,
        check_embedding_ctx_length=False,  # else it fetches a tokenizer
    )
    assert embeddings.embed_documents(["one", "three"])[1][0] == 5.0
    assert embeddings.embed_query("one")[0] == 3.0


def test_failover_is_not_seen(model, srp):
    srp.us.always = {"act": "reset"}
    assert model.invoke("Hello").content == srp.de.text
    assert "".join(chunk.content for chunk in model.stream("Hello")) == srp.de.text


def test_a_residency_rejection_is_its_own_error_at_once(srp, http):
    model = ChatOpenAI(
        model="smart",
        base_url=srp.base_url,
        api_key=stage.KEY,
        http_client=http,
        default_headers={"X-Sovereign-Residency": "nz-only"},
    )
    with pytest.raises(openai.PermissionDeniedError) as caught:
        model.invoke("Hello")
    assert caught.value.code == "data_residency_mismatch"
    assert (http.sent, srp.seen) == (1, 0)


def test_death_in_mid_stream_is_an_error(model, srp):
    srp.us.then({"act": "die", "after": 3, "pause": 0.02})
    said = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in model.stream("Hello"):
            said.append(chunk.content)
    assert "".join(said) == "Greetings from"
    assert caught.value.code == "upstream_died"
