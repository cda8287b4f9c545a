"""A comparison as Markdown: one table for each workload, and the targets."""

from . import processes, summary
from .contestants import EVERYBODY, FLOOR

NAMES = {contestant.name: contestant.text for contestant in EVERYBODY}
SHORT = {**NAMES, FLOOR: "floor"}


def number(value, digits=1):
    return f"{value:,.{digits}f}"


def figure(spread, digits=1):
    """A median and its range."""
    if spread is None:
        return "–"
    low, high = number(spread.low, digits), number(spread.high, digits)
    return number(spread.median, digits) + ("" if low == high else f" ({low}–{high})")


def columns(workload, report):
    """What a workload's table shows: heading, and the cell of a contestant."""
    runs = report["runs"][workload.name]
    for metric in workload.metrics:
        yield metric.text, lambda name, metric=metric: figure(summary.spread(runs, name, metric.name), metric.digits)
        if not metric.ratios:
            continue
        for yardstick in summary.YARDSTICKS:
            if yardstick in runs and yardstick in (FLOOR, "nginx"):
                yield f"× {SHORT[yardstick]}", lambda name, metric=metric, yardstick=yardstick: figure(
                    summary.ratio(runs, name, yardstick, metric.name), 2
                )
    yield "errors", lambda name: number(sum(one.get("errors", 0) for one in runs[name].values()), 0)


def taken_part(workload, report):
    """Who has figures, in the usual order."""
    runs = report["runs"].get(workload.name, {})
    return [contestant.name for contestant in EVERYBODY if runs.get(contestant.name)]


def absent(workload, report):
    """Who has none, and why."""
    return [
        f"{NAMES[name]}: {reason}"
        for name, reason in {**report["absent"].get("", {}), **report["absent"].get(workload.name, {})}.items()
        if workload.takes(next(one for one in EVERYBODY if one.name == name))
    ]


def introduction(report):
    about, versions = report["machine"], report["versions"]
    said = ", ".join(f"{NAMES[name]} {version}" for name, version in versions.items() if version)
    return [
        processes.title(about),
        f"{said}. Loopback; the proxy alone on CPU {processes.PROXY_CPU} with one worker, clients and upstream on CPU "
        f"{processes.OTHER_CPU}. srpd with keys, body probe, routing, breakers, usage and metrics on.",
        f"Medians of interleaved rounds and, in brackets, their range; ratios are taken within each round first. "
        f"{report['rounds']} rounds of {report['seconds']:g} s, of Portkey and LiteLLM fewer and shorter ones. CPU is user "
        "and system time of the proxy with everything that it starts. Only ratios travel to other machines. "
        "Made by `perf/compare`.",
    ]


def targets(report):
    """Target, limit, measured, verdict."""
    for target in summary.TARGETS:
        measured = target.measured(report["runs"])
        digits = 2 if target.yardstick else 0
        yield target.text, target.limit(), figure(measured, digits), target.verdict(measured)


def markdown(report, workloads):
    lines = ["# srpd beside other proxies", "", "\n\n".join(introduction(report))]
    for workload in workloads:
        names = taken_part(workload, report)
        if not names:
            continue
        shown = list(columns(workload, report))
        lines += ["", f"## {workload.name}: {workload.text}", "",
                  f"| | {' | '.join(heading for heading, _ in shown)} |", "|---" * (len(shown) + 1) + "|"]
        lines += [f"| {NAMES[name]} | {' | '.join(cell(name) for _, cell in shown)} |" for name in names]
        lines += [part for line in absent(workload, report) for part in ("", f"Left out: {line}.")]
    lines += ["", "## Targets", "", "| | target | measured | |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in targets(report)]
    return "\n".join(lines) + "\n"
