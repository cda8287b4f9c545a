"""The openai SDK over https, with a vendor behind srpd that speaks TLS too."""

import ssl

import httpx
import openai
import pytest
import trustme

import instance as stage

HI = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def pki():
    return trustme.CA()


@pytest.fixture
def secured(start, pki):
    return start(pki=pki)


@pytest.fixture
def trusting(pki):
    context = ssl.create_default_context()
    pki.configure_trust(context)
    return context


@pytest.fixture
def client(secured, trusting):
    with httpx.Client(verify=trusting, timeout=30) as http:
        yield openai.OpenAI(base_url=secured.base_url, api_key=stage.KEY, http_client=http)


def test_chat_and_stream(client, secured):
    assert secured.base_url.startswith("https://")
    assert secured.us.url.startswith("https://")
    answer = client.chat.completions.create(model="smart", messages=HI)
    assert answer.choices[0].message.content == secured.us.text
    stream = client.chat.completions.create(model="smart", messages=HI, stream=True)
    said = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(said) == secured.us.text and len(said) > 2


def test_a_large_request_and_a_large_answer(client, secured):
    words = "sovereign " * 200_000
    answer = client.embeddings.create(model="smart", input=[words] * 4)
    assert len(answer.data) == 4
    received = secured.us.requests[-1]
    assert len(received["raw"]) > 4 * len(words)
    audio = client.audio.speech.create(model="smart", voice="alloy", input="Hello")
    assert len(audio.read()) > 70_000


def test_failover_from_tls_to_plaintext(client, secured):
    secured.us.always = {"act": "reset"}
    answer = client.chat.completions.create(model="smart", messages=HI)
    assert answer.choices[0].message.content == secured.de.text


async def test_asynchronous(secured, trusting):
    async with httpx.AsyncClient(verify=trusting) as http:
        client = openai.AsyncOpenAI(
            base_url=secured.base_url, api_key=stage.KEY, http_client=http
        )
        stream = await client.chat.completions.create(model="smart", messages=HI, stream=True)
        said = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert "".join(said) == secured.us.text


def test_who_does_not_trust_the_authority_gets_no_further(secured):
    with httpx.Client(timeout=30) as http:
        client = openai.OpenAI(
            base_url=secured.base_url, api_key=stage.KEY, http_client=http, max_retries=0
        )
        with pytest.raises(openai.APIConnectionError) as refused:
            client.chat.completions.create(model="smart", messages=HI)
    assert "CERTIFICATE_VERIFY_FAILED" in str(refused.value.__cause__)


def test_plaintext_to_the_same_port_is_told_what_is_wrong(secured):
    plain = secured.base_url.replace("https://", "http://")
    client = openai.OpenAI(base_url=plain, api_key=stage.KEY, max_retries=0)
    with pytest.raises(openai.BadRequestError, match="use https"):
        client.chat.completions.create(model="smart", messages=HI)
