"""From the figures of rounds to medians, ratios and verdicts."""

import dataclasses
import statistics

from .contestants import DIRECT, FLOOR

YARDSTICKS = [FLOOR, "nginx", "haproxy", "envoy"]


@dataclasses.dataclass
class Spread:
    """A median, and between what it lies."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values):
        return Spread(statistics.median(values), min(values), max(values)) if values else None


def with_added(workload, runs):
    """The runs, and in each what came on top of the same round's calls without a proxy. `runs` are
    {contestant: {round: {metric: value}}}."""
    direct = runs.get(DIRECT, {})
    done = {name: {turn: dict(figures) for turn, figures in own.items()} for name, own in runs.items()}
    for name, own in done.items():
        for turn, figures in own.items():
            for metric in workload.added:
                if name != DIRECT and turn in direct:
                    figures[f"added_{metric}"] = figures[metric] - direct[turn][metric]
    return done


def spread(runs, contestant, metric):
    """One contestant's figure over the rounds, or none."""
    return Spread.of([one[metric] for one in runs.get(contestant, {}).values() if metric in one])


def ratio(runs, contestant, yardstick, metric):
    """One contestant's figure over another's, within each round. None where that has no meaning."""
    own, other = runs.get(contestant, {}), runs.get(yardstick, {})
    values = [
        own[turn][metric] / other[turn][metric]
        for turn in own if metric in own[turn] and other.get(turn, {}).get(metric, 0) > 0
    ]
    return Spread.of(values)


@dataclasses.dataclass
class Target:
    """What srpd is to reach: at most so much, or so many times a yardstick's."""

    text: str
    workload: str
    metric: str
    most: float
    yardstick: str = None
    unit: str = ""

    def measured(self, runs):
        own = runs.get(self.workload, {})
        if self.yardstick:
            return ratio(own, "srpd", self.yardstick, self.metric)
        return spread(own, "srpd", self.metric)

    def limit(self):
        if self.yardstick:
            return f"≤ {self.most:.2f} × {self.yardstick}"
        return f"≤ {self.most:g} {self.unit}".strip()

    def verdict(self, measured):
        if measured is None:
            return "not measured"
        return "met" if measured.median <= self.most else "missed"


def _against(text, workload, metric, **most):
    return [Target(text, workload, metric, limit, yardstick) for yardstick, limit in most.items()]


TARGETS = [
    *_against("CPU per 1 KiB call", "call", "cpu_us", forwarder=1.20, nginx=0.68, haproxy=0.75),
    *_against("added p50 at 1000 calls/s", "latency", "added_p50_us", forwarder=1.15, nginx=0.70),
    *_against("added p99 at 1000 calls/s", "latency", "added_p99_us", nginx=1.0),
    *_against("CPU per event, 200 streams at 5 ms", "stream-5ms", "cpu_us", forwarder=1.05, nginx=0.80),
    *_against("CPU per event, 200 streams at 20 ms", "stream-20ms", "cpu_us", forwarder=1.05, nginx=0.80),
    *_against("CPU per event, 64 streams unpaced", "stream-flood", "cpu_us", forwarder=1.0, envoy=1.0),
    *_against("added per event, one stream, p50", "stream-one", "added_p50_us", forwarder=1.10, nginx=1.0),
    *_against("added per event, one stream, p99", "stream-one", "added_p99_us", forwarder=1.10, nginx=1.0),
    *_against("CPU per 256 KiB call", "call-256k", "cpu_us", forwarder=1.25, nginx=1.10, haproxy=0.65),
    *_against("CPU per 10 MiB answer", "answer-10m", "cpu_us", forwarder=1.0),
    *_against("memory at start", "memory", "start_mib", nginx=1.0),
    *_against("memory with 1000 idle connections", "memory", "idle_mib", nginx=1.0),
    *_against("memory with 1000 open streams", "memory", "streams_mib", nginx=1.0),
    Target("failing over on a 500 adds, p50", "failover", "added_p50_us", 120, unit="µs"),
    Target("calls that fail then", "failover", "errors", 0),
    Target("client gone → upstream closed, before the first byte, p50", "client-gone", "early_p50_us", 1000, unit="µs"),
    Target("the same, p99", "client-gone", "early_p99_us", 1000, unit="µs"),
    Target("client gone → upstream closed, within a stream, p50", "client-gone", "stream_p50_us", 1000, unit="µs"),
    Target("the same, p99", "client-gone", "stream_p99_us", 1000, unit="µs"),
    Target("exec → first 200", "start", "start_ms", 20, unit="ms"),
    *_against("CPU per TLS 1.3 call, kept alive", "call-tls", "cpu_us", nginx=1.0),
    *_against("CPU per full handshake", "handshakes", "full_cpu_us", nginx=1.0),
    *_against("CPU per resumed handshake", "handshakes", "resumed_cpu_us", nginx=1.0),
]
