"""What contestants are made to do, and what is measured while they do it."""

import dataclasses
import http.client
import json
import time
from collections.abc import Callable

from . import processes
from .contestants import DIRECT, FAILING, FLOOR, PLAIN, TLS
from .crowd import Crowd

WARM_UP_SECONDS = 0.5
SLOW_SECONDS = 2
MIB = 1024 * 1024
SETTLE_SECONDS = 2  # after a crowd has come, or a server has started
IDLE_CONNECTIONS = OPEN_STREAMS = 1000
FAILOVER_RATE, FAILOVER_RATE_SLOW = 500, 10
LEAVES, LEAVES_SLOW, PATIENCE_MS = 50, 10, 1000
HANDSHAKES_PER_SECOND = 500


@dataclasses.dataclass
class Metric:
    """One figure of a workload."""

    name: str
    text: str
    ratios: bool = False  # whether contestants are compared by it
    digits: int = 1


@dataclasses.dataclass
class Workload:
    """What is done, with whom, and which figures come of it."""

    name: str
    text: str
    metrics: list
    measure: Callable  # (field, contestant, seconds) → {metric: value}
    variant: str = PLAIN
    direct: bool = False  # whether it can be done without any proxy
    floor: bool = True
    slow: bool = True  # whether those who take milliseconds a call take part
    log: bool = False  # whether srpd takes part once more, with its access log
    added: tuple = ()  # metrics of which what the same round's DIRECT had is subtracted, as added_*

    def takes(self, contestant):
        if contestant.name == DIRECT:
            return self.direct
        if contestant.name == FLOOR:
            return self.floor
        if contestant.name == "srpd-log" and not self.log:
            return False
        return self.variant in contestant.variants and (self.slow or not contestant.slow)


def _load(field, instance, seconds, *arguments):
    options = field.options
    return processes.bench(
        options, "load", "--url", instance.url(), *instance.trust(), "--seconds", seconds, *arguments,
        *instance.header, seconds_max=seconds + 60,
    )


def _turn(field, instance, seconds, unit, *arguments):
    """A short warm-up, then the figures and what they cost."""
    _load(field, instance, min(seconds, WARM_UP_SECONDS), *arguments)
    own, busy = instance.cpu_ticks(), processes.cpu_busy_ticks(processes.PROXY_CPU)
    done = _load(field, instance, seconds, *arguments)
    own, busy = instance.cpu_ticks() - own, processes.cpu_busy_ticks(processes.PROXY_CPU) - busy
    times = done["event_us"] if unit == "events" else done["call_us"]
    figures = {
        "per_second": done[f"{unit}_per_second"], "p50_us": times["p50"], "p99_us": times["p99"],
        "errors": done["errors"],
    }
    if instance.process:
        figures["cpu_us"] = own / processes.TICK * 1e6 / done[unit]
        # How much of the proxy's CPU was somebody else's: what spoils a measurement.
        figures["others"] = max(0, busy - own) / processes.TICK / done["seconds"] * 100
    return figures


def loaded(unit, *arguments, slow=(), variant=PLAIN):
    """The cost of so many calls or events; `slow` is what the slow are asked instead."""

    def measure(field, contestant, seconds):
        instance = field.instance(contestant, variant)
        return _turn(field, instance, seconds, unit, *(slow if contestant.slow and slow else arguments))

    return measure


def handshakes(field, contestant, seconds):
    """CPU of a handshake: on connections that are closed after it."""
    instance, figures = field.instance(contestant, TLS), {"errors": 0}
    for name, more in (("full", []), ("resumed", ["--resume"])):
        command = ["handshakes", "--to", instance.address, *instance.trust(), "--rate", HANDSHAKES_PER_SECOND, *more]
        processes.bench(field.options, *command, "--seconds", WARM_UP_SECONDS)
        ticks = instance.cpu_ticks()
        done = processes.bench(field.options, *command, "--seconds", seconds)
        ticks = instance.cpu_ticks() - ticks
        figures[f"{name}_cpu_us"] = ticks / processes.TICK * 1e6 / done["handshakes"]
        figures["errors"] += done["errors"]
        if name == "resumed":
            figures["resumed"] = done["resumed"] / done["handshakes"] * 100
    return figures


