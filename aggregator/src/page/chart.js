// One panel of a card: an SVG with its scale, drawn from columns. Lines break where data is absent.

import { el, svg, setAttr, setText, has, clock, reconcile } from "./util.js";
import { lowerBound } from "./series.js";

export const MARGIN = { left: 46, right: 46, top: 6 };
let panels = 0;

/** A round step that puts about `ticks` lines below `max`. */
function niceStep(max, ticks) {
  const power = 10 ** Math.floor(Math.log10(max / ticks));
  return [1, 2, 2.5, 5, 10].map((m) => m * power).find((step) => max / step <= ticks) ?? 10 * power;
}

/** All labels of an axis with the decimals that its step needs. */
function decimals(tick, step) {
  if (step >= 1000) return `${tick / 1000} k`;
  return tick === 0 ? "0" : tick.toFixed([0, 1, 2, 3].find((n) => Math.abs(step * 10 ** n - Math.round(step * 10 ** n)) < 1e-6) ?? 3);
}

class Scale {
  constructor(height, least) {
    this.height = height;
    this.least = least;
    this.max = 0;
  }

  /** Follows the data with some inertia, so that the axis does not twitch at every tick. */
  fit(max) {
    max = Math.max(max, this.least);
    if (max > this.max || max < this.max * 0.45) {
      const step = niceStep(max * 1.04, 3);
      this.max = Math.ceil((max * 1.04) / step) * step;
      this.step = step;
    }
    this.ticks = [];
    for (let i = 0; i * this.step <= this.max * 1.001; i++) this.ticks.push(i * this.step);
  }

  y(value) {
    return MARGIN.top + (this.height - MARGIN.top) * (1 - value / this.max);
  }
}

/**
 * Reduces rows [from, to) to what the pixels can show: [x, low, high] per point, null for a gap.
 * With more rows than pixels, a pixel holds their mean, or, where a spike matters, their `peak` or whole `range`.
 */
function reduce(layer, view, from, to) {
  const { at, low, high, step } = layer, dense = to - from > view.plot * 1.5, points = [];
  let bucket = null;
  if (layer.range && !dense) return points;
  for (let i = from; i < to; i++) {
    const a = low[i], b = high[i], x = view.x(at[i] + step / 2);
    if (!has(a) || !has(b)) {
      if (!dense && points[points.length - 1]) points.push(null);
      continue;
    }
    if (dense && bucket && Math.floor(x) === bucket[0]) {
      const n = ++bucket[3];
      bucket[1] = layer.peak ? Math.max(bucket[1], a) : layer.range ? Math.min(bucket[1], a) : bucket[1] + (a - bucket[1]) / n;
      bucket[2] = layer.peak || layer.range ? Math.max(bucket[2], b) : bucket[2] + (b - bucket[2]) / n;
      continue;
    }
    const before = points[points.length - 1];
    if (before && (dense ? x - before[0] > 3 : i > from && at[i] - at[i - 1] > step * 2.5)) points.push(null);
    points.push((bucket = [dense ? Math.floor(x) : x, a, b, 1]));
  }
  return points;
}

function runs(points) {
  const out = [];
  let run = null;
  for (const point of points) {
    if (!point) run = null;
    else if (run) run.push(point);
    else out.push((run = [point]));
  }
  return out;
}

const f = (n) => n.toFixed(1);
const draw = {
  line(run, y) {
    let d = "";
    for (const [x, , value] of run) d += `${d ? "L" : "M"}${f(x)} ${f(y(value))}`;
    // A point between two gaps would have no length: draw it as a dot.
    return run.length === 1 ? `${d}h.1` : d;
  },
  step(run, y, width) {
    let d = "";
    for (const [x, , value] of run) d += d ? `H${f(x - width / 2)}V${f(y(value))}` : `M${f(x - width / 2)} ${f(y(value))}`;
    return `${d}H${f(run[run.length - 1][0] + width / 2)}`;
  },
  band(run, y) {
    if (run.length === 1) run = [run[0], [run[0][0] + 1, run[0][1], run[0][2]]];
    const up = run.map(([x, , high]) => `${f(x)} ${f(y(high))}`), down = run.map(([x, low]) => `${f(x)} ${f(y(low))}`).reverse();
    return `M${up.join("L")}L${down.join("L")}Z`;
  },
  area(run, y) {
    return draw.band(run.map(([x, , high]) => [x, 0, high]), y);
  },
};

function path(layer, view, scale) {
  if (!layer?.at?.length) return "";
  const from = Math.max(lowerBound(layer.at, view.from - layer.step) - 1, 0), to = lowerBound(layer.at, view.to);
  const y = (value) => scale.y(value), width = (layer.step / (view.to - view.from)) * view.plot;
  return runs(reduce(layer, view, from, to)).map((run) => draw[layer.kind](run, y, width)).join("");
}

function peak(layer, view) {
  let max = 0;
  if (layer?.at?.length)
    for (let i = lowerBound(layer.at, view.from), to = lowerBound(layer.at, view.to); i < to; i++) if (layer.high[i] > max) max = layer.high[i];
  return max;
}

/** Times for the axis: round in local time, about one each 110 px. */
function timeTicks(view) {
  const span = view.to - view.from, wanted = (span / view.plot) * 110;
  const step = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600].map((s) => s * 1000).find((s) => s >= wanted) ?? 43200000;
  const shift = new Date(view.to).getTimezoneOffset() * 60000, ticks = [];
  for (let t = Math.ceil((view.from - shift) / step) * step + shift; t < view.to; t += step) ticks.push(t);
  return { ticks, withSeconds: step < 60000 };
}

