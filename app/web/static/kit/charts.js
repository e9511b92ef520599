// Balances over time, as steps, because a balance changes at once.

import { svg } from "./dom.js";
import { custom, format } from "./money.js";
import { shortDate } from "./times.js";

// The picture on a card: 30 days, no axes.
export function spark(points, label) {
  const values = points.map((point) => point.balance);
  const [low, top] = [Math.min(...values), Math.max(...values)];
  const x = (i) => (i * 100) / Math.max(1, points.length - 1);
  const y = (value) => (top === low ? 33 : 34 - (32 * (value - low)) / (top - low));
  const path = steps(values, x, y);
  return svg("svg", { viewBox: "0 0 100 36", preserveAspectRatio: "none", class: "spark-box", role: "img", "aria-label": label }, svg("path", { class: "spark-area", d: `${path} V36 H0 Z` }), svg("path", { class: "spark", d: path }));
}

function steps(values, x, y) {
  return values.reduce((path, value, i) => (i === 0 ? `M${x(0)} ${y(value).toFixed(1)}` : `${path} H${x(i).toFixed(1)} V${y(value).toFixed(1)}`), "");
}

const WIDE = { width: 970, height: 200, left: 84, right: 10, top: 20, bottom: 30, labels: 5 };
const NARROW = { width: 360, height: 180, left: 62, right: 6, top: 14, bottom: 28, labels: 3 };

// The picture of an account, with its axes, drawn for a wide sheet and for a narrow one.
export function chart(points, currency) {
  return [drawn(points, currency, WIDE, "wide-only"), drawn(points, currency, NARROW, "narrow-only")];
}

function drawn(points, currency, size, kind) {
  const values = points.map((point) => point.balance);
  const ticks = ticksFor(Math.min(0, ...values), Math.max(...values, 0), currency);
  const [low, top] = [ticks[0], ticks.at(-1)];
  const [bottom, right] = [size.height - size.bottom, size.width - size.right];
  const y = (value) => bottom - ((bottom - size.top) * (value - low)) / (top - low || 1);
  const x = (i) => size.left + ((right - size.left) * i) / Math.max(1, points.length - 1);
  const path = steps(values, x, y);
  const grid = ticks.map((value) => [svg("line", { class: "grid", x1: size.left, x2: right, y1: y(value), y2: y(value) }), svg("text", { x: size.left - 10, y: y(value) + 4, "text-anchor": "end" }, short(value, currency))]);
  const days = Array.from({ length: size.labels }, (_, i) => {
    const at = Math.round((i * (points.length - 1)) / (size.labels - 1));
    return svg("text", { x: x(at), y: size.height - 8, "text-anchor": i === 0 ? "start" : i === size.labels - 1 ? "end" : "middle" }, shortDate(points[at].at));
  });
  const label = `Balance from ${shortDate(points[0].at)} to ${shortDate(points.at(-1).at)}, at most ${format(Math.max(...values), currency)}, now ${format(values.at(-1), currency)}`;
  return svg("svg", { class: `chart ${kind}`, viewBox: `0 0 ${size.width} ${size.height}`, role: "img", "aria-label": label }, grid, svg("path", { class: "spark-area", d: `${path} V${y(Math.max(0, low))} H${x(0)} Z` }), svg("path", { class: "spark", d: path }), days);
}

// Round values from at most `low` to at least `top`, a few of them.
function ticksFor(low, top, currency) {
  const unit = 10 ** custom(currency).digits;
  const span = Math.max(top - low, unit);
  const raw = span / 3;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(1, [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= raw));
  const ticks = [];
  for (let value = Math.floor(low / step) * step; value < top + step * 0.999; value += step) ticks.push(Math.round(value));
  return ticks;
}

const NAMES = { 2: [[10_000_000, "crore"], [100_000, "lakh"]], 3: [[1e12, "tn"], [1e9, "bn"], [1e6, "m"]] };

// A tick's label in the currency's own custom: ₹1.5 lakh, ₹50,000, €2.5 m.
function short(value, currency) {
  const { digits, sign, other } = custom(currency);
  const major = value / 10 ** digits;
  const [size, name] = (NAMES[other] ?? NAMES[3]).find(([scale]) => Math.abs(major) >= scale) ?? [1, ""];
  if (major === 0) return "0";
  if (name) return `${major < 0 ? "−" : ""}${sign}${Number((Math.abs(major) / size).toPrecision(4))} ${name}`;
  const text = format(value, currency);
  return digits && value % 10 ** digits === 0 ? text.slice(0, -digits - 1) : text;
}