def memory(field, contestant, _seconds):
    """PSS of a fresh instance: at its start, with idle connections, with open streams."""
    instance = field.fresh(contestant)
    try:
        time.sleep(SETTLE_SECONDS)
        figures = {"start_mib": processes.proportional_bytes(instance.process.pid) / MIB, "errors": 0}
        crowds = [("idle", "served", IDLE_CONNECTIONS, [])]
        if not contestant.slow:
            crowds.append(("streams", "waiting", OPEN_STREAMS, ["--plan", "pace_ms=1000,events=100000"]))
        for name, manner, connections, more in crowds:
            crowd = Crowd(field.options, instance, manner, connections, *more)
            time.sleep(SETTLE_SECONDS)
            figures[f"{name}_mib"] = processes.proportional_bytes(instance.process.pid) / MIB
            figures["errors"] += connections - crowd.ask()["held"]
            crowd.leave()
            time.sleep(SETTLE_SECONDS / 2)
        return figures
    finally:
        instance.stop()


def failover(field, contestant, seconds):
    """What a call takes longer whose first upstream answers 500."""
    rate = FAILOVER_RATE_SLOW if contestant.slow else FAILOVER_RATE
    arguments = ["--connections", 16, "--rate", rate, "--settle", WARM_UP_SECONDS]
    well = _load(field, field.instance(contestant), seconds, *arguments)
    failing = _load(field, field.instance(contestant, FAILING), seconds, *arguments)
    return {
        "added_p50_us": failing["call_us"]["p50"] - well["call_us"]["p50"],
        "added_p99_us": failing["call_us"]["p99"] - well["call_us"]["p99"],
        "p50_us": failing["call_us"]["p50"], "errors": failing["errors"], "calls": failing["calls"],
    }


def client_gone(field, contestant, _seconds):
    """From the client's close to the upstream's seeing its own connection end."""
    figures = {"errors": 0}
    for name, when in (("early", "early"), ("stream", "streaming")):
        try:
            figures |= _gone(field, contestant, name, when)
        except processes.Failed:
            # Who can't stream can still be left before its first byte.
            if name == "early":
                raise
    return figures


def _gone(field, contestant, name, when):
    instance = field.instance(contestant)
    times = LEAVES_SLOW if contestant.slow else LEAVES
    command = ["gone", "--to", instance.address, "--upstream", field.upstream, "--when", when,
               "--patience-ms", PATIENCE_MS, *instance.header]
    # One first: who never tells isn't waited for so many times.
    first = processes.bench(field.options, *command, "--times", 1)
    done = first if first["never"] else processes.bench(field.options, *command, "--times", times)
    figures = {f"{name}_never": done["never"] / done["times"] * 100}
    if done["never"] < done["times"]:
        figures |= {f"{name}_p50_us": done["gone_us"]["p50"], f"{name}_p99_us": done["gone_us"]["p99"]}
    return figures


def status(instance):
    """One call: the status of its answer, or none."""
    connection = http.client.HTTPConnection(instance.address, timeout=5)
    try:
        body = json.dumps({"model": "smart", "messages": [{"role": "user", "content": "Are you there?"}]})
        fields = dict(line.split(": ", 1) for line in instance.header if line != "--header")
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json", **fields})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def starting(field, contestant, _seconds):
    """From exec to the first 200."""
    instance = field.fresh(contestant, waits=False)
    try:
        while status(instance) != 200:
            if time.monotonic() - instance.since > contestant.start_seconds_max or not instance.is_alive():
                raise processes.Failed(f"no 200: {instance.said()[-500:]}")
        return {"start_ms": (time.monotonic() - instance.since) * 1000, "errors": 0}
    finally:
        instance.stop()


CALLS = [
    Metric("cpu_us", "CPU µs per call", ratios=True), Metric("per_second", "calls/s", digits=0),
    Metric("p50_us", "p50 µs", digits=0), Metric("p99_us", "p99 µs", digits=0),
    Metric("others", "others on its CPU, %", digits=0),
]
EVENTS = [
    Metric("cpu_us", "CPU µs per event", ratios=True), Metric("per_second", "events/s", digits=0),
    Metric("p50_us", "p50 µs", digits=0), Metric("p99_us", "p99 µs", digits=0),
    Metric("others", "others on its CPU, %", digits=0),
]
ADDED = [
    Metric("added_p50_us", "added p50 µs", ratios=True), Metric("added_p99_us", "added p99 µs", ratios=True),
    Metric("p50_us", "p50 µs"), Metric("p99_us", "p99 µs"), Metric("others", "others on its CPU, %", digits=0),
]


