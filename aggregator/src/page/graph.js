// The pipeline at a glance: boxes with arrows for a few components, a table for many.

import { el, svg, setText, setAttr, has, reconcile, isBottleneck, meter, count, cores, rate, seconds, wait, readyText } from "./util.js";

const BOX = { least: 216, most: 280, height: 124, gapY: 20 };

/** Columns by longest way from a source; what hangs in a cycle comes after the rest, in one column. */
export function layers(components) {
  const byName = new Map(components.flatMap((c) => [[c.componentID, c], [c.name, c]]));
  const upstream = new Map(components.map((c) => [c, [...new Set((c.upstream ?? []).map((name) => byName.get(name)))].filter((u) => u && u !== c)]));
  const depth = new Map();
  for (let pass = 0, left = components; left.length && pass <= components.length; pass++) {
    const ready = left.filter((c) => upstream.get(c).every((u) => depth.has(u)));
    const stuck = ready.length === 0;
    const level = new Map((stuck ? left : ready).map((c) => [c, stuck ? Math.max(0, ...depth.values()) + 1 : Math.max(-1, ...upstream.get(c).map((u) => depth.get(u))) + 1]));
    for (const [c, d] of level) depth.set(c, d);
    left = left.filter((c) => !depth.has(c));
  }
  const columns = [];
  for (const c of components) (columns[depth.get(c)] ??= []).push(c);
  const compact = columns.filter(Boolean), row = new Map();
  for (const column of compact) {
    // Each near the middle of what feeds it, so that arrows cross little.
    const middle = (c) => { const rows = upstream.get(c).map((u) => row.get(u)).filter(has); return rows.length ? rows.reduce((a, b) => a + b) / rows.length : null; };
    const weight = new Map(column.map((c, i) => [c, middle(c) ?? i]));
    column.sort((a, b) => weight.get(a) - weight.get(b));
    column.forEach((c, i) => row.set(c, i));
  }
  return { columns: compact, upstream };
}

const state = (live) => (isBottleneck(live) ? "bad" : live.stale ? "warn" : "ok");
const STATE = { bad: "bottleneck", warn: "stale", ok: "" };

export class Graph {
  constructor(node, open) {
    this.node = node;
    this.open = open;
    this.boxes = new Map();
    this.edges = svg("svg", { class: "edges", "aria-hidden": "true" });
    this.canvas = el("div", { className: "canvas" });
    this.layer = el("div");
    this.canvas.append(this.edges, this.layer);
    node.replaceChildren(this.canvas);
    new ResizeObserver(() => this.components && this.layout()).observe(node);
  }

  update(components) {
    this.components = components;
    const shape = JSON.stringify(components.map((c) => [c.componentID, c.name, c.upstream]));
    if (shape !== this.shape) {
      this.shape = shape;
      this.order = layers(components);
      this.layout();
    }
    reconcile(this.layer, this.boxes, this.order.columns.flat(), (c) => c.componentID, (c) => this.box(c));
    for (const live of components) this.boxes.get(live.componentID)?.update(live);
  }

