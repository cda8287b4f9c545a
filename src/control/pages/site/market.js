// The market of each location: supply against demand, prices of the last day, slots in use.

import { clock, element, fill, keepLooking, plot, read, shape, short } from "/site/plot.js";

let market = null;
let drawn = "";

/** Corners of a curve: so many slots at each price, one step after the other. */
function curve(steps, price) {
  let slots = 0;
  const corners = [];
  for (const step of steps) {
    corners.push([slots, Number(step[price])]);
    slots += step.slots;
    corners.push([slots, Number(step[price])]);
  }
  return corners;
}

function seconds(text) {
  return Date.parse(text) / 1000;
}

/** The last one again at this moment, so that a line reaches it. */
function untilNow(points) {
  const last = points.at(-1);
  return last ? [...points, [seconds(market.at), last[1]]] : points;
}

const PLOTS = [
  ["stack", "Supply and demand of the last interval: price by slots"],
  ["prices", "Price, the last 24 hours"],
  ["sold", "Slots, the last 24 hours"],
  ["curtailed", "Floating calls curtailed, by interval"],
];

/** The place of each location on the page, made anew only if there are other locations. */
function lay() {
  const names = market.locations.map((it) => it.location);
  const key = JSON.stringify(names);
  if (key === drawn) return;
  drawn = key;
  const sections = market.locations.map(({ location }, at) => {
    const figures = PLOTS.map(([id, caption]) => {
      const figure = element("figure", "", element("figcaption", "", caption));
      figure.id = `${id}-${at}`;
      return figure;
    });
    const table = element("table");
    table.id = `slots-${at}`;
    const title = element("h2");
    title.id = `title-${at}`;
    const plots = element("div", "plots", ...figures);
    return element("section", "", title, plots, element("div", "wide", table));
  });
  const none = element("p", "none", "No provider has a capacity, so nothing is sold by the slot.");
  document.getElementById("locations").replaceChildren(...(names.length ? sections : [none]));
}

function draw() {
  lay();
  market.locations.forEach(drawLocation);
  drawReservations();
}

function drawLocation(location, at) {
  const find = (id) => document.getElementById(`${id}-${at}`);
  const currency = market.currency ? ` ${market.currency}` : "";
  const wait = location.waiting > 0 ? `, ${location.waiting} wait` : "";
  find("title").textContent =
    `${location.location}: ${location.price}${currency} per million tokens${wait}`;
  const price = Number(location.price);
  const cap = Number(market.price_cap);
  const supply = curve(location.supply, "price");
  const demand = curve(location.demand, "limit");
  if (demand.length > 0) demand.push([demand.at(-1)[0], 0]);
  // Who names no limit bids the cap: far above everything else, and cut off here.
  const said = [...supply, ...demand].map((it) => it[1]).filter((it) => it < cap);
  const lastly = location.history.at(-1);
  plot(find("stack"), {
    series: [
      { name: "supply", css: "series-1", points: supply },
      { name: "demand", css: "series-3", points: demand },
    ],
    y: short,
    x: short,
    time: false,
    top: Math.max(...said, price) * 1.3 || 1,
    mark: price,
    dot: lastly && lastly.sold > 0 ? [lastly.sold, price] : undefined,
  });
  const past = (name) =>
    location.history.map((it) => [seconds(it.at), Number(it[name])]);
  const line = (name, css, of) => ({ name, css, points: untilNow(past(of)) });
  plot(find("prices"), { series: [line("price", "series-1", "price")], y: short, step: true });
  plot(find("sold"), {
    series: [
      line("offered", "series-1", "offered"),
      line("asked for", "series-3", "asked"),
      line("sold", "series-2", "sold"),
    ],
    y: short,
    step: true,
  });
  // Each clearing has what was curtailed before it, and the page what has been since the last.
  const counts = [...location.history.map((it) => it.curtailed), location.curtailed].slice(1);
  const curtailed = counts.map((count, index) => [seconds(location.history[index].at), count]);
  plot(find("curtailed"), {
    series: [{ name: "curtailed", css: "bad", points: untilNow(curtailed) }],
    y: short,
    step: true,
  });
  drawSlots(find("slots"), location);
}

function drawSlots(table, location) {
  const head = (name, css) => {
    const label = element("span", "", element("span", `swatch ${css}`), name);
    return [label, true];
  };
  const columns = [
    ["provider"], ["slots"], head("firm", "series-1"), head("floating", "series-3"),
    head("idle", "idle"), ["capacity", true], ["reserved now", true], ["curtailed", true],
  ];
  const rows = location.providers.map((it) => {
    const idle = Math.max(it.capacity - it.firm - it.floating, 0);
    const parts = [[it.firm, "series-1"], [it.floating, "series-3"], [idle, "idle"]];
    const numbers = [it.firm, it.floating, idle, it.capacity, it.reserved, it.curtailed];
    return [it.provider, bar(parts), ...numbers.map(short)];
  });
  fill(table, columns, rows, "No provider here has a capacity.");
}

/** Parts of a whole, side by side with a gap between them. */
function bar(parts) {
  const svg = shape("svg", { class: "bar", viewBox: "0 0 100 8", preserveAspectRatio: "none" });
  const whole = parts.reduce((sum, [count]) => sum + count, 0) || 1;
  let from = 0;
  for (const [count, css] of parts) {
    const width = (count / whole) * 100;
    const rect = { class: css, x: from, y: 0, width: Math.max(width - 0.8, 0), height: 8 };
    if (count > 0) svg.append(shape("rect", rect));
    from += width;
  }
  return svg;
}

function drawReservations() {
  const columns = [
    ["id"], ["key"], ["slots", true], ["where"], ["from"], ["until"],
  ];
  const day = (text) => `${text.slice(0, 10)} ${clock(seconds(text))}`;
  const rows = market.reservations.map((it) => [
    it.id ?? "in the file",
    it.key,
    String(it.slots),
    it.provider ?? `anywhere in ${it.jurisdiction}`,
    day(it.from),
    day(it.until),
  ]);
  fill(document.getElementById("reservations"), columns, rows, "Nothing is reserved.");
}

async function look() {
  market = await read("/srp/v1/market");
  draw();
}

addEventListener("resize", () => market && draw());
keepLooking(look);
