"""Real inference behind srpd: llama.cpp's own server with a small model is aloomu, the backstop."""

import json
import subprocess
import sys
from pathlib import Path

import openai
import pytest

import instance as stage

pytest.importorskip("xllamacpp")

pytestmark = [pytest.mark.inference, pytest.mark.timeout(180)]

HERE = Path(__file__).resolve().parent

CONFIG = """
[instance]
jurisdiction = "au"
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
cores = 1

[timeouts]
stall = "20s"  # inference may have every CPU for longer than a second

[[authority]]
name = "test"
public_key = "{public_key}"

[[provider]]
name = "aloomu"
jurisdiction = "au"
accreditation = "{accreditation}"
endpoints = ["{llama}"]
models = {{ "*" = "smollm2-135m" }}

[[provider]]
name = "vendor-us"
jurisdiction = "us"
endpoints = ["http://127.0.0.1:9"]
models = {{ "*" = "frontier-1" }}

[[capability]]
name = "smart"
chain = ["vendor-us"]

[[capability]]
name = "sovereign"
chain = []

[[key]]
name = "tests"
sha256 = "{key}"
capabilities = ["*"]
"""

PROMPT = [{"role": "user", "content": "What is the capital of France? One word."}]


@pytest.fixture(scope="module")
def llama():
    """The inference server's address; it ends with the fixture."""
    command = [sys.executable, HERE / "llama_server.py", "--port", "0", "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def client(tmp_path_factory, authority, llama):
    public_key, accreditation = authority
    file = tmp_path_factory.mktemp("inference") / "srpd.toml"
    key = stage.sha256(stage.KEY)
    file.write_text(
        CONFIG.format(public_key=public_key, accreditation=accreditation, llama=llama, key=key)
    )
    srpd = stage.Srpd(file)
    with openai.OpenAI(base_url=srpd.base_url, api_key=stage.KEY, max_retries=0) as client:
        yield client
    assert srpd.stop() == 0


def test_chat(client):
    raw = client.chat.completions.with_raw_response.create(
        model="sovereign", messages=PROMPT, max_tokens=12, temperature=0
    )
    answer = raw.parse()
    assert raw.headers["x-sovereign-jurisdiction"] == "au"
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.completion_tokens <= 12


def test_stream_over_a_vendor_that_is_not_there(client):
    stream = client.chat.completions.create(
        model="smart", messages=PROMPT, max_tokens=12, temperature=0, stream=True
    )
    chunks = list(stream)
    assert stream.response.headers["x-sovereign-jurisdiction"] == "au"
    assert stream.response.headers["x-sovereign-attempts"] == "2"
    assert len(chunks) > 2
    assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_usage_of_a_stream(client):
    *_, last = client.chat.completions.create(
        model="sovereign",
        messages=PROMPT,
        max_tokens=4,
        stream=True,
        stream_options={"include_usage": True},
    )
    assert last.choices == []
    assert last.usage.prompt_tokens > 10
    assert 1 <= last.usage.completion_tokens <= 4


def test_what_the_server_refuses_is_passed_on(client):
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model="sovereign", messages=PROMPT, extra_body={"response_format": {"type": "rhyme"}}
        )


@pytest.mark.timeout(600)
def test_conformance(llama, tmp_path):
    """What docs/conformance/llama.cpp.md says of it, and no more."""
    report = tmp_path / "report.json"
    command = [stage.srpd_binary(), "accredit", "test", llama, "--model", "smollm2-135m"]
    claims = ["--capacity", "2", "--context", "1024", "--timeout", "120", "--stall", "30"]
    run = subprocess.run([*command, *claims, "--json", report], capture_output=True, text=True)
    checks = json.loads(report.read_text())["checks"]
    failed = {check["id"] for check in checks if check["verdict"] == "fail"}
    known = {"errors.unknown-model", "transport.keep-alive", "transport.request-id"}
    assert failed == known, run.stdout
    assert run.returncode == 1
