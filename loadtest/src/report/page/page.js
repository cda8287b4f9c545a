// The page: what was measured, as tiles, plots and tables.

const page = document.getElementById("page");
const names = {
  ttfb: "time to first byte", ttft: "time to first token", gap: "gap between tokens",
  tpot: "time per token of a call", e2e: "end to end", added: "stamp to arrival", lag: "intended to sent",
};
const columns = ["p50", "p90", "p95", "p99", "p999", "mean", "max"];
const color = (index) => `var(--c${index % 6})`;
const percent = (share) => `${three(share * 100)}%`;
const several = report.targets.length > 1;

// What is drawn as a line each: the targets; or the classes of the only one.
const subjects = several
  ? report.targets.map((target) => [target.url, target.all])
  : Object.keys(report.targets[0].classes).length > 1
    ? Object.entries(report.targets[0].classes)
    : [["all calls", report.targets[0].all]];

const section = (title, ...children) => page.append(html("h2", {}, title), ...children);

const table = (header, rows) => {
  const body = rows.map((row) => html("tr", {}, ...row.map((cell) => cell instanceof Node ? cell : html("td", {}, String(cell)))));
  return html("div", { class: "scroll" }, html("table", {}, html("thead", {}, html("tr", {}, ...header.map((cell) => html("th", {}, cell)))), html("tbody", {}, ...body)));
};

function head() {
  page.append(html("h1", {}, report.targets.map((target) => target.url).join(" and ")));
  const when = new Date(report.started).toLocaleString();
  page.append(html("div", { class: "quiet" }, `${when}, ${three(report.seconds)} s counted, seed ${report.seed}`));
  page.append(html("code", { class: "quiet" }, report.command.join(" ")));
  if (report.stopped) page.append(html("div", { class: "bad" }, `Stopped early; ${report.cut_short} calls in flight count nowhere.`));
  for (const target of report.targets) {
    const all = target.all;
    if (several) page.append(html("h2", {}, target.url));
    const p = (metric, name) => all.times[metric] ? time(all.times[metric][name]) : "–";
    const main = all.times.ttft ? "ttft" : "e2e";
    const tiles = [
      [count(all.calls_per_second), "calls/s"],
      [count(all.tokens_per_second), "tokens/s"],
      [p(main, "p50"), `${main} p50`],
      [p(main, "p99"), `${main} p99`],
      [percent(all.error_rate), `failed, ${all.failed} of ${all.calls}`, all.failed ? "bad" : ""],
    ];
    if (all.times.added) tiles.push([p("added", "p50"), "stamp to arrival p50"]);
    if (report.goals.length) tiles.push([percent(all.goodput), `good: ${report.goals.join(", ")}`]);
    if (all.failovers) tiles.push([count(all.failovers), "calls took more than one attempt"]);
    if (all.stalls) tiles.push([count(all.stalls), `stalls, in ${all.stalled_calls} calls`, "bad"]);
    page.append(html("div", { class: "tiles" }, ...tiles.map(([value, label, tone]) =>
      html("div", { class: "tile" }, html("b", { class: tone || "" }, value), html("span", {}, label)))));
  }
}

function objectives() {
  if (!report.objectives.length) return;
  const rows = report.objectives.map((objective) => {
    const measured = objective.measured === null ? "nothing" : objective.is_time ? time(objective.measured) : percent(objective.measured);
    const row = [objective.objective, measured, html("td", { class: objective.kept ? "good" : "bad" }, objective.kept ? "kept" : "missed")];
    return several ? [...row, objective.url] : row;
  });
  section("Objectives", table(["objective", "measured", "", ...(several ? ["target"] : [])], rows));
}

function comparisons() {
  for (const one of report.comparisons)
    section("Compared", forest(Object.entries(one.ratios), `${one.url} over ${one.base}`,
      `geometric mean of the ratios in ${one.rounds} rounds, 95% interval; grey: no difference shown; rounds without a figure are left out`));
}

