"""Each error as its own type in the SDK, and retried by it only when that makes sense."""

import openai
import pytest

import instance as stage

HI = [{"role": "user", "content": "Hello"}]


def test_an_unknown_key(srp, http):
    stranger = openai.OpenAI(base_url=srp.base_url, api_key="sk-stranger", http_client=http)
    with pytest.raises(openai.AuthenticationError) as caught:
        stranger.chat.completions.create(model="smart", messages=HI)
    assert (caught.value.code, caught.value.type) == ("invalid_api_key", "invalid_request_error")
    assert "sk-stranger" not in str(caught.value)
    assert (http.sent, srp.seen) == (1, 0)


def test_a_capability_that_the_key_may_not_use(srp, http):
    limited = openai.OpenAI(base_url=srp.base_url, api_key=stage.LIMITED_KEY, http_client=http)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        limited.chat.completions.create(model="smart", messages=HI)
    assert (caught.value.code, caught.value.type) == ("capability_not_allowed", "permission_error")
    assert (http.sent, srp.seen) == (1, 0)
    assert [model.id for model in limited.models.list()] == ["fast"]


def test_an_unknown_model(client, http):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="frontier-1", messages=HI)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert http.sent == 1
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("frontier-1")


def test_an_unknown_endpoint(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.files.list()
    assert caught.value.code == "unknown_url"


@pytest.mark.parametrize("stream", [False, True])
def test_the_providers_verdict_on_the_request_is_passed_on(client, http, srp, stream):
    body = {
        "error": {
            "message": "temperature must be at most 2",
            "type": "invalid_request_error",
            "param": "temperature",
            "code": "invalid_value",
        }
    }
    srp.us.then({"act": "status", "status": 400, "body": body})
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="smart", messages=HI, temperature=3, stream=stream)
    assert caught.value.body == body["error"]
    assert (http.sent, srp.seen) == (1, 1)


def test_unprocessable_is_passed_on(client, http, srp):
    srp.us.then({"act": "status", "status": 422})
    with pytest.raises(openai.UnprocessableEntityError):
        client.chat.completions.create(model="smart", messages=HI)
    assert (http.sent, srp.seen) == (1, 1)


def test_when_all_fail_the_sdk_retries_and_then_says_so(client, http, srp):
    for upstream in srp.upstreams:
        upstream.always = {"act": "status", "status": 500}
    with pytest.raises(openai.InternalServerError) as caught:
        client.with_options(max_retries=1).chat.completions.create(model="smart", messages=HI)
    error = caught.value
    assert (error.status_code, error.code, error.type) == (
        502,
        "all_attempts_failed",
        "upstream_error",
    )
    assert error.response.headers["x-should-retry"] == "true"
    assert "says no" not in str(error), "a failed provider's body stays here"
    assert http.sent == 2
    # Three attempts a call, each at another provider.
    assert [len(one.requests) for one in (srp.us, srp.de, srp.aloomu)] == [2, 2, 2]


def test_a_retry_that_succeeds_is_seen_as_success(client, http, srp):
    for upstream in (srp.us, srp.de, srp.aloomu):
        upstream.then({"act": "status", "status": 503})
    answer = client.chat.completions.create(model="smart", messages=HI)
    assert answer.choices[0].message.content == srp.us.text
    assert http.sent == 2


def test_a_client_that_loses_patience(client, srp):
    srp.us.then({"act": "hang"})
    hasty = client.with_options(timeout=0.3, max_retries=0)
    with pytest.raises(openai.APITimeoutError):
        hasty.chat.completions.create(model="smart", messages=HI)
    assert stage.eventually(lambda: srp.us.disconnects == 1, within=1), "its upstream was kept"
    assert len(srp.de.requests) == 0
