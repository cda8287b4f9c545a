"""Who is compared, and how each is started: in plaintext, over TLS, or with an upstream in front that
fails each call."""

import dataclasses
import json
import secrets
from collections.abc import Callable

from . import configs, install, processes

PLAIN, TLS, FAILING = "plain", "tls", "failing"


@dataclasses.dataclass
class Place:
    """Where an instance is to be."""

    options: object
    directory: object  # of the whole comparison: certificates are there
    home: object  # its own
    address: str
    upstream: str
    failing: str = None  # an upstream that is to be tried first, and fails
    tls: tuple = None


@dataclasses.dataclass
class Launch:
    """How it is started, and what a call to it must carry."""

    command: list
    header: list = dataclasses.field(default_factory=list)
    environment: dict = None


@dataclasses.dataclass
class Contestant:
    """One of those who are compared."""

    name: str
    text: str
    package: str  # what is installed for it; srpd and the floor are built here
    launch: Callable  # Place → Launch
    variants: set
    slow: bool = False  # milliseconds a call: fewer and shorter rounds, and not every workload
    start_seconds_max: int = 30


def field(line):
    return ["--header", line]


def _forwarder(place):
    return Launch([place.options.bench, "forward", "--listen", place.address, "--to", place.upstream,
                   "--cpu", processes.PROXY_CPU])


def _nginx(place):
    config = place.home / "nginx.conf"
    config.write_text(configs.nginx(place.home, place.address, place.upstream, place.failing, tls=place.tls))
    return Launch(["nginx", "-p", place.home, "-e", place.home / "error.log", "-c", config])


def _haproxy(place):
    config = place.home / "haproxy.cfg"
    pem = place.directory / "both.pem" if place.tls else None
    config.write_text(configs.haproxy(place.address, place.upstream, place.failing, pem))
    return Launch(["haproxy", "-db", "-f", config])


def _envoy(place):
    config = place.home / "envoy.json"
    config.write_text(configs.envoy(place.address, place.upstream, place.failing, place.tls))
    [binary] = (install.PEERS / "envoy").glob("lib/python*/site-packages/envoy/_bin/envoy")
    return Launch([binary, "-c", config, "--concurrency", 1, "--disable-hot-restart", "--log-level", "error"])


def _router(place, *command):
    """SGLang's and vLLM's: one of the other's descent. They take their workers by turns."""
    host, port = place.address.split(":")
    workers = [f"http://{address}" for address in (place.failing, place.upstream) if address]
    _, metrics = processes.free_address().split(":")
    patient = ["--retry-initial-backoff-ms", 1, "--disable-circuit-breaker"] if place.failing else []
    return Launch([
        *command, "--host", host, "--port", port, "--worker-urls", *workers, "--policy", "round_robin",
        "--prometheus-port", metrics, "--log-level", "error", "--max-concurrent-requests", 16384, *patient,
    ])


def _sglang(place):
    return _router(place, install.PEERS / "sglang/bin/python", "-m", "sglang_router.launch_router")


def _vllm(place):
    return _router(place, install.PEERS / "vllm/bin/vllm-router")


