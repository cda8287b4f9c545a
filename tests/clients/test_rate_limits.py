"""The limits of a key, as the SDK shows them and waits for them."""

import openai
import pytest

import instance as stage

HI = [{"role": "user", "content": "Hello"}]


def asking(srp, http, key, max_retries=0):
    return openai.OpenAI(
        base_url=srp.base_url, api_key=key, http_client=http, max_retries=max_retries
    )


def ask(client, **settings):
    return client.chat.completions.create(model="smart", messages=HI, **settings)


def test_requests_are_counted_down_and_then_refused(srp, http):
    client = asking(srp, http, stage.METERED_KEY)
    for left in ("1", "0"):
        raw = client.chat.completions.with_raw_response.create(model="smart", messages=HI)
        assert raw.parse().choices[0].message.content == srp.us.text
        assert raw.headers["x-ratelimit-limit-requests"] == "2"
        assert raw.headers["x-ratelimit-remaining-requests"] == left
        assert raw.headers["x-ratelimit-reset-requests"].endswith("s")
        assert "x-ratelimit-limit-tokens" not in raw.headers
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client)
    error = caught.value
    assert (error.code, error.type, error.param) == ("rate_limit_exceeded", "rate_limit_error", None)
    assert error.request_id
    headers = error.response.headers
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert 1 <= int(headers["retry-after"]) <= 30
    assert 0 < int(headers["retry-after-ms"]) <= 1000 * int(headers["retry-after"])
    assert headers["x-should-retry"] == "true"
    assert (http.sent, srp.seen) == (3, 2)
    with pytest.raises(openai.RateLimitError):
        ask(client, stream=True)


def test_the_sdk_waits_as_long_as_it_is_told(srp, http):
    hasty = asking(srp, http, stage.STEADY_KEY)
    with pytest.raises(openai.RateLimitError):
        for _ in range(1000):
            ask(hasty)
    sent = http.sent
    patient = asking(srp, http, stage.STEADY_KEY, max_retries=2)
    assert ask(patient).choices[0].message.content == srp.us.text
    assert http.sent == sent + 2, "refused once, and served after the wait"


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_are_charged_when_they_are_known(srp, http, stream):
    client = asking(srp, http, stage.TOKENS_KEY)
    answer = ask(client, stream=stream)
    if stream:
        assert list(answer)[-1].choices
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client, stream=stream)
    headers = caught.value.response.headers
    assert headers["x-ratelimit-limit-tokens"] == "2"
    assert headers["x-ratelimit-remaining-tokens"] == "0"
    assert "x-ratelimit-limit-requests" not in headers


def test_a_key_without_limits_hears_of_none(client):
    raw = client.chat.completions.with_raw_response.create(model="smart", messages=HI)
    assert not [name for name in raw.headers if name.startswith("x-ratelimit")]
