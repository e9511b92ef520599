// The file of many payments: to, amount, note.

import { parseCsv } from "./csv.js";
import { parse } from "./money.js";
import { readNumber } from "./people.js";

const LINES_MAX = 500;
const NOTE_MAX = 200;

export const TEMPLATE = [["to", "amount", "note"]];

// Returns the lines, { line, to, amount, note } or with `fault` in words, or { fault } if it is no such file.
export function readPayments(text, currency) {
  const [titles = [], ...rows] = parseCsv(text);
  const names = titles.map((title) => title.toLowerCase());
  const [to, amount, note] = ["to", "amount", "note"].map((name) => names.indexOf(name));
  if (to < 0 || amount < 0) return { fault: "Its first line must name the columns: to, amount, note. The template has them." };
  if (rows.length === 0) return { fault: "It has no payments below its first line." };
  if (rows.length > LINES_MAX) return { fault: `It has ${rows.length} payments. At most ${LINES_MAX} go at once.` };
  return rows.map((row, i) => lineOf(i + 2, row[to] ?? "", row[amount] ?? "", (note < 0 ? "" : row[note]) ?? "", currency));
}

function lineOf(line, to, amount, note, currency) {
  const [number, money] = [readNumber(to), parse(amount, currency)];
  const fault = number.fault ?? money.fault ?? (note.length > NOTE_MAX ? `The note has more than ${NOTE_MAX} characters.` : null);
  return { line, to: number.number ?? to, typed: amount, amount: money.amount ?? null, note, fault };
}
