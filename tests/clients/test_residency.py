"""Residency as an SDK sees it: served inside, or a typed error at once; nothing in between."""

import openai
import pytest

import instance as stage

HI = [{"role": "user", "content": "Hello"}]


def ask(client, rule=None, model="smart", **settings):
    headers = {} if rule is None else {"X-Sovereign-Residency": rule}
    create = client.chat.completions.with_raw_response.create
    return create(model=model, messages=HI, extra_headers=headers, **settings)


@pytest.mark.parametrize(
    "rule, model, served",
    [
        (None, "smart", "us"),
        ("any", "smart", "us"),
        ("au-only", "smart", "au"),
        ("AU-Only", "smart", "au"),
        ("anz-only", "smart", "au"),
        ("de-only", "smart", "de"),
        ("de-only,au-only", "smart", "de"),
        ("us-only", "fast", "us"),
        (None, "sovereign", "au"),
        ("any", "sovereign", "au"),
    ],
)
def test_served_inside(client, rule, model, served):
    assert ask(client, rule, model).headers["x-sovereign-jurisdiction"] == served


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("rule, model", [("nz-only", "smart"), ("us-only", "sovereign")])
def test_a_mismatch_is_its_own_error_without_retries(client, http, srp, rule, model, stream):
    with pytest.raises(openai.PermissionDeniedError) as caught:
        ask(client, rule, model, stream=stream)
    error = caught.value
    assert (error.status_code, error.code, error.type) == (
        403,
        "data_residency_mismatch",
        "residency_error",
    )
    assert error.request_id
    assert error.response.headers["x-should-retry"] == "false"
    assert http.sent == 1
    assert srp.seen == 0


@pytest.mark.parametrize("rule", ["", "australia", "au", "xx-only", "au-only,", "any,au-only", "é-only"])
def test_a_rule_that_does_not_parse_is_refused(client, http, srp, rule):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, rule.encode() if rule == "é-only" else rule)
    assert caught.value.code == "invalid_residency"
    assert http.sent == 1
    assert srp.seen == 0


def test_a_keys_floor_holds_whatever_the_header_says(srp):
    bound = openai.OpenAI(base_url=srp.base_url, api_key=stage.AU_KEY)
    for rule in (None, "any", "anz-only"):
        assert ask(bound, rule).headers["x-sovereign-jurisdiction"] == "au"
    with pytest.raises(openai.PermissionDeniedError) as caught:
        ask(bound, "us-only")
    assert caught.value.code == "data_residency_mismatch"
    assert len(srp.us.requests) + len(srp.de.requests) == 0
    assert srp.aloomu.requests[0]["headers"]["x-sovereign-residency"] == "au-only"


def test_providers_inside_that_fail_never_open_the_border(client, http, srp):
    for inside in (srp.aloomu, *srp.fleet):
        inside.always = {"act": "status", "status": 500}
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client.with_options(max_retries=0), "au-only", "fast")
    assert (caught.value.status_code, caught.value.code) == (502, "all_attempts_failed")
    assert len(srp.us.requests) + len(srp.de.requests) == 0


def test_open_breakers_inside_are_a_503_that_says_when_to_retry(start, http):
    srp = start(consecutive_failures=2)
    client = openai.OpenAI(base_url=srp.base_url, api_key=stage.KEY, http_client=http, max_retries=0)
    srp.aloomu.always = {"act": "status", "status": 500}
    codes = []
    for _ in range(6):
        with pytest.raises(openai.InternalServerError) as caught:
            ask(client, "au-only")
        codes.append(caught.value.code)
    assert codes[0] == "all_attempts_failed"
    assert codes[-1] == "residency_unavailable"
    response = caught.value.response
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert response.headers["x-should-retry"] == "true"
    assert len(srp.us.requests) + len(srp.de.requests) == 0
    # With retries, the SDK waits as it is told, and the provider that is well again serves it.
    srp.aloomu.always = {"act": "answer"}
    sent = http.sent
    patient = client.with_options(max_retries=3)
    assert ask(patient, "au-only").headers["x-sovereign-jurisdiction"] == "au"
    assert http.sent > sent + 1
