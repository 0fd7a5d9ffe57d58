// Elements, formats and the API: the small things that every other module needs.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element. Strings become text nodes, never markup, so text of the API cannot become HTML. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key in node && !key.startsWith("aria")) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

export function svg(tag, attributes = {}) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

/** Writes only what changed: most cells of most ticks are the same, and an unchanged one costs no layout. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttr(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Brings the children of `parent` in line with `items`, keeping the nodes (and so focus) of those that stay. */
export function reconcile(parent, known, items, keyOf, create, update) {
  const wanted = new Set(items.map(keyOf));
  for (const [key, made] of known) {
    if (wanted.has(key)) continue;
    made.node.remove();
    made.dispose?.();
    known.delete(key);
  }
  let place = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    let made = known.get(key);
    if (!made) known.set(key, (made = create(item)));
    if (made.node === place) place = place.nextSibling;
    else parent.insertBefore(made.node, place);
    update?.(made, item);
  }
}

export const has = (value) => typeof value === "number" && Number.isFinite(value);
const ABSENT = "–";

export function number(value) {
  if (!has(value)) return ABSENT;
  const size = Math.abs(value);
  if (size >= 1e6) return (value / 1e6).toFixed(size >= 1e7 ? 0 : 1) + " M";
  if (size >= 1e4) return (value / 1e3).toFixed(size >= 1e5 ? 0 : 1) + " k";
  const digits = size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 3;
  return value.toFixed(digits);
}

const whole = new Intl.NumberFormat();
export const count = (value) => (has(value) ? whole.format(Math.round(value)) : ABSENT);
export const cores = (value) => (has(value) ? `${number(value)} cores` : ABSENT);
export const rate = (value) => (has(value) ? `${value >= 100 ? number(value) : value.toFixed(1)}/s` : ABSENT);
export const percent = (value) => (has(value) ? `${(value * 100).toFixed(value < 0.9995 && value > 0.9 ? 1 : 0)} %` : ABSENT);

export function seconds(value) {
  if (!has(value)) return ABSENT;
  if (value < 10) return `${+value.toFixed(value < 1 ? 3 : 2)} s`;
  if (value < 120) return `${+value.toFixed(1)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return `${(value / 3600).toFixed(1)} h`;
}

/** One decimal always, for what changes each tick: its width must not. */
export const wait = (value) => (has(value) && value < 120 ? `${value.toFixed(1)} s` : seconds(value));

export function bytes(value) {
  if (!has(value)) return ABSENT;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < 4) (value /= 1024), unit++;
  return `${value >= 100 || unit === 0 ? value.toFixed(0) : value.toFixed(1)} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}

const two = (n) => String(n).padStart(2, "0");
export function clock(ms, withSeconds = true) {
  if (!has(ms)) return "––:––:––";
  const at = new Date(ms);
  return `${two(at.getHours())}:${two(at.getMinutes())}${withSeconds ? `:${two(at.getSeconds())}` : ""}`;
}

/** A Kubernetes CPU quantity in cores: "100m", "1.5", or a plain number. */
export function cpuCores(quantity) {
  const match = /^\s*([\d.]+)\s*([num]?)\s*$/.exec(String(quantity ?? ""));
  return match ? Number(match[1]) * { "": 1, m: 1e-3, u: 1e-6, n: 1e-9 }[match[2]] : null;
}

export function allocationText(allocation) {
  if (!allocation) return ABSENT;
  const each = cpuCores(allocation.cpu);
  return `${count(allocation.replicas)} × ${each == null ? allocation.cpu ?? "?" : +each.toFixed(3)}`;
}

/** Ready of desired replicas, times the cores of each. */
export function readyText(allocation) {
  if (!allocation) return ABSENT;
  const each = allocation.cpuCores ?? cpuCores(allocation.cpu);
  return `${count(allocation.ready)}/${count(allocation.replicas)} × ${has(each) ? +each.toFixed(3) : "?"}`;
}

/** A value over what it is a share of, or null when either is unknown. */
export const ratio = (part, whole) => (has(part) && has(whole) && whole > 0 ? part / whole : null);

export function capacity(live) {
  const given = live.allocation;
  return given && has(given.cpuCores) && has(given.ready ?? given.replicas) ? given.cpuCores * (given.ready ?? given.replicas) : null;
}

export const isBottleneck = (live) =>
  live.bottleneck === true || (has(live.backlog?.oldestWaitSeconds) && has(live.objectiveSeconds) && live.backlog.oldestWaitSeconds > live.objectiveSeconds);

/** Usage against what is ready, and where the forecast's q0.95 will stand in it. */
export function meter() {
  const fill = el("i"), tick = el("b"), label = el("span", { className: "meter-label" });
  const node = el("div", { className: "meter" }, el("div", { className: "meter-track" }, fill, tick), label);
  const update = (live) => {
    const whole = capacity(live), used = ratio(live.usageCores, whole), ahead = ratio(live.forecast?.["q0.95"], whole);
    fill.style.transform = `scaleX(${Math.min(used ?? 0, 1)})`;
    tick.hidden = ahead == null;
    tick.style.left = `${Math.min(ahead ?? 0, 1) * 100}%`;
    node.classList.toggle("full", (used ?? 0) > 0.9);
    setText(label, used == null ? ABSENT : `${Math.round(used * 100)} %`);
    setAttr(node, "title", `usage ${cores(live.usageCores)} of ${cores(whole)} ready; the mark is the forecast's q0.95, ${cores(live.forecast?.["q0.95"])}`);
  };
  return { node, update };
}

/** The id's slashes are the path's own; everything else in it is escaped. */
export const componentPath = (id) => `components/${String(id).split("/").map(encodeURIComponent).join("/")}`;

export async function api(path, signal) {
  const response = await fetch(`/api/v1/${path}`, { signal, headers: { accept: "application/json" } });
  if (!response.ok) {
    const problem = await response.json().catch(() => null);
    throw Object.assign(new Error(problem?.detail ?? problem?.title ?? `HTTP ${response.status}`), { status: response.status });
  }
  return response.json();
}
