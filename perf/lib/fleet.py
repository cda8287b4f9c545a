"""A fleet of simulated inference servers, the conversations that it is asked, and who balances them."""

import json
import random
import re
import secrets
import time
import urllib.request

from . import configs, install, processes
from .contestants import Contestant, Launch, field

ENDPOINTS = 16
SLOTS, PREFILL, DECODE = 16, 40_000, 200
CACHE_TOKENS = 60_000
BLOCK_TOKENS = 512  # of a trace's hash_ids


def _peer(place, *command):
    """SGLang's and vLLM's, with the policy that they advise for prefix caches and its defaults."""
    host, port = place.address.split(":")
    _, metrics = processes.free_address().split(":")
    return Launch([
        *command, "--host", host, "--port", port, "--worker-urls", *[f"http://{one}" for one in place.upstream],
        "--policy", "cache_aware", "--prometheus-port", metrics, "--log-level", "error",
        "--max-concurrent-requests", 16384,
    ])


def _sglang(place):
    return _peer(place, install.PEERS / "sglang/bin/python", "-m", "sglang_router.launch_router")


def _vllm(place):
    return _peer(place, install.PEERS / "vllm/bin/vllm-router")


def _nginx(place):
    config = place.home / "nginx.conf"
    first, *others = place.upstream
    config.write_text(configs.nginx(place.home, place.address, first, others=others))
    return Launch(["nginx", "-p", place.home, "-e", place.home / "error.log", "-c", config])


def _srpd(balance):
    def launch(place):
        key = "sk-" + secrets.token_urlsafe(32)
        config = place.home / "srpd.toml"
        first, *others = place.upstream
        config.write_text(configs.srpd(
            place.home, place.options.srpd, place.address, processes.free_address(), key, first, others=others,
            balance=balance,
        ))
        return Launch([place.options.srpd, "serve", "--config", config], field(f"authorization: Bearer {key}"))

    return launch


def _one(name, text, package, launch):
    return Contestant(name, text, package, launch, set(), start_seconds_max=30)


EVERYBODY = [
    _one("prefix", "srpd, `prefix`", None, _srpd("prefix")),
    _one("least_loaded", "srpd, `least_loaded`", None, _srpd("least_loaded")),
    _one("nginx", "nginx, by turns", "nginx", _nginx),
    _one("sglang", "SGLang router, `cache_aware`", "sglang", _sglang),
    _one("vllm", "vLLM router, `cache_aware`", "vllm", _vllm),
]


class Fleet:
    """Servers with cold caches."""

    def __init__(self, options, log, endpoints=ENDPOINTS, prefill=PREFILL, decode=DECODE):
        self.endpoints = endpoints
        self.process = processes.spawn(
            [options.load, "fleet", "--endpoints", endpoints, "--slots", SLOTS, "--prefill", prefill, "--decode", decode,
             "--cache-tokens", CACHE_TOKENS, "--jitter", "10%", "--cpu", processes.OTHER_CPU], log,
        )
        self.addresses = self._addresses(log)

    def _addresses(self, log):
        """Where it listens, as it says itself. Raises Failed."""
        deadline = time.monotonic() + processes.START_SECONDS_MAX
        while time.monotonic() < deadline and self.process.poll() is None:
            log.seek(0)
            said = re.findall(r"^http://(\S+)\n", log.read(), re.MULTILINE)
            if len(said) == self.endpoints:
                return said
            time.sleep(0.02)
        self.stop()
        raise processes.Failed("the fleet did not come up")

    def cache(self):
        """Prompt tokens that were looked up in all caches, and those that were found."""
        sums = {"queries": 0.0, "hits": 0.0}
        for address in self.addresses:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
                text = answer.read().decode()
            for what in sums:
                sums[what] += float(re.search(rf"^vllm:prefix_cache_{what}_total\{{.*\}} (\S+)$", text, re.MULTILINE)[1])
        return sums["queries"], sums["hits"]

    def stop(self):
        processes.stop(self.process)


def documents(seconds, seed, answers=(10, 40)):
    """Questions about 256 documents, each asked by anybody at any time."""
    chance = random.Random(seed)
    at, calls = 0.0, []
    while True:
        at += chance.expovariate(240)
        if at > seconds:
            return calls
        calls.append({
            "at": at, "prefix": chance.randrange(256), "prefix_tokens": 2048,
            "prompt_tokens": chance.randint(40, 300), "output_tokens": chance.randint(*answers),
        })


def labels(seconds, seed):
    """The same questions, answered by one token: what a call costs beside the relaying of its answer."""
    return documents(seconds, seed, (1, 1))


def conversations(seconds, seed):
    """Conversations behind four system prompts of 1024 tokens: each turn says all that was said before."""
    chance = random.Random(seed)
    begin, calls, name = 0.0, [], 100
    while begin < seconds:
        begin += chance.expovariate(36)
        name += 100
        system = chance.randrange(4) * 2
        own, at = [], begin
        for turn in range(chance.randint(3, 9)):
            own.append(name + turn)
            blocks = [system, system + 1, *own]
            calls.append({
                "timestamp": at * 1000, "input_length": BLOCK_TOKENS * len(blocks) + chance.randint(20, 200),
                "output_length": chance.randint(10, 40), "hash_ids": blocks,
            })
            at += 0.3 + chance.expovariate(0.5)
    return sorted((call for call in calls if call["timestamp"] <= seconds * 1000), key=lambda call: call["timestamp"])


WORKLOADS = {"documents": documents, "conversations": conversations, "labels": labels}


def write_trace(file, calls):
    file.write_text("".join(json.dumps(call) + "\n" for call in calls))