  layout() {
    const { columns, upstream } = this.order, wide = this.node.clientWidth;
    const gaps = Math.max(columns.length - 1, 1), box = Math.min(Math.max((wide - gaps * 56) / columns.length, BOX.least), BOX.most);
    const gap = Math.min(Math.max((wide - 8 - columns.length * box) / gaps, 44), 256);
    this.width = box;
    const most = Math.max(1, ...columns.map((c) => c.length)), tall = most * (BOX.height + BOX.gapY) - BOX.gapY, at = new Map();
    columns.forEach((column, x) => {
      const top = (tall - (column.length * (BOX.height + BOX.gapY) - BOX.gapY)) / 2;
      column.forEach((c, y) => at.set(c.componentID, [x * (box + gap), top + y * (BOX.height + BOX.gapY)]));
    });
    const width = columns.length * (box + gap) - gap;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${tall}px`;
    setAttr(this.edges, "width", String(width));
    setAttr(this.edges, "height", String(tall));
    this.at = at;
    for (const [id, made] of this.boxes) this.place(made, id);
    const paths = [];
    for (const [c, ups] of upstream) for (const u of ups) {
      const [x2, y2] = at.get(c.componentID), [x0, y0] = at.get(u.componentID), x1 = x0 + box, a = y0 + BOX.height / 2, b = y2 + BOX.height / 2, bend = Math.max((x2 - x1) / 2, 22);
      paths.push(svg("path", { d: `M${x1} ${a}C${x1 + bend} ${a} ${x2 - bend} ${b} ${x2 - 5} ${b}` }), svg("path", { class: "arrow", d: `M${x2 - 8} ${b - 4}l6 4l-6 4Z` }));
    }
    this.edges.replaceChildren(...paths);
  }

  place(box, id) {
    const place = this.at.get(id);
    if (!place) return;
    box.node.style.width = `${this.width}px`;
    box.node.style.transform = `translate(${place[0]}px, ${place[1]}px)`;
  }

  box(live) {
    const name = el("strong"), mode = el("span", { className: "quiet" }), values = {}, lines = el("dl"), bar = meter();
    for (const [key, label] of [["arrivals", "Arrivals"], ["backlog", "Backlog"], ["given", "Allocated"]]) lines.append(el("div", {}, el("dt", {}, label), (values[key] = el("dd", { className: key }))));
    const node = el("a", { className: "box", href: `#${encodeURIComponent(live.name)}` }, el("span", { className: "box-head" }, el("i", { className: "dot" }), name, mode), lines, bar.node);
    node.addEventListener("click", (event) => (event.preventDefault(), this.open(live.componentID)));
    const made = { node, update: (now) => {
      setAttr(node, "data-state", state(now));
      setText(name, now.name);
      setText(mode, STATE[state(now)] || now.mode || "");
      setText(values.arrivals, rate(now.arrivalsPerSecond));
      setText(values.backlog, now.backlog ? `${count(now.backlog.waiting)} waiting · ${wait(now.backlog.oldestWaitSeconds)}` : "unknown");
      setText(values.given, now.allocation ? `${readyText(now.allocation)} cores` : "–");
      bar.update(now);
    } };
    this.place(made, live.componentID);
    return made;
  }
}

const COLUMNS = [
  ["Component", (c) => c.name], ["Arrivals", (c) => rate(c.arrivalsPerSecond)], ["Waiting", (c) => count(c.backlog?.waiting)],
  ["Oldest wait", (c) => wait(c.backlog?.oldestWaitSeconds)], ["Objective", (c) => seconds(c.objectiveSeconds)], ["Usage", (c) => cores(c.usageCores)],
  ["Forecast q0.95", (c) => cores(c.forecast?.["q0.95"])], ["Allocated", (c) => readyText(c.allocation)], ["Utilisation", null], ["Mode", (c) => c.mode ?? ""], ["State", (c) => STATE[state(c)]],
];

export class List {
  constructor(node, open) {
    this.open = open;
    this.rows = new Map();
    this.body = el("tbody");
    node.replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, ...COLUMNS.map(([title]) => el("th", { scope: "col" }, title)))), this.body));
  }

  update(components) {
    reconcile(this.body, this.rows, components, (c) => c.componentID, (c) => this.row(c), (row, c) => row.update(c));
  }

  row(live) {
    const link = el("a", { href: `#${encodeURIComponent(live.name)}` }), bar = meter();
    const cells = COLUMNS.map(([, text], i) => el(i ? "td" : "th", i ? {} : { scope: "row" }, i ? (text ? "" : bar.node) : link));
    const node = el("tr", {}, ...cells);
    node.addEventListener("click", (event) => (event.preventDefault(), this.open(live.componentID)));
    return { node, update: (now) => {
      setAttr(node, "data-state", state(now));
      COLUMNS.forEach(([, text], i) => text && setText(i ? cells[i] : link, text(now)));
      bar.update(now);
    } };
  }
}
