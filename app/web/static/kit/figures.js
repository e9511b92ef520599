// Shows an amount on the page.

import { h } from "./dom.js";
import { partsOf } from "./money.js";

const LONG = 14;

// An amount: its major units carry the weight. `sign` is "+" or "−" in front.
export function money(amount, currency, { hero = false, sign = "", kind = "" } = {}) {
  const [minus, unit, whole, fraction] = partsOf(amount, currency);
  const isLong = whole.length + fraction.length > LONG;
  return h("span", { class: ["money", hero && "hero", isLong && "long", kind].filter(Boolean).join(" ") }, sign || minus, h("span", { class: "unit" }, unit), whole, h("span", { class: "minor" }, fraction));
}
