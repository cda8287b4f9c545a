"""The openai SDK, asynchronous: many at once, streams side by side, leaving early."""

import asyncio

import openai
import pytest

import instance as stage

HI = [{"role": "user", "content": "Hello"}]


async def text_of(stream):
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


async def test_many_at_once(async_client, srp):
    create = async_client.chat.completions.create
    answers = await asyncio.gather(*[create(model="smart", messages=HI) for _ in range(50)])
    assert {answer.choices[0].message.content for answer in answers} == {srp.us.text}
    assert len(srp.us.requests) == 50


async def test_streams_side_by_side(async_client, srp):
    srp.us.always = {"act": "answer", "pause": 0.02}

    async def one():
        stream = await async_client.chat.completions.create(
            model="smart", messages=HI, stream=True
        )
        return await text_of(stream)

    started = asyncio.get_running_loop().time()
    texts = await asyncio.gather(*[one() for _ in range(20)])
    assert set(texts) == {srp.us.text}
    assert asyncio.get_running_loop().time() - started < 3, "one after the other"


async def test_failover_under_way(async_client, srp):
    srp.us.always = {"act": "reset"}
    create = async_client.chat.completions.create
    answers = await asyncio.gather(*[create(model="smart", messages=HI) for _ in range(30)])
    assert {answer.choices[0].message.content for answer in answers} == {srp.de.text}


async def test_leaving_early_frees_the_upstream(async_client, srp):
    srp.us.then({"act": "answer", "pause": 0.1})
    stream = await async_client.chat.completions.create(model="smart", messages=HI, stream=True)
    await anext(aiter(stream))
    await stream.close()
    left = await asyncio.to_thread(stage.eventually, lambda: srp.us.disconnects == 1, 1)
    assert left, "nobody listens, and the upstream still talks"
    # The connection that was cut is not used again.
    answer = await async_client.chat.completions.create(model="smart", messages=HI)
    assert answer.choices[0].message.content == srp.us.text


async def test_cancelling_a_call_frees_the_upstream(async_client, srp):
    srp.us.then({"act": "hang"})
    create = async_client.chat.completions.create
    call = asyncio.create_task(create(model="smart", messages=HI))
    await asyncio.to_thread(stage.eventually, lambda: len(srp.us.requests) == 1)
    call.cancel()
    left = await asyncio.to_thread(stage.eventually, lambda: srp.us.disconnects == 1, 1)
    assert left
    assert len(srp.de.requests) == 0, "a call that nobody waits for goes nowhere else"


async def test_errors_are_typed(async_client, srp):
    with pytest.raises(openai.PermissionDeniedError) as caught:
        await async_client.chat.completions.create(
            model="smart", messages=HI, extra_headers={"X-Sovereign-Residency": "nz-only"}
        )
    assert caught.value.code == "data_residency_mismatch"
    srp.us.then({"act": "die", "after": 3, "pause": 0.02})
    stream = await async_client.chat.completions.create(model="smart", messages=HI, stream=True)
    with pytest.raises(openai.APIError) as caught:
        await text_of(stream)
    assert caught.value.code == "upstream_died"


async def test_responses_stream(async_client, srp):
    async with async_client.responses.stream(model="smart", input="Hello") as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert kinds[-1] == "response.completed"
    assert final.output_text == srp.us.text
