"""`srpd demo`, as somebody would try it: what it prints is pasted, and what it shows is read."""

import re
import signal
import subprocess
import sys
import threading

import openai
import pytest

import instance as stage

ASK = [{"role": "user", "content": "Is anybody there?"}]


class Demo:
    """The running demo, and what it has printed."""

    def __init__(self):
        command = [stage.srpd_binary(), "demo"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.text = ""
        threading.Thread(target=self.read, daemon=True).start()
        assert stage.eventually(lambda: "Each call" in self.text), self.text

    def read(self):
        for line in self.process.stdout:
            self.text += line

    def find(self, pattern):
        return re.search(pattern, self.text)[1]

    def shows(self, *words):
        """Whether some line comes to have all these words."""

        def shown():
            return any(all(word in line for word in words) for line in self.text.splitlines())

        return stage.eventually(shown)

    def switch(self, name, mode):
        panel = self.find(r"curl -X POST (http://\S+)/demo/")
        command = ["curl", "-sf", "-X", "POST", f"{panel}/demo/{name}/{mode}"]
        assert subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def demo():
    running = Demo()
    yield running
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(10) == 0, running.text
    directory = stage.Path(running.find(r"configuration +(\S+)")).parent
    assert not directory.exists()


@pytest.fixture
def client(demo):
    base_url, key = demo.find(r"base URL +(\S+)"), demo.find(r"\nkey +(\S+)")
    return openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)


def say(client, model="smart", **headers):
    create = client.chat.completions.with_raw_response.create
    return create(model=model, messages=ASK, max_tokens=3, extra_headers=headers)


def test_the_printed_curl_line_works(demo):
    command = demo.find(r"Ask with curl:\n((?:.*\n)+?)\n")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30)
    assert done.stdout.rstrip().endswith("data: [DONE]"), done
    assert demo.shows("smart", "200", "vendor-us (us)", "1 attempt", "ttft", "stream")


def test_the_printed_python_works(demo):
    lines = demo.find(r"Or from Python.*\n((?:  .*\n)+)").splitlines()
    snippet = "\n".join(line.removeprefix("  ") for line in lines)
    done = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, timeout=30)
    assert "served by vendor-us (us)" in done.stdout, done


def test_a_broken_provider_shows_a_failover_and_then_an_open_breaker(demo, client):
    demo.switch("vendor-us", "down")
    for _ in range(4):
        assert say(client).headers["x-sovereign-jurisdiction"] == "de"
    assert demo.shows("smart", "vendor-de (de)", "2 attempts")
    assert demo.shows("breaker opened: vendor-us")
    demo.switch("vendor-us", "up")

    def back():
        return say(client).headers["x-sovereign-jurisdiction"] == "us"

    def closed():
        # One probe at a time: a call behind it may still be served elsewhere.
        return back() and "breaker closed: vendor-us" in demo.text

    assert stage.eventually(closed, within=15), "two clean answers close it"


def test_the_border_holds_when_all_inside_is_down(demo, client):
    demo.switch("aloomu", "down")
    demo.switch("fleet-per", "down")
    for _ in range(8):
        with pytest.raises(openai.InternalServerError):
            say(client, "fast", **{"X-Sovereign-Residency": "au-only"})
    assert demo.shows("fast", "503", "residency_unavailable", "au-only")
    with pytest.raises(openai.PermissionDeniedError):
        say(client, "fast", **{"X-Sovereign-Residency": "nz-only"})
    assert demo.shows("fast", "403", "data_residency_mismatch", "nz-only")
    assert "vendor-" not in demo.text.split("Each call")[1]


def test_a_rate_limited_provider_gets_its_pause(demo, client):
    demo.switch("vendor-us", "429")
    assert say(client).headers["x-sovereign-attempts"] == "2"
    demo.switch("vendor-us", "up")
    assert demo.shows("asked for a pause: vendor-us")
    assert say(client).headers["x-sovereign-jurisdiction"] == "de"
