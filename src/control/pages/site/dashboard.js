// The last hour: samples are asked for once, and then only what has come since.

import { duration, element, fill, keepLooking, plot, read, short } from "/site/plot.js";

const SAMPLES_MAX = 720;
const LINES_MAX = 5;
const ENDPOINTS_MAX = 50;

let samples = null;
let providers = [];

/** Columns with those of a later page behind them. */
function joined(before, after, had, more) {
  if (Array.isArray(after) || Array.isArray(before)) {
    const list = [...(before ?? Array(had).fill(null)), ...(after ?? Array(more).fill(null))];
    return list.slice(-SAMPLES_MAX);
  }
  if (typeof after !== "object" || after === null) return after;
  const names = Object.keys(after);
  return Object.fromEntries(
    names.map((name) => [name, joined(before?.[name], after[name], had, more)]),
  );
}

/** A page of samples with its providers by name, so that pages can be joined. */
function byName(page) {
  const named = page.providers.map(({ name, ...columns }) => [name, columns]);
  return { ...page, providers: Object.fromEntries(named) };
}

async function look() {
  const since = samples?.at.at(-1);
  const path = since ? `/srp/v1/history?since=${since}` : "/srp/v1/history";
  const [page, state] = await Promise.all([read(path), read("/srp/v1/providers")]);
  const more = byName(page);
  samples = samples ? joined(samples, more, samples.at.length, more.at.length) : more;
  providers = state.providers;
  draw();
}

/** A column as points, a second's worth each. */
function rate(column) {
  return samples.at.map((at, index) => {
    const count = column[index];
    return [at, count === null ? null : (count * 1000) / samples.lasted_ms[index]];
  });
}

function plain(column) {
  return samples.at.map((at, index) => [at, column[index]]);
}

function line(name, css, points) {
  return { name, css, points };
}

function last(points) {
  return points.at(-1)?.[1] ?? null;
}

function percentiles(columns) {
  return [
    line("p50", "series-1", plain(columns.p50)),
    line("p90", "series-4", plain(columns.p90)),
    line("p99", "series-3", plain(columns.p99)),
  ];
}

/** A colour for each name: the same in every plot, but where two would have the same in one. */
function colours(names) {
  const free = new Set(Array.from({ length: LINES_MAX }, (_, at) => at));
  return (name) => {
    const own = names.indexOf(name) % LINES_MAX;
    const colour = free.has(own) ? own : [...free][0];
    free.delete(colour);
    return `series-${colour + 1}`;
  };
}

/** A line for each of those with the most of something; the others together, if they add up. */
function ranked(all, points, rank, others) {
  const ordered = Object.entries(all)
    .map(([name, columns]) => {
      const of = points(columns);
      return { name, of, weight: rank(columns) };
    })
    .sort((a, b) => b.weight - a.weight || (a.name < b.name ? -1 : 1));
  const shown = ordered.slice(0, LINES_MAX);
  const colour = colours(Object.keys(all));
  const lines = shown.map(({ name, of }) => line(name, colour(name), of));
  const rest = ordered.slice(LINES_MAX);
  if (rest.length === 0 || !others) return lines;
  const sum = samples.at.map((at, index) => [
    at,
    rest.reduce((sum, { of }) => sum + (of[index][1] ?? 0), 0),
  ]);
  return [...lines, line(`${rest.length} others`, "others", sum)];
}

function total(column) {
  return column.reduce((sum, value) => sum + (value ?? 0), 0);
}

function draw() {
  const { calls } = samples;
  const kinds = [
    line("served", "series-1", rate(calls.served)),
    line("refused (4xx)", "series-4", rate(calls.refused)),
    line("failed (5xx)", "bad", rate(calls.failed)),
    line("client left", "others", rate(calls.left)),
  ];
  const columns = Object.values(samples.providers);
  const all = (name) =>
    samples.at.map((_, index) => columns.reduce((sum, it) => sum + (it[name][index] ?? 0), 0));
  const tokens = [
    line("input", "series-1", rate(all("input_tokens"))),
    line("output", "series-2", rate(all("output_tokens"))),
  ];
  const figure = (id) => document.getElementById(id);
  plot(figure("calls"), { series: kinds, y: short });
  const flight = [line("in flight", "series-1", plain(samples.in_flight))];
  plot(figure("in-flight"), { series: flight, y: short });
  plot(figure("ttft"), { series: percentiles(samples.ttft_ms), y: duration });
  plot(figure("call"), { series: percentiles(samples.call_ms), y: duration });
  plot(figure("tokens"), { series: tokens, y: short });
  plot(figure("errors"), { series: ranked(samples.errors, rate, total, true), y: short });
  const of = (...how) => ranked(samples.providers, ...how);
  const failed = of((it) => rate(it.failed), (it) => total(it.failed), true);
  plot(figure("failures"), { series: failed, y: short });
  const busy = (it) => total(it.ended);
  plot(figure("attempts"), { series: of((it) => rate(it.ended), busy, true), y: short });
  const prices = of((it) => plain(it.price), busy, false);
  plot(figure("prices"), { series: prices, y: short, step: true });
  drawTiles(kinds, tokens);
  drawProviders();
  drawEndpoints();
}

