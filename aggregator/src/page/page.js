// The page: loads the pipeline, follows its events, and keeps the cards in view up to date.

import { el, setText, setAttr, has, reconcile, api, isBottleneck, count, cores, seconds, clock } from "./util.js";
import { Card } from "./card.js";
import { Graph, List, layers } from "./graph.js";
import { Tooltip } from "./tooltip.js";

const WINDOWS = { "3m": 180, "5m": 300, "1h": 3600, "24h": 86400 };
const GRAPH_MOST = 24, KEPT_CARDS = 24;
const $ = (id) => document.getElementById(id);
const address = new URL(location.href);
const state = { pipeline: null, chosen: address.searchParams.get("pipeline"), window: address.searchParams.get("window"), view: null, live: null, ahead: 0, order: [], filter: "", hot: false, connection: "connecting" };
const cards = new Map();
const hidden = new Set();
let source = null, retry = 1000, refreshedAt = 0, drawing = false, loading = null, asleep = false, sleeper = 0;

const page = {
  tooltip: new Tooltip($("tooltip")),
  gone(card) {
    hidden.delete(card);
    watcher.unobserve(card.node);
  },
  offline: () => state.connection === "reconnecting",
  axis() {
    const now = state.live?.at ?? Date.now(), span = (WINDOWS[state.window] ?? 300) * 1000;
    // The same axis for all cards; at least the lead time ahead, never more than half the past.
    const ahead = Math.min(Math.max(state.ahead, (state.live?.leadSeconds ?? 0) * 1000, span / 40), span / 2);
    return { from: now - span, to: now + ahead, now };
  },
  horizon(forecast) {
    const at = forecast.resources?.cpu?.at ?? [], end = at[at.length - 1] + (forecast.stepSeconds ?? 0) * 1000 - forecast.madeAt;
    // It only grows, in whole seconds: a forecast that is a little shorter must not shift the axis.
    if (end > state.ahead) (state.ahead = Math.ceil(end / 1000) * 1000), draw();
  },
};

const graph = new Graph($("graph"), reveal), list = new List($("list"), reveal);
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const { card } = target;
    if (isIntersecting) hidden.delete(card), card.show();
    else if (card.visible) hidden.add(card), card.hide();
  }
  for (const card of hidden) {
    if (hidden.size <= KEPT_CARDS) break;
    hidden.delete(card);
    card.forget();
  }
}, { rootMargin: "300px 0px" });

/* Loading and following */

function connection(name, text) {
  state.connection = name;
  setAttr($("connection"), "data-state", name);
  setText($("connection"), text);
  document.body.classList.toggle("offline", name === "reconnecting");
}

function notice(title, ...parts) {
  $("notice").replaceChildren(el("h2", {}, title), ...parts);
  $("notice").hidden = false;
  $("overview").hidden = $("details").hidden = true;
}

const empty = () => notice("No pipeline yet",
  el("p", {}, "Forebay shows a pipeline here as soon as one of its components reports. Annotate what you run, in its pod template:"),
  el("pre", {}, 'metadata:\n  annotations:\n    forebay.io/inject: "true"\n    forebay.io/pipeline: orders\n    forebay.io/component: transform\n    forebay.io/upstream: ingest\n    forebay.io/tap: http=9000->8080'),
  el("p", {}, "or apply a ", el("code", {}, "Pipeline"), " resource. Without a cluster, ", el("code", {}, "forebay demo"), " runs one on this machine. This page notices by itself."));

/** Everything anew: at the start, after a reconnection, and for another pipeline. */
async function load() {
  const mine = (loading = {});
  try {
    const { pipelines } = await api("pipelines");
    if (mine !== loading) return;
    const names = (pipelines ?? []).map((p) => `${p.namespace}/${p.name}`);
    picker(names);
    if (names.length === 0) return (state.pipeline = null), empty(), setTimeout(() => mine === loading && load(), 3000);
    const name = names.includes(state.chosen) ? state.chosen : names[0];
    const live = await api(`pipelines/${name.split("/").map(encodeURIComponent).join("/")}`);
    if (mine !== loading) return;
    if (state.pipeline !== name) (state.pipeline = name), (state.ahead = 0), (state.view = null);
    $("notice").hidden = true;
    $("overview").hidden = $("details").hidden = false;
    take(live);
    for (const card of cards.values()) if (card.visible) card.reload();
  } catch (error) {
    if (mine !== loading) return;
    if (!state.live) notice("The aggregator does not answer", el("p", {}, `${error.message}. Trying again.`));
    setTimeout(() => mine === loading && load(), 2000);
  }
}