function percentiles(metric) {
  const lines = subjects.filter(([, all]) => all.times[metric]).map(([name, all], index) => ({
    name, color: color(index),
    points: all.times[metric].distribution.filter(([share]) => share < 1).map(([share, ms]) => [nines(share), ms])
      .concat([[nines(1 - 1 / Math.max(all.times[metric].count, 2)), all.times[metric].max]]).sort((a, b) => a[0] - b[0]),
  }));
  const ticks = [0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999].map((share) => [nines(share), share ? percentName(share) : "0"]);
  return plot(lines, {
    title: "Latency by percentile", note: `${names[metric]}; ${lines.length ? count(subjects[0][1].times[metric]?.count ?? 0) : 0} values`,
    wide: true, low: 0, log: true, x: three, y: time, ticks, label: (x) => percentName(1 - 10 ** -x),
  });
}

const percentName = (share) => `${+(share * 100).toFixed(4)}%`;

function overTime(metric) {
  const lines = report.targets.flatMap((target, index) => ["p50", "p99"].map((name) => ({
    name: several ? `${target.url} ${name}` : name,
    color: color(several ? index : name === "p50" ? 0 : 1), dashed: several && name === "p99",
    points: target.series.filter((point) => point.times[metric]).map((point) => [point.from + point.seconds / 2, point.times[metric][name]]),
  })));
  if (!lines.some((line) => line.points.length)) return [];
  return [plot(lines, { title: "Latency over time", note: `${names[metric]}, by when the call was due`, wide: true, log: true, low: 0, x: (x) => `${three(x)} s`, y: time })];
}

function rates() {
  const over = (figure) => report.targets.map((target, index) => ({
    name: several ? target.url : figure.name, color: color(several ? index : figure.color),
    points: target.series.map((point) => [point.from + point.seconds / 2, figure.of(point) / point.seconds]),
  }));
  const axis = { low: 0, x: (x) => `${three(x)} s`, y: count };
  const good = { name: "well", color: 2, of: (point) => point.calls - point.failed };
  const bad = { name: "failed", color: 5, of: (point) => point.failed };
  const calls = several ? over(good) : [...over(good), ...over(bad)];
  const tokens = over({ name: "tokens", color: 0, of: (point) => point.tokens });
  const plots = [plot(calls, { title: "Calls per second", note: several ? "that ended well, by when they were due" : "by when they were due", ...axis })];
  if (tokens.some((line) => line.points.some((point) => point[1] > 0)))
    plots.push(plot(tokens, { title: "Tokens per second", note: "of calls that ended well, by when they were due", ...axis }));
  if (several && report.targets.some((target) => target.all.failed))
    plots.push(plot(over(bad), { title: "Failures per second", note: "by when calls were due", ...axis }));
  return plots;
}

function plots() {
  const metrics = Object.keys(names).filter((metric) => subjects.some(([, all]) => all.times[metric]));
  if (!metrics.length) return;
  const choice = html("div", { class: "choice", role: "group", "aria-label": "metric" });
  const place = html("div", { class: "plots" });
  const choose = (metric) => {
    for (const button of choice.children) button.setAttribute("aria-pressed", button.dataset.metric === metric);
    place.replaceChildren(percentiles(metric), ...overTime(metric), ...rates());
  };
  for (const metric of metrics) {
    const button = html("button", { "data-metric": metric, type: "button" }, names[metric]);
    button.addEventListener("click", () => choose(metric));
    choice.append(button);
  }
  section("Latency and rates", choice, place);
  choose(metrics.includes("ttft") ? "ttft" : "e2e");
}

function tables() {
  const groups = report.targets.flatMap((target) => {
    const classes = Object.entries(target.classes);
    const own = classes.length > 1 ? classes.map(([name, all]) => [several ? `${target.url}, ${name}` : name, all]) : [];
    return [[several ? target.url : "All calls", target.all], ...own];
  });
  for (const [title, all] of groups) {
    const rows = Object.keys(names).filter((metric) => all.times[metric]).map((metric) =>
      [names[metric], all.times[metric].count, ...columns.map((name) => time(all.times[metric][name]))]);
    if (rows.length) section(title, table(["", "count", ...columns.map((name) => name.replace("p999", "p99.9"))], rows));
    if (all.failures.length)
      page.append(html("h2", {}, `Failures: ${title}`), table(["code", "status", "calls"], all.failures.map((one) => [one.code, one.status || "none", one.calls])));
  }
}

head();
objectives();
comparisons();
plots();
tables();
