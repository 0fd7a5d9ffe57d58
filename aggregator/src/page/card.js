// A component's card: a header that is always there, and charts with their facts once it is in view.

import { el, svg, setText, setAttr, has, reconcile, api, componentPath, isBottleneck, meter, number, count, cores, rate, percent, seconds, wait, bytes, clock, cpuCores, allocationText, readyText } from "./util.js";
import { Series, lowerBound } from "./series.js";
import { Panel, MARGIN } from "./chart.js";

const HISTORY = ["usageCores", "demandCores", "arrivalsPerSecond", "waiting", "oldestWaitSeconds", "allocatedCores", "replicas", "ready"];
const QUANTILES = ["q0.1", "q0.5", "q0.95"];
const FORECAST_KEYS = [["actual", "actual"], ["mid", "forecast q0.5"], ["band", "q0.1–q0.95"]];
const forecastLayers = [{ name: "past band", kind: "band" }, { name: "ahead band", kind: "band" }, { name: "past mid", kind: "line" }, { name: "ahead mid", kind: "line" }];
const PANELS = {
  demand: {
    title: "Demand", unit: "cores", height: 172, least: 0.05,
    keys: [...FORECAST_KEYS, ["usage", "usage"], ["given", "allocated"], ["decision", "decision"]],
    layers: [...forecastLayers, { name: "range", kind: "band", range: true }, { name: "given", kind: "step", peak: true }, { name: "given ahead", kind: "step" }, { name: "usage", kind: "line" }, { name: "actual", kind: "line" }],
  },
  arrivals: {
    title: "Arrivals", unit: "batches/s", height: 82, least: 1, keys: FORECAST_KEYS,
    layers: [...forecastLayers, { name: "range", kind: "band", range: true }, { name: "actual", kind: "line" }],
  },
  backlog: {
    title: "Backlog", unit: "batches · seconds", height: 82, least: 4, right: 1, axis: true,
    keys: [["waiting", "waiting"], ["oldest", "oldest wait (right)"], ["objective", "objective (right)"]],
    layers: [{ name: "waiting", kind: "area", peak: true }, { name: "objective", kind: "line", right: true }, { name: "oldest", kind: "line", right: true, peak: true }, { name: "oldest over", kind: "line", right: true, peak: true, hot: true }],
  },
};

export const decisionKey = (decision) => `${decision.at} ${allocationText(decision.to)} ${decision.applied}`;
const changes = (decision) => allocationText(decision.from) !== allocationText(decision.to);
/** "2 → 3 × 0.1" when only the replicas change, "3 × 0.1 → 3 × 0.2" otherwise. */
function moveText({ from, to }) {
  if (allocationText(from) === allocationText(to)) return `hold ${allocationText(to)}`;
  const same = from && to && cpuCores(from.cpu) === cpuCores(to.cpu);
  return `${same ? count(from.replicas) : allocationText(from)} → ${allocationText(to)}`;
}
const outcome = (decision) => (decision.applied ? "applied" : decision.refusal ? "refused" : "recommended");
const coresOf = (allocation) => (has(allocation?.replicas) && cpuCores(allocation.cpu) != null ? allocation.replicas * cpuCores(allocation.cpu) : null);

export class Card {
  /** `page` gives the time axis, the tooltip and whether a card is `live`. */
  constructor(live, page) {
    this.id = live.componentID;
    this.page = page;
    this.visible = false;
    this.head = new Map();
    this.badges = el("span", { className: "badges" });
    this.stats = el("dl", { className: "stats" });
    this.meter = meter();
    this.body = el("div", { className: "card-body" });
    this.title = el("h3", { tabIndex: -1 });
    this.node = el("article", { className: "card" },
      el("header", {}, this.title, el("code", { title: live.componentID }, live.componentID), this.badges), this.stats, this.body);
    this.node.card = this;
    for (const [key, label] of [["arrivals", "Arrivals"], ["volume", "Volume"], ["usage", "Usage"], ["demand", "Demand"], ["ahead", "Forecast q0.95"], ["memory", "Memory"], ["backlog", "Waiting + in service"], ["wait", "Oldest wait"], ["given", "Allocated"]]) {
      const value = el("dd", {}, "–");
      this.head.set(key, value);
      this.stats.append(el("div", { className: `stat-${key}` }, el("dt", {}, label), value));
    }
    this.stats.append(el("div", {}, el("dt", {}, "Utilisation"), el("dd", {}, this.meter.node)));
    this.update(live);
  }