function drawTiles(kinds, tokens) {
  const sum = kinds.reduce((sum, kind) => sum + (last(kind.points) ?? 0), 0);
  const share = ({ p50, p99 }) => [duration(p50.at(-1)), `p99 ${duration(p99.at(-1))}`];
  const [ttft, ttftMore] = share(samples.ttft_ms);
  const [call, callMore] = share(samples.call_ms);
  const [input, output] = tokens.map((it) => last(it.points));
  const tiles = [
    ["Calls a second", short(sum), ""],
    ["Failed a second", short(last(kinds[2].points)), ""],
    ["In flight", short(samples.in_flight.at(-1)), `${short(samples.connections.at(-1))} connections`],
    ["First token, p50", ttft, ttftMore],
    ["Whole call, p50", call, callMore],
    ["Output tokens/s", short(output), `${short(input)} input`],
  ];
  const tile = ([name, value, more]) =>
    element("div", "tile", element("span", "", name), element("b", "", value), " ", element("small", "", more));
  document.getElementById("tiles").replaceChildren(...tiles.map(tile));
}

/** How a target is, in a word; the second says whether that is trouble. */
function state(target) {
  if (target.draining) return ["draining", ""];
  if (target.addresses?.length === 0) return ["without an address", "trouble"];
  if (target.health?.ready === false) {
    return [`not ready: ${target.health.trouble ?? "not checked yet"}`, "trouble"];
  }
  if (target.breaker && target.breaker !== "closed") {
    return [`breaker ${target.breaker.replace("_", "-")}`, "trouble"];
  }
  return target.gated_ms ? ["paused", "trouble"] : ["up", ""];
}

function drawProviders() {
  const columns = [
    ["provider"], ["where"], ["state"], ["in flight", true], ["attempts/s", true],
    ["failed/s", true], ["output tokens/s", true], ["price", true], ["failovers", true],
  ];
  const rows = providers.map((provider) => {
    const sampled = samples.providers[provider.name];
    const now = (name) => (sampled ? short(last(rate(sampled[name]))) : "–");
    const slots = provider.capacity ? ` of ${provider.capacity}` : "";
    return [
      provider.name,
      provider.jurisdiction + (provider.backstop ? ", backstop" : ""),
      state(provider),
      `${provider.in_flight}${slots}`,
      now("ended"),
      now("failed"),
      now("output_tokens"),
      provider.price,
      short(provider.failovers),
    ];
  });
  fill(document.getElementById("providers"), columns, rows, "There are none.");
}

function drawEndpoints() {
  const columns = [
    ["provider"], ["endpoint"], ["state"], ["in flight", true], ["waiting there", true],
    ["successes", true], ["failures", true],
  ];
  const rows = providers.flatMap((provider) =>
    provider.endpoints.map((endpoint) => [
      provider.name,
      endpoint.url,
      state(endpoint),
      short(endpoint.in_flight),
      short(endpoint.health?.waiting),
      short(endpoint.successes),
      short(endpoint.failures),
    ]),
  );
  // Those in trouble first.
  rows.sort((a, b) => (b[2][1] ? 1 : 0) - (a[2][1] ? 1 : 0));
  const table = document.getElementById("endpoints");
  fill(table, columns, rows.slice(0, ENDPOINTS_MAX), "There are none.");
  if (rows.length > ENDPOINTS_MAX) {
    table.append(element("caption", "", `${ENDPOINTS_MAX} of ${rows.length}; /srp/v1/providers has all.`));
  }
}

addEventListener("resize", () => samples && draw());
keepLooking(look);
