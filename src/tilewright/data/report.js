"use strict";
// Draws the report from the JSON in the page. No library, no network.

const run = JSON.parse(document.getElementById("data").textContent);
const CAUSES = ["busy", "wait_load", "wait_compute", "wait_store", "fence", "dispatch", "drain", "idle"];
const CAUSE_TEXT = {
  busy: "busy", wait_load: "waits for load", wait_compute: "waits for compute", wait_store: "waits for store",
  fence: "fence", dispatch: "no instruction yet", drain: "drains", idle: "done",
};
const PART_COLORS = {
  array: "#2a9d8f", vector: "#7b5ea7", epilogue: "#4f83cc", act: "#7fb069", wgt: "#b5c95a", acc: "#e9c46a",
  prm: "#c9a46b", tbl: "#a08070", dram: "#d9662c", program: "#b8447a", static: "#8a95a1",
};
const SPACE_COLORS = { act: "#2a9d8f", wgt: "#d9662c", acc: "#7b5ea7", prm: "#c9a227" };
let chosen = null;

// ---- numbers and elements

const grouped = (value) => value.toLocaleString("en-US");
const percent = (value) => `${(100 * value).toFixed(1)} %`;

function scaled(value, unit, base = 1000) {
  const prefixes = ["", "k", "M", "G", "T"];
  let step = 0;
  while (value >= base && step < prefixes.length - 1) { value /= base; step += 1; }
  const digits = value >= 100 || (step === 0 && Number.isInteger(value)) ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${prefixes[step]}${unit}`.trim();
}

function joules(pico) {
  for (const [factor, unit] of [[1e12, "J"], [1e9, "mJ"], [1e6, "µJ"], [1e3, "nJ"]]) {
    if (pico >= factor) return `${(pico / factor).toPrecision(3)} ${unit}`;
  }
  return `${pico.toPrecision(3)} pJ`;
}

function seconds(value) {
  for (const [factor, unit] of [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]]) {
    if (value >= factor) return `${(value / factor).toPrecision(3)} ${unit}`;
  }
  return `${(value / 1e-9).toPrecision(3)} ns`;
}

function element(name, attributes = {}, children = []) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") node.textContent = value;
    else if (key === "style") node.style.cssText = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function drawing(name, attributes = {}, text = null) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
}

function canvas(home, width, height) {
  const svg = drawing("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  home.append(svg);
  return svg;
}

const tip = document.getElementById("tip");

function explain(node, text) {
  node.addEventListener("mousemove", (event) => {
    tip.textContent = text;
    tip.style.display = "block";
    const left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
    const top = event.clientY + 16 + tip.offsetHeight > window.innerHeight ? -tip.offsetHeight - 10 : 16;
    tip.style.left = `${left}px`;
    tip.style.top = `${event.clientY + top}px`;
  });
  node.addEventListener("mouseleave", () => { tip.style.display = "none"; });
}

function legend(home, entries) {
  home.append(element("div", { class: "legend" }, entries.map(([color, text]) =>
    element("span", {}, [element("i", { style: `background:${color}` }), text]))));
}

// ---- layers, as the parts below use them

const layers = run.layers.map((layer, index) => {
  const work = layer.work || {};
  const busier = Math.max(work.read_bytes || 0, work.write_bytes || 0);
  const counts = layer.counts || {};
  return {
    ...layer, index, number: index + 1, short: run.short_names[index], read: work.read_bytes || 0,
    written: work.write_bytes || 0, bursts: (counts.read_bursts || 0) + (counts.write_bursts || 0),
    share: layer.cycles && run.cycles ? layer.cycles / run.cycles : 0,
    intensity: busier && layer.macs ? layer.macs / busier : null,
    rate: layer.cycles && layer.macs ? layer.macs / layer.cycles : null,
    picojoules: layer.energy ? layer.energy.total_picojoules : null,
  };
});
const device = layers.filter((layer) => layer.place === "device");

function choose(index) {
  chosen = chosen === index ? null : index;
  for (const node of document.querySelectorAll("[data-layer]")) {
    const is = Number(node.dataset.layer) === chosen;
    node.classList.toggle("chosen", is);
    if (node.namespaceURI.endsWith("svg")) node.classList.toggle("faded", chosen !== null && !is);
  }
  document.getElementById("scope").value = chosen === null ? "" : String(chosen);
  drawStalls();
}

function choosable(node, layer) {
  node.setAttribute("data-layer", layer.index);
  node.addEventListener("click", () => choose(layer.index));
}

// ---- head

function drawHead() {
  document.getElementById("title").textContent = `${run.model} on ${run.config}`;
  const parts = [`${run.simulator} simulator`, `${grouped(run.macs_per_cycle)} MACs a cycle`,
    `${run.bytes_per_cycle} bytes a cycle each way`, `configuration ${run.hash}`];
  document.getElementById("subtitle").textContent = parts.join(" · ");
  const tiles = [];
  if (run.cycles !== null) {
    tiles.push([grouped(run.cycles), `cycles, ${seconds(run.cycles / (run.clock_mhz * 1e6))} at ${run.clock_mhz} MHz`]);
    tiles.push([percent(run.utilization), "utilization of the array"]);
  }
  tiles.push([scaled(run.macs, ""), "multiply-accumulates"]);
  tiles.push([scaled(run.work.read_bytes, "B"), "read from DRAM"], [scaled(run.work.write_bytes, "B"), "written to DRAM"]);
  tiles.push([joules(run.energy.total_picojoules), `energy, estimated (${run.energy.table})`]);
  tiles.push([`${device.length}`, `layers on the device, ${layers.length - device.length} on the host`]);
  const home = document.getElementById("tiles");
  for (const [value, text] of tiles) {
    home.append(element("div", { class: "tile" }, [element("b", { text: value }), element("span", { text })]));
  }
}

// ---- roofline

function logarithmic(low, high, from, to) {
  const span = Math.log(high / low);
  return (value) => from + (to - from) * Math.log(value / low) / span;
}

function decades(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const factor of [1, 2, 5]) {
      const value = factor * 10 ** power;
      if (value >= low && value <= high) ticks.push([value, factor === 1]);
    }
  }
  return ticks;
}

function drawRoofline() {
  const home = document.getElementById("roofline");
  const points = device.filter((layer) => layer.intensity !== null && layer.rate !== null);
  if (!points.length) {
    home.append(element("p", { class: "empty", text: run.cycles === null
      ? "The functional simulator counts no cycles: run on rtl or fast for a roofline." : "No layer multiplies." }));
    return;
  }
  const [width, height, left, right, top, bottom] = [720, 400, 54, 16, 18, 42];
  const ridge = run.macs_per_cycle / run.bytes_per_cycle;
  const xs = points.map((layer) => layer.intensity).concat(ridge);
  const ys = points.map((layer) => layer.rate).concat(run.macs_per_cycle);
  const [xLow, xHigh] = [Math.min(...xs) / 2, Math.max(...xs) * 2.5];
  const [yLow, yHigh] = [Math.min(...ys) / 2, run.macs_per_cycle * 1.7];
  const x = logarithmic(xLow, xHigh, left, width - right);
  const y = logarithmic(yLow, yHigh, height - bottom, top);
  const svg = canvas(home, width, height);
  for (const [value, isDecade] of decades(xLow, xHigh)) {
    svg.append(drawing("line", { class: "axis", x1: x(value), x2: x(value), y1: top, y2: height - bottom,
      "stroke-opacity": isDecade ? 1 : 0.5 }));
    svg.append(drawing("text", { x: x(value), y: height - bottom + 15, "text-anchor": "middle" }, `${value}`));
  }
  for (const [value, isDecade] of decades(yLow, yHigh)) {
    svg.append(drawing("line", { class: "axis", x1: left, x2: width - right, y1: y(value), y2: y(value),
      "stroke-opacity": isDecade ? 1 : 0.5 }));
    svg.append(drawing("text", { x: left - 7, y: y(value) + 4, "text-anchor": "end" }, `${value}`));
  }
  svg.append(drawing("text", { x: (left + width) / 2, y: height - 6, "text-anchor": "middle" },
    "multiply-accumulates per byte of the busier DRAM direction"));
  svg.append(drawing("text", { x: 14, y: height / 2 - 12, "text-anchor": "middle",
    transform: `rotate(-90 14 ${height / 2 - 12})` }, "multiply-accumulates a cycle"));
  drawRoof(svg, x, y, { xLow, xHigh, yLow, ridge });
  const rank = [...points].sort((a, b) => b.cycles - a.cycles);
  for (const layer of rank) svg.append(roofPoint(layer, x(layer.intensity), y(layer.rate)));
  const bounds = [...new Set(points.map((layer) => layer.bound).filter(Boolean))];
  legend(home, bounds.map((bound) => [`var(--${bound})`, `bound by ${bound}`]));
}

function drawRoof(svg, x, y, { xLow, xHigh, yLow, ridge }) {
  const start = Math.max(xLow, yLow / run.bytes_per_cycle);
  const peak = y(run.macs_per_cycle);
  const corners = start < ridge ? [[x(start), y(start * run.bytes_per_cycle)], [x(ridge), peak]] : [[x(xLow), peak]];
  corners.push([x(xHigh), peak]);
  svg.append(drawing("polyline", { class: "roof", points: corners.map((corner) => corner.join(",")).join(" ") }));
  const label = start < ridge ? { x: x(ridge) - 10, y: peak + 3, "text-anchor": "end" } : { x: x(xLow) + 4, y: peak - 7 };
  svg.append(drawing("text", label, `array: ${run.macs_per_cycle} MACs a cycle`));
  if (start < ridge) {
    const middle = Math.sqrt(start * ridge);
    const [px, py] = [x(middle), y(middle * run.bytes_per_cycle)];
    const angle = Math.atan2(peak - py, x(ridge) - px) * 180 / Math.PI;
    svg.append(drawing("text", { x: px, y: py - 8, "text-anchor": "middle", transform: `rotate(${angle} ${px} ${py})` },
      `DRAM: ${run.bytes_per_cycle} bytes a cycle`));
  }
}

function roofPoint(layer, x, y) {
  const group = drawing("g", { class: "point", transform: `translate(${x} ${y})` });
  const radius = 7.5 + 8 * Math.sqrt(layer.share);
  group.append(drawing("circle", { r: radius, fill: `var(--${layer.bound || "none"})` }));
  group.append(drawing("text", {}, `${layer.number}`));
  explain(group, `${layer.number}  ${layer.short}\n${layer.rate.toFixed(1)} MACs a cycle, ${percent(layer.utilization)} of ` +
    `the array\n${layer.intensity.toFixed(1)} MACs a byte\n${grouped(layer.cycles)} cycles, ${percent(layer.share)} of the run`);
  choosable(group, layer);
  return group;
}

// ---- engines

function drawStalls() {
  const home = document.getElementById("stalls");
  home.replaceChildren();
  const scope = chosen === null ? run : layers[chosen];
  if (!scope.engines) {
    home.append(element("p", { class: "empty", text: run.engines ? "This layer runs on the host." : "No cycles were counted." }));
    return;
  }
  const engines = Object.entries(scope.engines);
  const [width, left, rowHeight] = [460, 64, 46];
  const svg = canvas(home, width, engines.length * rowHeight + 8);
  const longest = Math.max(1, ...engines.map(([, causes]) => Object.values(causes).reduce((a, b) => a + b, 0)));
  engines.forEach(([engine, causes], row) => drawEngine(svg, engine, causes, row * rowHeight, left, width - left, longest));
  const used = CAUSES.filter((cause) => engines.some(([, causes]) => causes[cause] > 0));
  legend(home, used.map((cause) => [`var(--${cause})`, CAUSE_TEXT[cause]]));
  home.append(causeTable(engines, used));
}

function drawEngine(svg, engine, causes, top, left, width, longest) {
  svg.append(drawing("text", { x: left - 8, y: top + 21, "text-anchor": "end" }, engine));
  let x = left;
  for (const cause of CAUSES) {
    const cycles = causes[cause];
    if (!cycles) continue;
    const bar = drawing("rect", { x, y: top + 4, width: width * cycles / longest, height: 26, fill: `var(--${cause})`,
      class: "stall" });
    explain(bar, `${engine}: ${CAUSE_TEXT[cause]}\n${grouped(cycles)} cycles, ${percent(cycles / longest)}`);
    svg.append(bar);
    x += width * cycles / longest;
  }
}

function causeTable(engines, used) {
  const head = element("tr", {}, [element("th", { class: "plain text", text: "cycles" }),
    ...engines.map(([engine]) => element("th", { class: "plain", text: engine }))]);
  const rows = used.map((cause) => element("tr", {}, [element("td", { class: "text", text: CAUSE_TEXT[cause] }),
    ...engines.map(([, causes]) => element("td", { text: causes[cause] ? grouped(causes[cause]) : "" }))]));
  const table = element("table", { style: "margin-top:10px" });
  table.append(element("thead", {}, [head]), element("tbody", {}, rows));
  return table;
}

function drawScope() {
  const select = document.getElementById("scope");
  select.append(element("option", { value: "", text: "the whole run" }));
  for (const layer of device) select.append(element("option", { value: layer.index, text: `${layer.number}  ${layer.short}` }));
  select.addEventListener("change", () => {
    const wanted = select.value === "" ? null : Number(select.value);
    choose(wanted === null ? chosen : wanted);
  });
}

// ---- over time

function drawTime() {
  const series = run.series;
  if (series === null) {
    document.getElementById("time-card").hidden = true;
    return;
  }
  const home = document.getElementById("time");
  const [width, left, right] = [1220, 54, 10];
  const x = (cycle) => left + (width - left - right) * cycle / Math.max(1, series.cycles);
  const lanes = dealLanes(series.layers);
  const depth = Math.max(...lanes.map((bar) => bar.lane)) + 1;
  const strip = depth * 18 + 6;
  const [chart, gap] = [110, 26];
  const svg = canvas(home, width, strip + 2 * (chart + gap) + 24);
  for (const bar of lanes) svg.append(layerBar(bar, x));
  const highest = Math.max(run.bytes_per_cycle, ...series.read, ...series.write);
  const first = strip + gap - 8;
  frame(svg, x, first, chart, width - right, left, [[0, "0"], [0.5, `${highest / 2}`], [1, `${highest}`]], "DRAM, bytes a cycle");
  for (const [values, color] of [[series.read, "#1f6feb"], [series.write, "#d9662c"]]) {
    svg.append(stairs(series.times, values, series.cycles, x, (value) => first + chart * (1 - value / highest), color));
  }
  const second = first + chart + gap;
  frame(svg, x, second, chart, width - right, left, [[0, "0 %"], [0.5, "50 %"], [1, "100 %"]], "scratchpads, share of entries in use");
  for (const [space, values] of Object.entries(series.occupancy)) {
    const line = stairs(series.times, values, series.cycles, x, (value) => second + chart * (1 - value), SPACE_COLORS[space]);
    line.setAttribute("data-space", space);
    svg.append(line);
  }
  const step = 10 ** Math.floor(Math.log10(Math.max(series.cycles, 10) / 4));
  const every = series.cycles / step > 20 ? 5 * step : series.cycles / step > 8 ? 2 * step : step;
  for (let cycle = 0; cycle <= series.cycles; cycle += every) {
    svg.append(drawing("text", { x: x(cycle), y: second + chart + 16, "text-anchor": "middle" }, grouped(cycle)));
  }
  legend(home, [["#1f6feb", "DRAM read"], ["#d9662c", "DRAM write"],
    ...Object.keys(series.occupancy).map((space) => [SPACE_COLORS[space], space])]);
}

function dealLanes(bars) {
  const free = [];
  return [...bars].sort((a, b) => a.begin - b.begin).map((bar) => {
    let lane = free.findIndex((end) => end <= bar.begin);
    if (lane < 0) lane = free.length;
    free[lane] = bar.end;
    return { ...bar, lane };
  });
}

function layerBar(bar, x) {
  const layer = layers.find((candidate) => candidate.name === bar.name) || { index: -1, number: "?", short: bar.name };
  const group = drawing("g", { class: "span" });
  const width = Math.max(1, x(bar.end) - x(bar.begin));
  group.append(drawing("rect", { x: x(bar.begin), y: bar.lane * 18, width, height: 15, rx: 3,
    fill: `var(--${layer.bound || "none"})`, "fill-opacity": 0.8 }));
  if (width > 16) {
    const text = width > 9 * layer.short.length ? layer.short : `${layer.number}`;
    group.append(drawing("text", { x: x(bar.begin) + width / 2, y: bar.lane * 18 + 11.5, "text-anchor": "middle",
      style: "fill:#fff;font-size:10px" }, text));
  }
  explain(group, `${layer.number}  ${layer.short}\ncycles ${grouped(bar.begin)} to ${grouped(bar.end)}`);
  choosable(group, layer);
  return group;
}

function frame(svg, x, top, height, right, left, ticks, title) {
  for (const [share, text] of ticks) {
    const y = top + height * (1 - share);
    svg.append(drawing("line", { class: "axis", x1: left, x2: right, y1: y, y2: y }));
    svg.append(drawing("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, text));
  }
  svg.append(drawing("text", { x: left + 2, y: top - 5 }, title));
}

function stairs(times, values, end, x, y, color) {
  const corners = [];
  values.forEach((value, i) => {
    corners.push(`${x(times[i]).toFixed(1)},${y(value).toFixed(1)}`);
    corners.push(`${x(i + 1 < times.length ? times[i + 1] : end).toFixed(1)},${y(value).toFixed(1)}`);
  });
  return drawing("polyline", { class: "series", stroke: color, points: corners.join(" ") });
}

// ---- table of layers

const COLUMNS = [
  { title: "#", key: "number" },
  { title: "layer", key: "short", text: true },
  { title: "kind", key: "kind", text: true },
  { title: "MACs", key: "macs", show: (layer) => (layer.macs ? grouped(layer.macs) : ""), foot: () => grouped(run.macs) },
  { title: "cycles", key: "cycles", show: (layer) => (layer.cycles === null ? "" : grouped(layer.cycles)),
    foot: () => (run.cycles === null ? "" : grouped(run.cycles)) },
  { title: "share", key: "share", bar: true },
  { title: "utilization", key: "utilization", bar: true, foot: () => (run.utilization === null ? "" : percent(run.utilization)) },
  { title: "DRAM read", key: "read", show: (layer) => (layer.read ? grouped(layer.read) : ""), foot: () => grouped(run.work.read_bytes) },
  { title: "written", key: "written", show: (layer) => (layer.written ? grouped(layer.written) : ""), foot: () => grouped(run.work.write_bytes) },
  { title: "bursts", key: "bursts", show: (layer) => (layer.bursts ? grouped(layer.bursts) : ""),
    foot: () => grouped(device.reduce((sum, layer) => sum + layer.bursts, 0)) },
  { title: "energy", key: "picojoules", show: (layer) => (layer.picojoules === null ? "" : joules(layer.picojoules)),
    foot: () => joules(run.energy.total_picojoules) },
  { title: "bound by", key: "bound", text: true },
];
let order = { key: "number", rising: true };

function compare(a, b) {
  const [one, other] = [a[order.key], b[order.key]];
  if (one === null || one === undefined) return 1;
  if (other === null || other === undefined) return -1;
  const difference = typeof one === "string" ? one.localeCompare(other, "en", { numeric: true }) : one - other;
  return order.rising ? difference : -difference;
}

function cell(layer, column) {
  const value = layer[column.key];
  if (column.key === "short") return element("td", { class: "text name", title: layer.name, text: value });
  if (column.key === "bound") {
    return element("td", { class: "text" }, value ? [element("span", { class: "tag", style: `background:var(--${value})`, text: value })] : []);
  }
  if (column.bar) {
    if (!value) return element("td");
    const fill = element("i", { style: `width:${Math.min(100, 100 * value)}%` });
    return element("td", {}, [percent(value), element("span", { class: "bar" }, [fill])]);
  }
  return element("td", { class: column.text ? "text" : "", text: column.show ? column.show(layer) : `${value}` });
}

function hostCells(layer) {
  const note = element("td", { class: "text", colspan: COLUMNS.length - 3, text: `on the host: ${layer.note || "no reason given"}` });
  return [...COLUMNS.slice(0, 3).map((column) => cell(layer, column)), note];
}

function drawRows() {
  const body = document.querySelector("#layers tbody");
  body.replaceChildren(...[...layers].sort(compare).map((layer) => {
    const row = element("tr", { class: layer.place }, layer.place === "host" ? hostCells(layer) :
      COLUMNS.map((column) => cell(layer, column)));
    choosable(row, layer);
    row.classList.toggle("chosen", chosen === layer.index);
    return row;
  }));
  document.querySelectorAll("#layers th").forEach((head, i) => {
    if (COLUMNS[i].key === order.key) head.setAttribute("aria-sort", order.rising ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  });
}

function drawTable() {
  const heads = COLUMNS.map((column) => {
    const head = element("th", { class: column.text ? "text" : "", text: column.title, "data-key": column.key });
    head.addEventListener("click", () => {
      const isSame = order.key === column.key;
      order = { key: column.key, rising: isSame ? !order.rising : Boolean(column.text) || column.key === "number" };
      drawRows();
    });
    return head;
  });
  document.querySelector("#layers thead").append(element("tr", {}, heads));
  const feet = COLUMNS.map((column, i) => element("td", { class: column.text ? "text" : "",
    text: column.foot ? column.foot() : i === 1 ? "total" : "" }));
  document.querySelector("#layers tfoot").append(element("tr", {}, feet));
  drawRows();
}

// ---- energy

function drawEnergy() {
  document.getElementById("energy-source").textContent = `An estimate from a table of energies (${run.energy.table}). ${run.energy.source}`;
  const home = document.getElementById("energy");
  const rows = device.filter((layer) => layer.picojoules > 0);
  if (!rows.length) return;
  const [width, left, right, rowHeight] = [1220, 260, 80, 22];
  const most = Math.max(...rows.map((layer) => layer.picojoules));
  const svg = canvas(home, width, rows.length * rowHeight + 4);
  rows.forEach((layer, row) => {
    const top = row * rowHeight;
    svg.append(drawing("text", { x: left - 8, y: top + 14, "text-anchor": "end" }, `${layer.short.slice(0, 40)}  ${layer.number}`));
    let x = left;
    for (const [part, value] of Object.entries(layer.energy.picojoules)) {
      if (!value) continue;
      const length = (width - left - right) * value / most;
      const bar = drawing("rect", { x, y: top + 3, width: length, height: 15, fill: PART_COLORS[part], class: "joules" });
      explain(bar, `${layer.short}\n${part}: ${joules(value)}, ${percent(value / layer.picojoules)}`);
      svg.append(bar);
      x += length;
    }
    svg.append(drawing("text", { x: x + 6, y: top + 14 }, joules(layer.picojoules)));
  });
  const total = run.energy.picojoules;
  legend(home, Object.keys(total).filter((part) => total[part] > 0)
    .map((part) => [PART_COLORS[part], `${part} ${joules(total[part])}`]));
}

// ---- comparison

function timeOf(thing) {
  if (typeof thing.seconds_per_run === "number") return thing.seconds_per_run;
  return typeof thing.cycles === "number" ? thing.cycles / (run.clock_mhz * 1e6) : null;
}

function comparisonCell(own, other, show) {
  if (other === null || other === undefined) return element("td", { text: "" });
  if (!own) return element("td", { text: show(other) });
  const ratio = other / own;
  const kind = ratio < 0.995 ? "faster" : ratio > 1.005 ? "slower" : "";
  return element("td", {}, [`${show(other)} `, element("span", { class: kind, text: `×${ratio.toFixed(2)}` })]);
}

function drawComparison() {
  if (!run.others.length) return;
  document.getElementById("comparison-card").hidden = false;
  const names = run.others.map((other) => [other.file, other.config, other.simulator].filter(Boolean).join(" · "));
  document.querySelector("#comparison thead").append(element("tr", {}, [element("th", { class: "plain text", text: "" }),
    element("th", { class: "plain", text: "this run" }), ...names.map((name) => element("th", { class: "plain", text: name }))]));
  const body = document.querySelector("#comparison tbody");
  const add = (title, own, others, show) => {
    if ((own === null || own === undefined) && others.every((value) => value === null || value === undefined)) return;
    body.append(element("tr", {}, [element("td", { class: "text name", text: title }),
      element("td", { text: own === null || own === undefined ? "" : show(own) }),
      ...others.map((value) => comparisonCell(own, value, show))]));
  };
  add(`time, at ${run.clock_mhz} MHz`, timeOf(run), run.others.map(timeOf), seconds);
  add("cycles", run.cycles, run.others.map((other) => other.cycles ?? null), grouped);
  add("energy", run.energy.total_picojoules, run.others.map((other) => other.energy?.total_picojoules ?? null), joules);
  for (const layer of layers) {
    const same = run.others.map((other) => other.layers.find((candidate) => candidate.name === layer.name));
    add(`${layer.number}  ${layer.short}`, timeOf(layer), same.map((found) => (found ? timeOf(found) : null)), seconds);
  }
}

drawHead();
drawScope();
drawRoofline();
drawStalls();
drawTime();
drawTable();
drawEnergy();
drawComparison();