  dispose() {
    this.hide();
    this.page.tooltip.leave(this);
    this.size?.disconnect();
    this.page.gone(this);
  }

  update(live) {
    this.live = live;
    if (!this.visible && this.titled) return;
    this.titled = true;
    setText(this.title, live.name);
    const bad = isBottleneck(live), set = (key, text) => setText(this.head.get(key), text);
    set("arrivals", rate(live.arrivalsPerSecond));
    set("volume", has(live.bytesPerSecond) ? `${bytes(live.bytesPerSecond)}/s` : "–");
    set("usage", cores(live.usageCores));
    set("demand", cores(live.demandCores));
    set("ahead", cores(live.forecast?.["q0.95"]));
    set("memory", bytes(live.memoryBytes));
    set("backlog", live.backlog ? `${count(live.backlog.waiting)} + ${count(live.backlog.inService)}` : "–");
    set("wait", live.backlog ? `${wait(live.backlog.oldestWaitSeconds)} of ${seconds(live.objectiveSeconds)}` : "–");
    set("given", readyText(live.allocation));
    this.meter.update(live);
    this.node.classList.toggle("bad", bad);
    const badges = [[live.mode, ""], [live.sampling, ""], live.stale && ["stale", "warn"], bad && ["bottleneck", "bad"]].filter((badge) => badge?.[0]);
    reconcile(this.badges, (this.chips ??= new Map()), badges, ([text]) => text, ([text, kind]) => ({ node: el("span", { className: `chip ${kind}` }, text) }));
  }

  show() {
    this.visible = true;
    if (!this.panels) this.build();
    this.update(this.live);
    this.render();
    this.refresh();
  }

  hide() {
    this.visible = false;
    this.stop();
  }

  stop() {
    this.abort?.abort();
    this.run = null;
  }

  /** Gives the memory of a long unseen card back; its height stays, so nothing moves. */
  forget() {
    this.size?.disconnect();
    this.body.replaceChildren();
    this.panels = null;
  }

  build() {
    this.history = new Series(HISTORY);
    this.pastForecast = { cpu: new Series(QUANTILES), arrivals: new Series(QUANTILES) };
    this.current = null;
    this.decisions = [];
    this.slowAt = 0;
    this.panels = Object.fromEntries(Object.entries(PANELS).map(([name, spec]) => [name, new Panel(spec)]));
    this.cross = el("div", { className: "cross", hidden: true });
    this.stack = el("div", { className: "stack", tabIndex: 0, role: "group", "aria-label": `Charts of ${this.live.name}. Left and right arrow keys move through time.` },
      ...Object.values(this.panels).map((panel) => panel.node), this.cross);
    this.page.tooltip.attach(this);
    this.facts = el("div", { className: "model" });
    this.note = el("p", { className: "note", role: "status" });
    this.list = el("ol", { className: "decisions", tabIndex: 0, "aria-label": `Decisions for ${this.live.name}` });
    this.items = new Map();
    this.body.replaceChildren(this.stack, el("aside", {}, el("h4", {}, "Model"), this.facts, el("h4", {}, "Decisions"), this.list, this.note));
    this.showProfile(undefined);
    this.showDecisions();
    this.width = 0;
    this.size = new ResizeObserver(([entry]) => {
      this.width = Math.round(entry.contentRect.width);
      this.render();
    });
    this.size.observe(this.stack);
  }

  /** A planner tick: its live point is shown at once, and history replaces it when it is fetched. */
  tick(live, at, stepMs) {
    this.update(live);
    if (!this.visible || !this.panels) return;
    const given = live.allocation;
    if (this.history.settled != null)
      this.history.append(at - stepMs, { ...live, waiting: live.backlog?.waiting, oldestWaitSeconds: live.backlog?.oldestWaitSeconds, replicas: given?.replicas, ready: given?.ready, allocatedCores: coresOf(given) });
    this.history.trim(this.page.axis().from - 60000);
    this.render(false);
  }