function follow() {
  source?.close();
  if (asleep) return;
  source = new EventSource("/api/v1/events");
  source.onopen = () => {
    const lost = state.connection === "reconnecting";
    retry = 1000;
    connection("live", "live");
    if (lost) load();
  };
  source.onerror = () => {
    connection("reconnecting", "reconnecting");
    // The browser retries a dropped stream at its own pace; a refused one it gives up, and a fixed pace suits both.
    source.close();
    setTimeout(follow, retry);
    retry = Math.min(retry * 1.5, 5000);
  };
  const on = (name, handle) => source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
  on("tick", (live) => {
    const name = `${live.namespace}/${live.name}`;
    if (name === state.pipeline) take(live);
    else if (![...$("pipeline").options].some((option) => option.value === name)) load();
  });
  on("decision", (decision) => cards.get(decision.componentID)?.addDecision(decision));
  on("model", ({ componentID }) => {
    const card = cards.get(componentID);
    if (card) (card.slowAt = 0), card.refresh();
  });
}

/** A state of the pipeline, from the first load or a tick. An unseen tab only remembers it. */
function take(live) {
  state.live = live;
  state.tickAt = performance.now();
  for (const c of live.components ?? []) if (c.lastDecision) cards.get(c.componentID)?.addDecision(c.lastDecision);
  if (!state.window || !WINDOWS[state.window]) pickWindow(live.stepSeconds < 2 ? "3m" : "1h", false);
  draw();
  freshen();
}

function freshen() {
  if (document.hidden || performance.now() - refreshedAt < 950) return;
  refreshedAt = performance.now();
  for (const card of cards.values()) if (card.visible) card.refresh();
}

/* Drawing */

function draw() {
  if (drawing || document.hidden) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    if (state.live) render(state.live);
  });
}

function render(live) {
  const components = live.components ?? [], shape = components.map((c) => `${c.componentID} ${c.upstream}`).join();
  if (shape !== state.shape) {
    state.shape = shape;
    state.order = layers(components).columns.flat().map((c) => c.componentID);
  }
  header(live, components);
  const byId = new Map(components.map((c) => [c.componentID, c])), all = state.order.map((id) => byId.get(id));
  const shown = all.filter((c) => (!state.filter || c.name.toLowerCase().includes(state.filter)) && (!state.hot || isBottleneck(c)));
  const visible = new Set(shown), view = state.view ?? (components.length > GRAPH_MOST ? "list" : "graph");
  for (const button of document.querySelectorAll("[data-view]")) setAttr(button, "aria-pressed", String(button.dataset.view === view));
  $("graph").hidden = view !== "graph";
  $("list").hidden = view !== "list";
  if (view === "graph") graph.update(components);
  else list.update(shown);
  // Every component keeps its card, filtered or not: hiding one is cheaper than making it again.
  reconcile($("cards"), cards, all, (c) => c.componentID, (c) => {
    const card = new Card(c, page);
    watcher.observe(card.node);
    return card;
  }, (card, c) => {
    card.node.hidden = !visible.has(c);
    card.tick(c, live.at, live.stepSeconds * 1000);
  });
  setText($("count"), shown.length === all.length ? count(all.length) : `${count(shown.length)} of ${count(all.length)}`);
  $("none").hidden = shown.length > 0;
}

