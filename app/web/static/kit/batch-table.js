// Tables of many payments: what would come of each, and what came of it.

import { h, name } from "./dom.js";
import { chip, link, money } from "./parts.js";
import { spaced } from "./people.js";

function table(caption, rows) {
  return h("table", { class: "ledger" }, h("caption", { class: "unseen" }, caption), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Payment"), h("th", { scope: "col", class: "right" }, "Amount"), h("th", { scope: "col", class: "right" }, "State"))), h("tbody", {}, rows));
}

const shown = (number) => (/^FC/.test(number) ? spaced(number) : "Account");

function row({ to, note, fault, amount, typed, currency, state }) {
  return h("tr", {}, h("td", {}, h("span", {}, shown(to)), note && [h("br"), h("span", { class: "small soft" }, name(note))], fault && h("p", { class: "hint wrong" }, fault)), h("td", { class: "right" }, amount === null ? h("span", { class: "soft" }, name(typed)) : money(amount, currency)), h("td", { class: "right" }, state));
}

export function previewTable(lines, currency) {
  return table("Payments in the file", lines.map((line) => row({ ...line, currency, state: line.fault ? chip(`Line ${line.line}`) : chip("Ready", "proof") })));
}

export function resultTable(lines, currency) {
  return table("Payments", lines.map((line) => row({ ...line, to: line.toAccount, note: line.description, currency, state: line.fault ? chip("Not paid") : [chip("Paid", "proof"), " ", link(`/movements/${line.transaction.id}`, "Receipt", { class: "small" })] })));
}
