// The crosshair over a card's charts and the one tooltip that reads them.

import { el, clock } from "./util.js";
import { MARGIN } from "./chart.js";

export class Tooltip {
  constructor(node) {
    this.node = node;
    this.card = null;
  }

  attach(card) {
    const { stack } = card;
    stack.addEventListener("pointermove", (event) => this.point(card, event.clientX - stack.getBoundingClientRect().left));
    stack.addEventListener("pointerleave", () => this.leave(card));
    stack.addEventListener("keydown", (event) => this.key(card, event));
    stack.addEventListener("focusout", () => this.leave(card));
  }

  /** Under the pointer the place stands still and time moves on; from the keyboard the time stands still. */
  point(card, x) {
    const view = card.view();
    if (x < MARGIN.left || x > MARGIN.left + view.plot) return this.leave(card);
    this.place(card, { x });
  }

  at(card, t) {
    this.place(card, { t });
  }

  place(card, spot) {
    if (this.card && this.card !== card) this.leave(this.card);
    this.card = card;
    this.spot = spot;
    this.refresh(card);
  }

  key(card, event) {
    if (event.key === "Escape") return this.leave(card);
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!direction) return;
    event.preventDefault();
    const mark = event.target.closest?.(".mark");
    if (mark) return void (direction < 0 ? mark.previousSibling : mark.nextSibling)?.focus();
    const view = card.view(), pixel = (view.to - view.from) / view.plot, stride = Math.max(card.history.step, pixel * (event.shiftKey ? 30 : 3));
    const from = this.card === card ? this.spot.t ?? view.time(this.spot.x) : view.now;
    this.at(card, Math.min(Math.max(from + direction * stride, view.from), view.to));
  }

  leave(card) {
    if (this.card !== card) return;
    this.card = null;
    this.node.hidden = true;
    if (card.cross) card.cross.hidden = true;
  }

  refresh(card) {
    if (this.card !== card) return;
    const view = card.view(), t = this.spot.t ?? view.time(this.spot.x), x = this.spot.x ?? view.x(t);
    if (t < view.from) return this.leave(card);
    const { rows, decision } = card.read(t, view);
    card.cross.hidden = false;
    card.cross.style.transform = `translateX(${Math.round(x)}px)`;
    const lines = rows.map((row) => (row ? el("div", {}, el("span", { className: `key ${row[0]}` }, el("i"), row[1]), el("b", {}, row[2])) : el("hr")));
    const told = decision && [el("hr"), el("div", {}, el("b", {}, decision.move), el("span", { className: `chip ${decision.outcome}` }, decision.outcome)), el("p", { className: "quiet" }, clip(decision.text))];
    this.node.replaceChildren(el("time", {}, clock(t), t > view.now ? "  forecast" : ""), ...lines, ...(told ?? []));
    this.node.hidden = false;
    // Read aloud when the keyboard drives it; a pointer's every move would only be noise.
    this.node.setAttribute("aria-live", this.spot.t != null ? "polite" : "off");
    const box = card.stack.getBoundingClientRect(), { offsetWidth: width, offsetHeight: height } = this.node;
    // On the side with more room, so that it covers neither the future nor the facts beside the charts.
    const left = x > MARGIN.left + view.plot / 2 ? box.left + x - 14 - width : box.left + x + 14;
    const top = Math.min(Math.max(box.top + 24, 8), innerHeight - height - 8);
    this.node.style.transform = `translate(${Math.round(Math.max(Math.min(left, innerWidth - width - 8), 8))}px, ${Math.round(Math.max(top, 8))}px)`;
  }
}

/** A tooltip is for a glance; the whole reason is in the list beside the charts. */
const clip = (text) => (text.length > 280 ? `${text.slice(0, 279)}…` : text);
