// Plots as SVG, tables, and the asking again: what both pages need. Text is only ever set as
// text, so that no name of a configuration becomes markup.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { top: 8, right: 18, bottom: 20, left: 46 };

/** An HTML element with a class, and text or other elements in it. */
export function element(name, css = "", ...children) {
  const made = document.createElement(name);
  if (css) made.className = css;
  made.append(...children);
  return made;
}

/** An SVG element with attributes, and text in it. */
export function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** A number as short as it can be read. */
export function short(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return `${trim(value / 1e6)} M`;
  if (size >= 1e4) return `${trim(value / 1e3)} k`;
  return trim(value);
}

function trim(value) {
  const size = Math.abs(value);
  return String(Number(value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)));
}

/** Milliseconds as a time. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  return ms >= 1000 ? `${trim(ms / 1000)} s` : `${trim(ms)} ms`;
}

/** Seconds since the epoch as hours and minutes. */
export function clock(second) {
  const time = new Date(second * 1000);
  return time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
}

/** Round numbers from 0 to a little above `high`. */
function ticks(high, count) {
  if (high === 0) return [0, 1];
  const rough = high / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((it) => it * power >= rough) * power;
  const all = [];
  for (let at = 0; all.length < 20; at += 1) {
    all.push(at * step);
    if (at * step >= high) break;
  }
  return all;
}

/** Round times between two seconds. */
function times(from, to) {
  const steps = [60, 300, 600, 900, 1800, 3600, 7200, 14400, 21600];
  const step = steps.find((it) => (to - from) / it <= 5) ?? 21600;
  const all = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) all.push(at);
  return all;
}

/** What a line is at x: its point before, or its nearest one. */
function valueAt(points, x, step) {
  let found = null;
  for (const point of points) {
    if (step && point[0] > x) break;
    if (step || found === null || Math.abs(point[0] - x) <= Math.abs(found[0] - x)) found = point;
  }
  return found?.[1] ?? null;
}

/** The `d` of a path: gaps where there is no value, corners where a value holds until the next. */
function path(points, x, y, step) {
  let drawn = "";
  let open = false;
  for (const [at, value] of points) {
    if (value === null || value === undefined) {
      open = false;
      continue;
    }
    const [px, py] = [x(at).toFixed(1), y(value).toFixed(1)];
    if (!open) drawn += `M${px} ${py}`;
    else drawn += step ? `H${px}V${py}` : `L${px} ${py}`;
    // A lone point would be invisible.
    if (!open) drawn += "h0.01";
    open = true;
  }
  return drawn;
}

/**
 * Draws lines into a figure.
 *
 * series: [{ name, css, points: [[x, y or null]] }]; y: how a value is written; x: how an x is;
 * step: values hold until the next; time: x are seconds; top: where the plot ends at most;
 * mark: a y to be marked; dot: a point to be.
 */
export function plot(figure, { series, y, x = clock, step = false, time = true, top, mark, dot }) {
  const svg = figure.querySelector("svg") ?? figure.appendChild(shape("svg", { role: "img" }));
  const legend =
    figure.querySelector(".legend") ?? figure.insertBefore(element("p", "legend"), svg);
  const [width, height] = [svg.clientWidth || 300, svg.clientHeight || 176];
  const points = series.flatMap((it) => it.points).filter((it) => it[1] !== null);
  const xs = points.map((it) => it[0]);
  const [from, to] = [time ? low(xs) : 0, high(xs)];
  const wanted = Math.min(Math.max(high(points.map((it) => it[1])), mark ?? 0), top ?? Infinity);
  const scale = ticks(wanted, 4);
  const ceiling = scale[scale.length - 1];
  const px = (at) =>
    MARGIN.left + ((at - from) / (to - from || 1)) * (width - MARGIN.left - MARGIN.right);
  const py = (value) =>
    height -
    MARGIN.bottom -
    (Math.min(value, ceiling) / ceiling) * (height - MARGIN.top - MARGIN.bottom);

  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-label", figure.querySelector("figcaption")?.textContent ?? "");
  for (const value of scale) {
    const at = py(value);
    const right = width - MARGIN.right;
    svg.append(shape("line", { class: "grid", x1: MARGIN.left, x2: right, y1: at, y2: at }));
    const place = { x: MARGIN.left - 6, y: at + 4, "text-anchor": "end" };
    svg.append(shape("text", place, y(value)));
  }
  for (const at of time ? times(from, to) : ticks(to, 5).filter((it) => it <= to)) {
    svg.append(shape("text", { x: px(at), y: height - 5, "text-anchor": "middle" }, x(at)));
  }
  if (mark !== undefined) {
    const at = { y1: py(mark), y2: py(mark), x1: MARGIN.left, x2: width - MARGIN.right };
    svg.append(shape("line", { class: "mark", ...at }));
  }
  for (const line of series) {
    svg.append(shape("path", { class: `line ${line.css}`, d: path(line.points, px, py, step) }));
  }
  if (dot) svg.append(shape("circle", { class: "dot", cx: px(dot[0]), cy: py(dot[1]), r: 5 }));

  const cross = shape("line", { class: "cross", y1: MARGIN.top, y2: height - MARGIN.bottom });
  const show = (at) => {
    const keys = series.map((line) => {
      const value = at === undefined ? undefined : valueAt(line.points, at, step);
      const says = value === undefined ? line.name : `${line.name} ${y(value)}`;
      return element("span", "", element("span", `key ${line.css}`), says);
    });
    legend.replaceChildren(...(keys.length ? keys : ["none"]));
    if (at !== undefined) legend.append(element("span", "", `at ${x(at)}`));
  };
  show();
  svg.onpointermove = (event) => {
    const along = (event.offsetX - MARGIN.left) / (width - MARGIN.left - MARGIN.right);
    const at = from + Math.min(Math.max(along, 0), 1) * (to - from);
    cross.setAttribute("x1", px(at));
    cross.setAttribute("x2", px(at));
    svg.append(cross);
    show(at);
  };
  svg.onpointerleave = () => {
    cross.remove();
    show();
  };
}

function low(values) {
  return values.reduce((least, value) => Math.min(least, value), Infinity);
}

function high(values) {
  return values.reduce((most, value) => Math.max(most, value), 0);
}

/** Fills a table: columns are [name, is a number]; a cell is text, an element, or [text, class]. */
export function fill(table, columns, rows, none) {
  const cell = (kind, content, [, number]) => {
    const [inside, css] = Array.isArray(content) ? content : [content, ""];
    return element(kind, [css, number ? "number" : ""].join(" ").trim(), inside);
  };
  const head = element("tr", "", ...columns.map((column) => cell("th", column[0], column)));
  const body = rows.map((row) =>
    element("tr", "", ...row.map((content, at) => cell("td", content, columns[at]))),
  );
  const caption = rows.length === 0 ? [element("caption", "", none)] : [];
  table.replaceChildren(...caption, element("thead", "", head), element("tbody", "", ...body));
}

/** Calls `look` now and every five seconds, and says how that went. */
export function keepLooking(look) {
  const status = document.getElementById("status");
  let last = "never";
  const turn = async () => {
    try {
      await look();
      last = new Date().toLocaleTimeString([], { hourCycle: "h23" });
      document.documentElement.dataset.state = "live";
      status.textContent = `as of ${last}`;
    } catch (error) {
      document.documentElement.dataset.state = "stale";
      status.textContent = `no answer (${error.message}); last heard: ${last}`;
    }
    setTimeout(turn, 5000);
  };
  turn();
}

/** A JSON page of this instance. */
export async function read(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
}
