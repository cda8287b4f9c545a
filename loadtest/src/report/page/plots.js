// Plots in SVG: lines over a linear, time or percentile axis, and intervals of ratios.

const svg = (name, attributes, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
};

const html = (name, attributes, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  node.append(...children);
  return node;
};

const three = (value) => {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const digits = size < 10 ? 2 : size < 100 ? 1 : 0;
  return value.toFixed(digits).replace(/\.0+$/, "");
};

const time = (ms) => ms < 1 ? `${three(ms * 1000)} µs` : ms < 1000 ? `${three(ms)} ms` : `${three(ms / 1000)} s`;

const count = (value) => value >= 1e6 ? `${three(value / 1e6)} M` : value >= 1e4 ? `${three(value / 1e3)} k` : three(value);

// Round steps of an axis from `low` to `high`.
function steps(low, high, wanted) {
  const raw = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-6; at += step) found.push(at);
  return found;
}

// Powers of ten, with 2 and 5 between them where there is room.
function powers(low, high) {
  const factors = Math.log10(high / low) > 2.5 ? [1] : [1, 2, 5];
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
    for (const factor of factors) {
      const at = factor * 10 ** power;
      if (at >= low * 0.999 && at <= high * 1.001) found.push(at);
    }
  return found;
}

// How far a share lies on an axis on which 90%, 99%, 99.9% are equally far apart.
const nines = (share) => -Math.log10(Math.max(1 - share, 1e-6));

// lines: [{name, color, dashed, points: [[x, y], …]}]; options: title, note, wide, x, y (formats),
// ticks ([[x, label], …]), log, label (of an x, in the tip).
function plot(lines, options) {
  lines = lines.filter((line) => line.points.length);
  const width = options.wide ? 1080 : 520, height = 230;
  const left = 62, right = 12, top = 8, bottom = 24;
  const all = lines.flatMap((line) => line.points);
  const xs = all.map((point) => point[0]), ys = all.map((point) => point[1]);
  const low = options.low ?? Math.min(...xs);
  const high = Math.max(...xs, low + 1e-9);
  const positive = ys.filter((y) => y > 0);
  const log = options.log && positive.length > 0;
  let bottomY = log ? Math.min(...positive) / 1.2 : 0;
  let topY = Math.max(...ys, log ? bottomY * 2 : 1e-9) * (log ? 1.2 : 1.06);
  const place = (x) => left + (x - low) / (high - low) * (width - left - right);
  const scale = (y) => log ? Math.log(Math.max(y, bottomY) / bottomY) / Math.log(topY / bottomY) : y / topY;
  const rise = (y) => height - bottom - scale(y) * (height - top - bottom);

  const figure = html("figure", options.wide ? { class: "wide" } : {});
  figure.append(html("figcaption", {}, options.title + " ", html("small", {}, options.note || "")));
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": options.title });
  for (const y of log ? powers(bottomY, topY) : steps(0, topY, 4)) {
    root.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: rise(y), y2: rise(y) }));
    root.append(svg("text", { x: left - 7, y: rise(y) + 4, "text-anchor": "end" }, options.y(y)));
  }
  const ticks = options.ticks || steps(low, high, 6).map((x) => [x, options.x(x)]);
  for (const [x, label] of ticks.filter(([x]) => x >= low && x <= high * 1.0001))
    root.append(svg("text", { x: place(x), y: height - 6, "text-anchor": "middle" }, label));
  for (const line of lines) {
    const path = line.points.map(([x, y], at) => `${at ? "L" : "M"}${place(x).toFixed(1)} ${rise(y).toFixed(1)}`).join("");
    root.append(svg("path", { class: line.dashed ? "line dashed" : "line", stroke: line.color, d: path }));
    if (line.points.length === 1)
      root.append(svg("circle", { cx: place(line.points[0][0]), cy: rise(line.points[0][1]), r: 3, fill: line.color }));
  }
  const cross = svg("line", { class: "cross", y1: top, y2: height - bottom });
  root.append(cross);
  const tip = html("div", { class: "tip" });
  figure.append(root, legend(lines), tip);
  follow(figure, root, cross, tip, lines, { place, width, options });
  return figure;
}