  /** Fetches what is new since the last answer. One at a time, and never for a card out of view. */
  async refresh() {
    if (this.run || !this.visible || this.page.offline()) return;
    const run = (this.run = {}), whole = this.history.settled == null, { signal } = (this.abort = new AbortController()), axis = this.page.axis(), base = componentPath(this.id);
    const from = (series) => Math.floor(Math.max(series.settled ?? 0, axis.from - series.step));
    const slow = !this.slowAt || performance.now() - this.slowAt > 15000;
    try {
      const [history, forecast, profile, decisions] = await Promise.all([
        api(`${base}/history?from=${from(this.history)}&to=${Math.ceil(axis.now + this.history.step)}`, signal).catch(absent),
        api(`${base}/forecast?from=${from(this.pastForecast.cpu)}`, signal).catch(absent),
        slow ? api(base, signal).catch(absent) : undefined,
        slow ? api(`${base}/decisions?limit=200`, signal).catch(absent) : undefined,
      ]);
      if (run !== this.run) return;
      const step = (history?.stepSeconds ?? 0) * 1000;
      this.history.merge(history?.columns, step);
      for (const name of ["cpu", "arrivals"]) this.pastForecast[name].merge(forecast?.past?.[name], step);
      if (forecast) this.current = forecast.current ?? null;
      if (this.current) this.page.horizon(this.current);
      if (slow) {
        this.slowAt = performance.now();
        this.showProfile(profile);
        this.decisions = decisions?.decisions ?? [];
        this.showDecisions();
      }
      setText(this.note, "");
    } catch (error) {
      if (run === this.run && !this.page.offline()) setText(this.note, `History could not be loaded: ${error.message}`);
    } finally {
      if (run === this.run) this.run = null;
    }
    this.render(whole || slow);
  }

  /** After a reconnection or with another window: everything anew, the old picture standing until it is there. */
  reload() {
    this.stop();
    this.slowAt = 0;
    for (const series of this.panels ? [this.history, this.pastForecast.cpu, this.pastForecast.arrivals] : []) series.settled = null;
    this.refresh();
  }

  addDecision(decision) {
    if (!this.panels || this.decisions.some((known) => decisionKey(known) === decisionKey(decision))) return;
    this.decisions.unshift(decision);
    this.decisions.length = Math.min(this.decisions.length, 200);
    this.showDecisions();
    this.render();
  }

  view() {
    const axis = this.page.axis(), plot = Math.max(this.width - MARGIN.left - MARGIN.right, 10);
    return { ...axis, width: this.width, plot, x: (t) => MARGIN.left + ((t - axis.from) / (axis.to - axis.from)) * plot, time: (x) => axis.from + ((x - MARGIN.left) / plot) * (axis.to - axis.from) };
  }

