"""A comparison as one HTML page that needs nothing else: bars as inline SVG, light and dark."""

from html import escape

from . import report as words
from . import summary
from .contestants import FLOOR

WIDTH, LABEL, BAR, GAP = 760, 210, 18, 8
SCALE = WIDTH - LABEL - 150  # the rest is for the number behind the bar
BREAK = 4  # bars longer than so many times the median of all are cut off

STYLE = """
:root { --paper: #fff; --ink: #1b1f24; --faint: #68707a; --line: #d9dee4; --bar: #a9b4c0; --ours: #0b6bcb;
  --floor: #d0d7de; --good: #1a7f37; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e6e9ed; --faint: #98a2ad; --line: #30363d;
  --bar: #5b6672; --ours: #4aa3ff; --floor: #3a424b; --good: #4ac26b; --bad: #ff7b72; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .3rem; } h3 { font-size: .9rem; margin: 1rem 0 0;
  color: var(--faint); font-weight: 600; }
p { color: var(--faint); margin: .4rem 0; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; margin: .6rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .2rem .6rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--faint); font-weight: 600; }
tr.ours td { color: var(--ours); } .met { color: var(--good); } .missed { color: var(--bad); }
svg { max-width: 100%; height: auto; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .bar { fill: var(--bar); } svg .floor { fill: var(--floor); } svg .ours { fill: var(--ours); }
svg .range { stroke: var(--faint); stroke-width: 1.5; } svg .cut { stroke: var(--paper); stroke-width: 3; }
svg .faint { fill: var(--faint); }
"""


def colour(name):
    return "ours" if name.startswith("srpd") else "floor" if name == FLOOR else "bar"


def bars(runs, names, metric):
    """One bar for each contestant, with the range of its rounds."""
    rows = [(name, spread) for name in names if (spread := summary.spread(runs, name, metric.name))]
    if not rows:
        return ""
    middle = sorted(spread.median for _, spread in rows)[len(rows) // 2]
    most = min(max(spread.high for _, spread in rows), BREAK * max(middle, 1e-9))
    height = len(rows) * (BAR + GAP) + GAP
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img" '
             f'aria-label="{escape(metric.text)} of each contestant">']
    for number, (name, spread) in enumerate(rows):
        top = GAP + number * (BAR + GAP)
        middle_line = top + BAR / 2

        def across(value):
            return LABEL + max(0, min(value, most)) / most * SCALE

        end = across(spread.median)
        parts.append(f'<text x="{LABEL - 8}" y="{top + 13}" text-anchor="end">{escape(words.NAMES[name])}</text>')
        parts.append(f'<rect class="{colour(name)}" x="{LABEL}" y="{top}" width="{end - LABEL:.1f}" height="{BAR}" rx="2"/>')
        if spread.median > most:
            parts.append(f'<path class="cut" d="M{end - 16:.1f} {top + BAR + 2} l7 -{BAR + 4}"/>')
        else:
            parts.append(f'<path class="range" d="M{across(spread.low):.1f} {middle_line} '
                         f'H{across(spread.high):.1f}"/>')
        against = summary.ratio(runs, name, FLOOR, metric.name) or summary.ratio(runs, name, "nginx", metric.name)
        text = words.number(spread.median, metric.digits)
        label = f' <tspan class="faint">× {against.median:.2f}</tspan>' if against else ""
        place = max(end, across(spread.high) if spread.median <= most else end) + 8
        parts.append(f'<text x="{place:.1f}" y="{top + 13}">{text}{label}</text>')
    return "\n".join([*parts, "</svg>"])


def table(headings, rows):
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = []
    for name, cells in rows:
        css = ' class="ours"' if name.startswith("srpd") else ""
        body.append(f"<tr{css}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(body)}</table></div>'


def section(workload, report):
    names = words.taken_part(workload, report)
    runs = report["runs"][workload.name]
    base = "floor" if FLOOR in runs else "nginx"
    parts = [f"<h2>{escape(workload.name)}</h2>", f"<p>{escape(workload.text)}</p>"]
    for metric in workload.metrics:
        if metric.ratios:
            parts += [f"<h3>{escape(metric.text)}, and × {base}</h3>", bars(runs, names, metric)]
    shown = list(words.columns(workload, report))
    rows = [(name, [words.NAMES[name], *(cell(name) for _, cell in shown)]) for name in names]
    parts.append(table(["", *(heading for heading, _ in shown)], rows))
    parts += [f"<p>Left out: {escape(line)}.</p>" for line in words.absent(workload, report)]
    return "\n".join(parts)


def html(report, workloads):
    rows = []
    for text, limit, measured, verdict in words.targets(report):
        css = verdict if verdict in ("met", "missed") else ""
        rows.append(f"<tr><td>{escape(text)}</td><td>{escape(limit)}</td><td>{escape(measured)}</td>"
                    f'<td class="{css}">{escape(verdict)}</td></tr>')
    goals = f'<div class="wide"><table><tr><th></th><th>target</th><th>measured</th><th></th></tr>{"".join(rows)}</table></div>'
    sections = "\n".join(section(one, report) for one in workloads if words.taken_part(one, report))
    introduction = "\n".join(f"<p>{escape(line.replace('`', ''))}</p>" for line in words.introduction(report))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>srpd beside other proxies</title><style>{STYLE}</style></head>
<body><h1>srpd beside other proxies</h1>
{introduction}
<h2>Targets</h2>
{goals}
{sections}
</body></html>
"""