function legend(lines) {
  const list = html("div", { class: "legend" });
  for (const line of lines)
    list.append(html("span", {}, html("i", { style: `border-color:${line.color}`, class: line.dashed ? "dash" : "" }), line.name));
  return list;
}

// Says what is nearest to the pointer.
function follow(figure, root, cross, tip, lines, { place, width, options }) {
  const hide = () => [cross, tip].forEach((node) => { node.style.visibility = "hidden"; });
  root.addEventListener("pointerleave", hide);
  root.addEventListener("pointermove", (event) => {
    const box = root.getBoundingClientRect();
    const at = (event.clientX - box.left) / box.width * width;
    const near = lines.map((line) => line.points.reduce((best, point) =>
      Math.abs(place(point[0]) - at) < Math.abs(place(best[0]) - at) ? point : best));
    if (!near.length) return hide();
    const x = near.reduce((best, point) => Math.abs(place(point[0]) - at) < Math.abs(place(best[0]) - at) ? point : best)[0];
    for (const name of ["x1", "x2"]) cross.setAttribute(name, place(x));
    tip.replaceChildren(html("b", {}, (options.label || options.x)(x)));
    lines.forEach((line, index) => {
      if (Math.abs(place(near[index][0]) - place(x)) < 12)
        tip.append(html("div", {}, html("i", { style: `color:${line.color};font-style:normal` }, "● "), `${line.name}: ${options.y(near[index][1])}`));
    });
    [cross, tip].forEach((node) => { node.style.visibility = "visible"; });
    const px = event.clientX - figure.getBoundingClientRect().left;
    const flip = px > figure.clientWidth / 2;
    tip.style.left = flip ? "" : `${px + 14}px`;
    tip.style.right = flip ? `${figure.clientWidth - px + 14}px` : "";
    tip.style.top = "44px";
  });
}

// Ratios with their intervals, on a logarithmic axis around 1.
function forest(rows, title, note) {
  const height = 26 * rows.length + 34, width = 1080, left = 170, right = 230;
  const ends = rows.flatMap(([, ratio]) => [ratio.low ?? ratio.ratio, ratio.high ?? ratio.ratio]);
  const reach = Math.min(Math.max(...ends.map((end) => Math.abs(Math.log(end))), Math.log(1.05)), Math.log(100)) * 1.1;
  const place = (value) => left + (Math.max(-reach, Math.min(reach, Math.log(value))) + reach) / (2 * reach) * (width - left - right);
  const figure = html("figure", { class: "wide" }, html("figcaption", {}, title + " ", html("small", {}, note)));
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  const marks = reach > 1 ? [0.1, 0.2, 0.5, 1, 2, 5, 10] : reach > 0.25 ? [0.5, 0.7, 1, 1.4, 2] : [0.8, 0.9, 0.95, 1, 1.05, 1.1, 1.2];
  for (const mark of marks.filter((mark) => Math.abs(Math.log(mark)) <= reach)) {
    root.append(svg("line", { class: "grid", x1: place(mark), x2: place(mark), y1: 4, y2: height - 26, style: mark === 1 ? "stroke:var(--quiet)" : "" }));
    root.append(svg("text", { x: place(mark), y: height - 8, "text-anchor": "middle" }, `× ${mark}`));
  }
  rows.forEach(([name, ratio], row) => {
    const y = 26 * row + 18;
    const differs = ratio.low !== null && (ratio.low > 1 || ratio.high < 1);
    const color = differs ? "var(--c0)" : "var(--quiet)";
    root.append(svg("text", { x: left - 12, y: y + 4, "text-anchor": "end", style: "fill:var(--ink)" }, name));
    if (ratio.low !== null)
      root.append(svg("line", { x1: place(ratio.low), x2: place(ratio.high), y1: y, y2: y, stroke: color, "stroke-width": 2 }));
    root.append(svg("circle", { cx: place(ratio.ratio), cy: y, r: 4.5, fill: color }));
    const interval = ratio.low === null ? "too few rounds" : `${ratio.low.toFixed(3)} to ${ratio.high.toFixed(3)}`;
    root.append(svg("text", { x: width - right + 16, y: y + 4, style: "fill:var(--ink)" }, `${ratio.ratio.toFixed(3)}  (${interval})`));
  });
  figure.append(root);
  return figure;
}