  /** Unless `anew`, waits until the axis has moved by half a pixel: in a day's window that is many ticks. */
  render(anew = true) {
    if (!this.visible || !this.panels || !this.width) return;
    const view = this.view();
    if (!anew && Math.abs(view.to - this.drawn) < (view.to - view.from) / view.plot / 2) return;
    this.drawn = view.to;
    const { history } = this, own = (name) => ({ at: history.at, low: history.column[name], high: history.column[name], step: history.step });
    const forecasts = (name) => {
      const past = this.pastForecast[name], ahead = this.current?.resources?.[name], step = (this.current?.stepSeconds ?? 0) * 1000 || history.step;
      const of = (at, columns, low, high, width) => (at && columns?.[low] && columns?.[high] ? { at, low: columns[low], high: columns[high], step: width } : null);
      return {
        "past band": of(past.at, past.column, "q0.1", "q0.95", past.step), "past mid": of(past.at, past.column, "q0.5", "q0.5", past.step),
        "ahead band": of(ahead?.at, ahead, "q0.1", "q0.95", step), "ahead mid": of(ahead?.at, ahead, "q0.5", "q0.5", step),
      };
    };
    const flat = (value, from, to) => (has(value) ? { at: [from], low: [value], high: [value], step: to - from } : null), objective = this.live.objectiveSeconds;
    this.panels.demand.render(view, { ...forecasts("cpu"), actual: own("demandCores"), range: own("demandCores"), usage: own("usageCores"), given: own("allocatedCores"), "given ahead": flat(coresOf(this.live.allocation), view.now, view.to) });
    this.panels.arrivals.render(view, { ...forecasts("arrivals"), actual: own("arrivalsPerSecond"), range: own("arrivalsPerSecond") });
    const span = view.to - view.from, line = has(objective) && { at: [view.from - span / 2, view.to - span / 2], low: [objective, objective], high: [objective, objective], step: span };
    this.panels.backlog.render(view, { waiting: own("waiting"), oldest: own("oldestWaitSeconds"), "oldest over": own("oldestWaitSeconds"), objective: line || null }, objective);
    this.renderMarks(view);
    this.page.tooltip.refresh(this);
  }

  /** Decisions on the allocation's line: up or down, hollow when not applied. One tab stop; arrows go along. */
  renderMarks(view) {
    const panel = this.panels.demand;
    let shown = this.decisions.filter((d) => changes(d) && d.at >= view.from && d.at <= view.to && coresOf(d.to) != null), last = Infinity;
    // Where they would lie on each other, the newest of each few pixels stands for the rest.
    if (shown.length > 60) shown = shown.filter((d) => last - view.x(d.at) >= 9 && ((last = view.x(d.at)), true));
    shown.reverse();
    reconcile(panel.marks, panel.known, shown, decisionKey, (decision) => {
      const up = (coresOf(decision.to) ?? 0) >= (coresOf(decision.from) ?? 0);
      const node = svg("path", { d: up ? "M0-5 4.5 3.5h-9Z" : "M0 5 4.5-3.5h-9Z", class: `mark ${outcome(decision)}`, role: "img", "aria-label": `${clock(decision.at)} ${moveText(decision)}, ${outcome(decision)}: ${decision.reason ?? ""}` });
      node.addEventListener("focus", () => this.page.tooltip.at(this, decision.at));
      node.addEventListener("blur", () => this.page.tooltip.leave(this));
      return { node };
    }, (made, decision) => setAttr(made.node, "transform", `translate(${view.x(decision.at).toFixed(1)} ${Math.max(panel.left.y(coresOf(decision.to)), 6).toFixed(1)})`));
    const nodes = [...panel.marks.children], stop = nodes.find((node) => node === document.activeElement) ?? nodes[nodes.length - 1];
    for (const node of nodes) setAttr(node, "tabindex", node === stop ? "0" : "-1");
  }

  /** The rows of the tooltip at time `t`: [class, label, value], a null for a rule between groups. */
  read(t, view) {
    const i = t <= view.now ? this.history.index(t) : -1, own = (name) => (i < 0 ? null : this.history.column[name][i]);
    const forecast = (name, format) => {
      const ahead = t > view.now ? this.current?.resources?.[name] : null, past = this.pastForecast[name];
      const columns = ahead ?? past.column, j = ahead ? lowerBound(ahead.at ?? [], t + 1) - 1 : t > view.now ? -1 : past.index(t);
      const [low, mid, high] = QUANTILES.map((q) => (j < 0 ? null : columns[q]?.[j]));
      return has(mid) ? `${format(mid)}  (${number(low)}–${number(high)})` : "–";
    };
    const rows = [];
    if (i >= 0) rows.push(["actual", "Demand", cores(own("demandCores"))], ["usage", "Usage", cores(own("usageCores"))]);
    rows.push(["mid", i < 0 ? "Demand" : "Forecast", forecast("cpu", cores)]);
    if (i >= 0) rows.push(["given", "Allocated", `${cores(own("allocatedCores"))}, ${count(own("ready"))}/${count(own("replicas"))} ready`], null, ["actual", "Arrivals", rate(own("arrivalsPerSecond"))]);
    else rows.push(null);
    rows.push(["mid", i < 0 ? "Arrivals" : "Forecast", forecast("arrivals", rate)]);
    if (i >= 0) rows.push(null, ["waiting", "Waiting", count(own("waiting"))], [own("oldestWaitSeconds") > this.live.objectiveSeconds ? "oldest over" : "oldest", "Oldest wait", wait(own("oldestWaitSeconds"))]);
    const near = (6 / view.plot) * (view.to - view.from), decision = this.decisions.filter((d) => changes(d) && Math.abs(d.at - t) <= near).sort((a, b) => Math.abs(a.at - t) - Math.abs(b.at - t))[0];
    return { rows, decision: decision && { at: decision.at, move: `${moveText(decision)} cores`, outcome: outcome(decision), text: [decision.reason, decision.refusal].filter(Boolean).join(" — ") } };
  }

