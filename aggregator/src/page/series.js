// Columns over time, merged piece by piece as the API's answers come in.

/** The first index whose time is at or after `t`. */
export function lowerBound(at, t) {
  let low = 0, high = at.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at[middle] < t) low = middle + 1;
    else high = middle;
  }
  return low;
}

export class Series {
  constructor(names) {
    this.names = names;
    this.clear();
  }

  clear() {
    this.at = [];
    this.column = Object.fromEntries(this.names.map((name) => [name, []]));
    this.step = 1000;
    // The last row that came from history; rows after it are live points that history will replace.
    this.settled = null;
  }

  /** Replaces the rows that `columns` covers; live points that are newer than all of it stay until history has them. */
  merge(columns, stepMs) {
    // A first answer, or a first one after a reload, is the whole truth.
    if (this.settled == null) this.clear();
    if (stepMs > 0) this.step = stepMs;
    const at = columns?.at;
    if (!Array.isArray(at) || at.length === 0) return;
    const last = at[at.length - 1];
    const head = lowerBound(this.at, at[0] - this.step / 2), tail = lowerBound(this.at, last + this.step / 2);
    splice(this.at, head, tail, at);
    for (const name of this.names) splice(this.column[name], head, tail, columns[name] ?? [], at.length);
    this.settled = last;
  }

  append(at, values) {
    if (this.at.length && at < this.at[this.at.length - 1] + this.step / 2) return;
    this.at.push(at);
    for (const name of this.names) this.column[name].push(values[name] ?? null);
  }

  /** Forgets what is long out of the window, in large bites so that it is rarely done. */
  trim(before) {
    const drop = lowerBound(this.at, before);
    if (drop < 200 || drop < this.at.length / 4) return;
    this.at.splice(0, drop);
    for (const name of this.names) this.column[name].splice(0, drop);
  }

  /** The row whose step holds `t`, or -1. */
  index(t) {
    const i = lowerBound(this.at, t + 1) - 1;
    return i >= 0 && t - this.at[i] < this.step * 1.5 ? i : -1;
  }
}

/** Replaces [from, to) in place; a short or missing column is filled with absent values to the time's length. */
function splice(into, from, to, values, length = values.length) {
  const rest = into.slice(to);
  into.length = from;
  for (let i = 0; i < length; i++) into.push(values[i] ?? null);
  for (const value of rest) into.push(value);
}