def _portkey(place):
    def target(address):
        return {"provider": "openai", "api_key": "none", "custom_host": f"http://{address}/v1"}

    config = target(place.upstream)
    if place.failing:
        config = {"strategy": {"mode": "fallback"}, "targets": [target(place.failing), config]}
    script = install.PEERS / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
    return Launch(
        ["node", script, f"--port={place.address.split(':')[1]}", "--headless"],
        field(f"x-portkey-config: {json.dumps(config)}"),
        {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1", "NODE_ENV": "production"},
    )


def _litellm(place):
    host, port = place.address.split(":")
    config = place.home / "config.yaml"
    config.write_text(configs.litellm(place.upstream, place.failing))
    binary = install.PEERS / "litellm/bin/litellm"
    return Launch(
        [binary, "--config", config, "--host", host, "--port", port, "--num_workers", 1, "--telemetry", "False",
         "--keepalive_timeout", 600],
        field("authorization: Bearer sk-bench"),
        {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "DISABLE_ADMIN_UI": "True"},
    )


def srpd_with(access=False, **more):
    def launch(place):
        key = "sk-" + secrets.token_urlsafe(32)
        config = place.home / "srpd.toml"
        text = configs.srpd(
            place.home, place.options.srpd, place.address, processes.free_address(), key, place.upstream,
            place.failing, access, place.tls, **more,
        )
        config.write_text(text)
        return Launch([place.options.srpd, "serve", "--config", config], field(f"authorization: Bearer {key}"))

    return launch


ALL = {PLAIN, TLS, FAILING}
DIRECT, FLOOR = "direct", "forwarder"
EVERYBODY = [
    Contestant(DIRECT, "no proxy", None, None, {PLAIN}),
    Contestant(FLOOR, "raw byte forwarder", None, _forwarder, {PLAIN}),
    Contestant("srpd", "srpd", None, srpd_with(), ALL),
    Contestant("srpd-log", "srpd, access log on", None, srpd_with(access=True), {PLAIN}),
    Contestant("srpd-ledger", "srpd, ledger on", None, srpd_with(ledger=True), {PLAIN}),
    Contestant("nginx", "nginx", "nginx", _nginx, ALL),
    Contestant("haproxy", "HAProxy", "haproxy", _haproxy, ALL),
    Contestant("envoy", "Envoy", "envoy", _envoy, ALL),
    Contestant("sglang", "SGLang router", "sglang", _sglang, {PLAIN, FAILING}),
    Contestant("vllm", "vLLM router", "vllm", _vllm, {PLAIN, FAILING}),
    Contestant("portkey", "Portkey", "portkey", _portkey, {PLAIN, FAILING}, slow=True),
    Contestant("litellm", "LiteLLM", "litellm", _litellm, {PLAIN, FAILING}, slow=True, start_seconds_max=120),
]


class Field:
    """The upstreams, and every instance that runs."""

    def __init__(self, options, directory):
        self.options, self.directory = options, directory
        self.instances, self.number = {}, 0
        self.upstream, self.failing = processes.free_address(), None
        self._serve(self.upstream)

    def _serve(self, address, *more):
        log = open(self.directory / "upstream.log", "a+", encoding="utf-8")
        command = [self.options.bench, "upstream", "--listen", address, "--cpu", processes.OTHER_CPU, *more]
        processes.start(command, log, address)

    def failing_upstream(self):
        """Answers 500 to every call."""
        if self.failing is None:
            address = processes.free_address()
            self._serve(address, "--fail")
            self.failing = address
        return self.failing

    def place(self, contestant, variant):
        self.number += 1
        home = self.directory / f"{contestant.name}-{variant}-{self.number}"
        home.mkdir()
        return Place(
            self.options, self.directory, home, processes.free_address(), self.upstream,
            self.failing_upstream() if variant == FAILING else None,
            processes.certificate(self.directory) if variant == TLS else None,
        )

    def fresh(self, contestant, variant=PLAIN, waits=True):
        """A new instance. Raises Failed. Without waiting, it may not listen yet."""
        if contestant.name == DIRECT:
            return processes.Instance(DIRECT, self.upstream)
        place = self.place(contestant, variant)
        launch = contestant.launch(place)
        log = open(place.home / "out.log", "w+", encoding="utf-8")
        arguments = [launch.command, log]
        if waits:
            process = processes.start(
                *arguments, place.address, processes.PROXY_CPU, launch.environment, contestant.start_seconds_max
            )
        else:
            process = processes.spawn(*arguments, processes.PROXY_CPU, launch.environment)
        shown = place.tls[0] if place.tls else None
        return processes.Instance(contestant.name, place.address, process, launch.header, shown, log)

    def instance(self, contestant, variant=PLAIN):
        """The one that runs for the whole comparison, idle but for its turns."""
        at = contestant.name, variant
        if at in self.instances and not self.instances[at].is_alive():
            del self.instances[at]
        if at not in self.instances:
            self.instances[at] = self.fresh(contestant, variant)
        return self.instances[at]

    def keep_only(self, wanted):
        """Ends all instances but those."""
        for at in set(self.instances) - set(wanted):
            self.instances.pop(at).stop()