  showProfile(profile) {
    const model = profile?.resourceModel, scores = model?.backtestScores, feedback = profile?.feedback, past = profile?.historicalData;
    const row = (label, title, backtest, live) => el("tr", { title }, el("th", { scope: "row" }, label), el("td", {}, backtest), el("td", {}, live));
    const many = (value, what) => has(value) && `${number(value)} ${what}`;
    const bar = el("i");
    bar.style.transform = `scaleX(${Math.min(Math.max(model?.confidence ?? 0, 0), 1)})`;
    this.facts.replaceChildren(
      el("p", { className: "model-name" }, model ? el("strong", {}, model.kind) : profile === undefined ? "…" : "No model trained yet", model ? ` version ${count(model.version)}, trained ${clock(model.trainedAt)}` : ""),
      model || profile === undefined ? el("div", { className: "confidence" }, el("span", {}, "Confidence"), el("span", { className: "meter-track" }, bar), el("span", {}, has(model?.confidence) ? model.confidence.toFixed(2) : "–"))
        : el("p", { className: "quiet" }, "Until then a prior and baselines forecast."),
      el("table", {}, el("thead", {}, el("tr", {}, ...["", "Backtest", has(feedback?.scored) ? `Live (${number(feedback.scored)})` : "Live"].map((text) => el("th", { scope: "col" }, text)))),
        el("tbody", {},
          row("Error", "weighted quantile loss: on held-out history, and of forecasts against what then happened; lower is better", number(scores?.wql), number(feedback?.wql)),
          row("Error of baseline", "the best simple rule on the same history", number(scores?.baselineWql), "–"),
          row("Below q0.95", "how often demand stayed below the forecast's q0.95; the target is 95 %", percent(scores?.coverage95), percent(feedback?.coverage95)),
          row("Below q0.9", "how often demand stayed below the forecast's q0.9; the target is 90 %", percent(scores?.coverage90), percent(feedback?.coverage90)))),
      el("p", { className: "quiet learned" }, ["History:", [many(past?.samples, "samples"), many(past?.batches, "batches")].filter(Boolean).join(", ") || "–"].join(" ")));
  }

  showDecisions() {
    if (this.decisions.length === 0) return this.list.replaceChildren(el("li", { className: "quiet" }, "No decision yet.")), this.items.clear();
    if (this.items.size === 0) this.list.replaceChildren();
    reconcile(this.list, this.items, this.decisions.slice(0, 40), decisionKey, (decision) => ({
      node: el("li", {}, el("details", {}, el("summary", {},
        el("time", {}, clock(decision.at)), el("span", { className: "move" }, moveText(decision)), el("span", { className: `chip ${outcome(decision)}` }, outcome(decision)),
        el("span", { className: "reason" }, decision.reason ?? "")),
        el("p", {}, [decision.refusal && `Not applied: ${decision.refusal}.`, decision.basis && `Rests on: ${decision.basis}.`].filter(Boolean).join(" ")))),
    }));
  }
}

/** What isn't there yet (404) is shown as absent; anything else is a failure to be told. */
function absent(error) {
  if (error.status === 404) return null;
  throw error;
}