export class Panel {
  /** `keys` are the legend's entries [class, text]; `layers` the paths from back to front: {name, kind, right?}. */
  constructor({ title, unit, keys, height, least, right, axis, layers }) {
    Object.assign(this, { height, axis, layers });
    this.left = new Scale(height, least);
    this.right = right ? new Scale(height, right) : null;
    this.total = height + (axis ? 20 : 2);
    const clip = `plot-${++panels}`;
    this.svg = svg("svg", { class: "plot", height: this.total });
    this.clip = svg("rect", { x: MARGIN.left, y: 0, height: height + 1 });
    this.hot = svg("rect", { x: MARGIN.left, y: 0, height: 0 });
    const defs = svg("defs");
    for (const [id, rect] of [[clip, this.clip], [`${clip}-hot`, this.hot]]) defs.append(svg("clipPath", { id })), defs.lastChild.append(rect);
    this.future = svg("rect", { class: "future", y: MARGIN.top, height: height - MARGIN.top });
    this.grid = svg("g", { class: "grid", "aria-hidden": "true" });
    const plot = svg("g", { "aria-hidden": "true", "clip-path": `url(#${clip})` });
    this.paths = new Map();
    for (const layer of layers) {
      const node = svg("path", { class: `s ${layer.kind} ${layer.name}` });
      // What lies above the objective shows through a clip of its own, so one path serves for both colours.
      if (layer.hot) node.setAttribute("clip-path", `url(#${clip}-hot)`);
      plot.append(node);
      this.paths.set(layer, node);
    }
    this.now = svg("line", { class: "now", y1: MARGIN.top, y2: height });
    this.marks = svg("g", { class: "marks" });
    this.svg.append(defs, this.future, this.grid, plot, this.now, this.marks);
    this.node = el("figure", { className: "panel" },
      el("figcaption", {}, el("strong", {}, title), el("span", { className: "unit" }, unit), ...keys.map(([name, text]) => el("span", { className: `key ${name}` }, el("i"), text))), this.svg);
    this.known = new Map();
  }

  /** `data` maps a layer's name to {at, low, high, step}; `limit` is the objective, on the right scale. */
  render(view, data, limit) {
    let solid = 0, bands = 0, right = has(limit) ? limit : 0;
    for (const layer of this.layers) {
      const top = peak(data[layer.name], view);
      if (layer.right) right = Math.max(right, top);
      else if (layer.kind === "band") bands = Math.max(bands, top);
      else solid = Math.max(solid, top);
    }
    // An unsure forecast must not flatten what really happened: its band may run out of the top.
    this.left.fit(solid > 0 ? Math.max(solid, Math.min(bands, solid * 2.5)) : bands);
    this.right?.fit(right * 1.1);
    this.frame(view);
    if (this.right && has(limit)) setAttr(this.hot, "height", f(Math.max(this.right.y(limit), 0)));
    for (const [layer, node] of this.paths) {
      const values = data[layer.name];
      setAttr(node, "d", values ? path({ ...values, ...layer }, view, layer.right ? this.right : this.left) : "");
    }
  }

  frame(view) {
    const { left, right } = this, end = MARGIN.left + view.plot, now = f(view.x(view.now));
    setAttr(this.svg, "width", String(view.width));
    for (const rect of [this.clip, this.hot]) setAttr(rect, "width", f(view.plot));
    setAttr(this.future, "x", now);
    setAttr(this.future, "width", f(Math.max(end - now, 0)));
    setAttr(this.now, "x1", now);
    setAttr(this.now, "x2", now);
    const labels = [];
    for (const tick of left.ticks) labels.push({ key: `l${tick}`, y: left.y(tick), x: MARGIN.left - 8, text: decimals(tick, left.step), anchor: "end", line: true });
    if (right) for (const tick of right.ticks) labels.push({ key: `r${tick}`, y: right.y(tick), x: end + 8, text: `${decimals(tick, right.step)} s`, anchor: "start" });
    const { ticks, withSeconds } = this.axis ? timeTicks(view) : { ticks: [] };
    for (const t of ticks) labels.push({ key: `t${t}`, x: view.x(t), y: this.height + 14, text: clock(t, withSeconds), anchor: "middle", tick: true });
    reconcile(this.grid, (this.labels ??= new Map()), labels, (l) => l.key, makeLabel, (made, label) => {
      setAttr(made.text, "x", f(label.x));
      setAttr(made.text, "y", f(label.y));
      setAttr(made.text, "text-anchor", label.anchor);
      setText(made.text, label.text);
      if (label.line) for (const [name, value] of [["x1", MARGIN.left], ["x2", end], ["y1", label.y], ["y2", label.y]]) setAttr(made.line, name, f(value));
      if (label.tick) for (const [name, value] of [["x1", label.x], ["x2", label.x], ["y1", this.height], ["y2", this.height + 4]]) setAttr(made.line, name, f(value));
    });
  }
}

function makeLabel(label) {
  const node = svg("g"), line = label.line || label.tick ? svg("line") : null, text = svg("text", { dy: label.tick ? "0" : "0.32em" });
  node.append(...(line ? [line] : []), text);
  return { node, line, text };
}