def _stream(connections, plan):
    return ["--mode", "stream", "--connections", connections, "--plan", plan]


def every():
    """All workloads, in the order in which they are reported."""
    small = ["--connections", 64, "--body-bytes", 1024]
    return [
        Workload("call", "1 KiB chat call, 1 KiB answer, closed loop, 64 connections", CALLS,
                 loaded("calls", *small), direct=True, log=True),
        Workload("latency", "1000 calls of 1 KiB a second, open loop, from when each was due", ADDED,
                 loaded("calls", "--connections", 32, "--rate", 1000), direct=True, slow=False,
                 added=("p50_us", "p99_us")),
        Workload("stream-5ms", "200 streams, an event every 5 ms on each", EVENTS,
                 loaded("events", *_stream(200, "pace_ms=5,events=200")), direct=True, slow=False),
        Workload("stream-20ms", "200 streams, an event every 20 ms on each", EVENTS,
                 loaded("events", *_stream(200, "pace_ms=20,events=50")), direct=True, slow=False),
        Workload("stream-flood", "64 streams, events as fast as they are taken (Portkey, LiteLLM: 4 streams)", EVENTS,
                 loaded("events", *_stream(64, "pace_ms=0,events=2000"), slow=_stream(4, "pace_ms=0,events=50")),
                 direct=True),
        Workload("stream-one", "one stream, an event every 5 ms: from the upstream's stamp to the client", ADDED,
                 loaded("events", *_stream(1, "pace_ms=5,events=200")), direct=True, slow=False,
                 added=("p50_us", "p99_us")),
        Workload("call-256k", "256 KiB chat call, 1 KiB answer, closed loop, 16 connections", CALLS,
                 loaded("calls", "--connections", 16, "--body-bytes", 262144), direct=True),
        Workload("answer-10m", "1 KiB chat call, 10 MiB answer, closed loop, 4 connections", CALLS,
                 loaded("calls", "--connections", 4, "--plan", "bytes=10485760"), direct=True),
        Workload("call-tls", "1 KiB chat call, 1 KiB answer over TLS 1.3, closed loop, 64 connections", CALLS,
                 loaded("calls", *small, variant=TLS), variant=TLS, floor=False),
        Workload("handshakes", "500 handshakes a second, TLS 1.3, P-256 (Envoy sends tickets behind an answer: none resumes)", [
            Metric("full_cpu_us", "CPU µs, full", ratios=True),
            Metric("resumed_cpu_us", "CPU µs, resumed", ratios=True), Metric("resumed", "resumed, %", digits=0),
        ], handshakes, variant=TLS, floor=False),
        Workload("memory", f"proportional resident memory (PSS): at start, with {IDLE_CONNECTIONS} connections that have "
                 f"had an answer, with {OPEN_STREAMS} open streams", [
                     Metric("start_mib", "MiB at start", ratios=True), Metric("idle_mib", "MiB, idle", ratios=True),
                     Metric("streams_mib", "MiB, streams", ratios=True),
                 ], memory),
        Workload("failover", f"the first upstream answers 500, {FAILOVER_RATE} calls a second ({FAILOVER_RATE_SLOW} for "
                 "Portkey and LiteLLM; SGLang's and vLLM's routers take turns: every other call meets it)", [
                     Metric("added_p50_us", "added p50 µs", ratios=True, digits=0),
                     Metric("added_p99_us", "added p99 µs", digits=0), Metric("calls", "calls", digits=0),
                 ], failover, variant=FAILING, floor=False),
        Workload("client-gone", "from the client's close to the upstream's seeing it: before the first byte, and within a "
                 f"stream; never: not within {PATIENCE_MS} ms", [
                     Metric("early_p50_us", "early p50 µs", ratios=True, digits=0),
                     Metric("early_p99_us", "early p99 µs", digits=0),
                     Metric("early_never", "early: never, %", digits=0),
                     Metric("stream_p50_us", "stream p50 µs", ratios=True, digits=0),
                     Metric("stream_p99_us", "stream p99 µs", digits=0),
                     Metric("stream_never", "stream: never, %", digits=0),
                 ], client_gone, direct=True),
        Workload("start", "from exec to the first 200", [Metric("start_ms", "ms", ratios=True)], starting),
    ]

