"""Fixtures: an srpd and scripted upstreams for each test, so that none inherits another's trouble."""

import httpx
import openai
import pytest

import instance as stage


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return stage.accredit(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def start(tmp_path, authority):
    """Starts an instance with the given settings; it must end cleanly."""
    started = []

    def start(**settings):
        started.append(stage.Instance(tmp_path, authority, **settings))
        return started[-1]

    yield start
    for one in started:
        code = one.close()
        assert code == 0, f"srpd ended with {code}:\n" + "".join(one.srpd.lines)


@pytest.fixture
def srp(start):
    return start()


class Counter(httpx.Client):
    """The SDK's transport, counting what the SDK really sends."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.sent = 0

    def send(self, *arguments, **settings):
        self.sent += 1
        return super().send(*arguments, **settings)


@pytest.fixture
def http():
    with Counter(timeout=30) as client:
        yield client


@pytest.fixture
def client(srp, http):
    return openai.OpenAI(base_url=srp.base_url, api_key=stage.KEY, http_client=http)


@pytest.fixture
async def async_client(srp):
    async with openai.AsyncOpenAI(base_url=srp.base_url, api_key=stage.KEY) as client:
        yield client