function header(live, components) {
  const modes = new Map();
  for (const c of components) modes.set(c.mode, (modes.get(c.mode) ?? 0) + 1);
  setText($("mode"), modes.size === 1 ? [...modes.keys()][0] ?? "–" : [...modes].map(([mode, n]) => `${n} ${mode}`).join(" · ") || "–");
  $("mode").hidden = components.length === 0;
  $("paused").hidden = !live.paused;
  setText($("step"), seconds(live.stepSeconds));
  setText($("lead"), seconds(live.leadSeconds));
  setText($("tick"), clock(live.at));
  document.title = `${live.name} · Forebay`;
  const sum = (of) => components.reduce((all, c) => (has(of(c)) ? (all ?? 0) + of(c) : all), null), hot = components.filter(isBottleneck).length;
  const totals = [["Usage", cores(sum((c) => c.usageCores))], ["Forecast q0.5", cores(sum((c) => c.forecast?.["q0.5"]))], ["Allocated", cores(sum((c) => c.allocation && c.allocation.replicas * c.allocation.cpuCores))], ["Bottlenecks", count(hot)]];
  reconcile($("totals"), (state.totals ??= new Map()), totals, ([label]) => label, ([label]) => {
    const value = el("dd");
    return { node: el("div", {}, el("dt", {}, label), value), value };
  }, (made, [label, text]) => {
    setText(made.value, text);
    made.node.classList.toggle("bad", label === "Bottlenecks" && hot > 0);
  });
}

/* Controls */

function remember() {
  if (state.chosen) address.searchParams.set("pipeline", state.chosen);
  address.searchParams.set("window", state.window);
  history.replaceState(null, "", address);
}

function picker(names) {
  const select = $("pipeline");
  if ([...select.options].map((o) => o.value).join() === names.join() && names.length) return;
  select.replaceChildren(...(names.length ? names : ["no pipeline"]).map((name) => el("option", { value: name }, name)));
  select.disabled = names.length < 2;
  if (names.includes(state.chosen)) select.value = state.chosen;
}

function pickWindow(name, byHand = true) {
  state.window = name;
  for (const button of $("windows").children) setAttr(button, "aria-pressed", String(button.value === name));
  if (!byHand) return;
  remember();
  draw();
  for (const card of cards.values()) card.panels && card.reload();
}

/** Brings a component's card to the top, and focus to it, so that the keyboard goes on from there. */
function reveal(id) {
  const card = cards.get(id);
  if (!card) return;
  card.node.hidden = false;
  card.node.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  card.title.focus({ preventScroll: true });
}

function controls() {
  $("windows").append(...Object.keys(WINDOWS).map((name) => el("button", { type: "button", value: name, "aria-pressed": String(name === state.window), onclick: () => pickWindow(name) }, name)));
  $("pipeline").onchange = (event) => {
    state.chosen = event.target.value;
    remember();
    load();
  };
  $("filter").oninput = (event) => ((state.filter = event.target.value.trim().toLowerCase()), draw());
  $("hot").onclick = () => ((state.hot = !state.hot), setAttr($("hot"), "aria-pressed", String(state.hot)), draw());
  for (const button of document.querySelectorAll("[data-view]")) button.onclick = () => ((state.view = button.dataset.view), draw());
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) event.preventDefault(), $("filter").focus();
  });
  // A browser has few connections to one server: a tab long unseen gives its stream back, or the sixth tab would hang.
  document.addEventListener("visibilitychange", () => {
    clearTimeout(sleeper);
    if (document.hidden) return void (sleeper = setTimeout(() => ((asleep = true), source?.close()), 30000));
    if (asleep) (asleep = false), connection("connecting", "connecting"), load(), follow();
    else draw(), freshen();
  });
  // A stream that is open and silent looks alive: say how old the last tick is.
  setInterval(() => {
    if (state.connection !== "live" || !state.live) return;
    const age = (performance.now() - state.tickAt) / 1000, late = age > Math.max(10, (state.live.stepSeconds ?? 0) * 4);
    setAttr($("connection"), "data-state", late ? "late" : "live");
    setText($("connection"), late ? `no tick for ${seconds(Math.round(age))}` : "live");
  }, 1000);
}

controls();
load();
follow();
