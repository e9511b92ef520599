// Tables of many payments: the expected result of each, and then the actual one.

import { h, name } from "./dom.js";
import { money } from "./figures.js";
import { chip, link } from "./parts.js";
import { spaced } from "./people.js";

function table(caption, rows) {
  return h("table", { class: "ledger" }, h("caption", { class: "unseen" }, caption), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Payment"), h("th", { scope: "col", class: "right" }, "Amount"), h("th", { scope: "col", class: "right" }, "State"))), h("tbody", {}, rows));
}

const shown = (number) => (/^FC/.test(number) ? spaced(number) : "Account");

// `known` is the name of the account that is paid, if this person knows it.
function row({ to, known, note, fault, amount, typed, currency, state }) {
  const small = [known && /^FC/.test(to) && shown(to), note && name(note)].filter(Boolean).flatMap((part, i) => (i ? [" · ", part] : [part]));
  return [
    h("tr", {}, h("td", {}, h("b", {}, known ? name(known) : shown(to)), small.length > 0 && [h("br"), h("span", { class: "small soft" }, small)]), h("td", { class: "right" }, amount === null ? h("span", { class: "soft" }, name(typed)) : money(amount, currency)), h("td", { class: "right" }, state)),
    fault && h("tr", { class: "fault" }, h("td", { colspan: 3 }, h("p", { class: "hint wrong" }, fault))),
  ];
}

export function previewTable(lines, currency, nameFor) {
  return table("Payments in the file", lines.map((line) => row({ ...line, known: nameFor(line.to), currency, state: line.fault ? chip(`Line ${line.line}`) : chip("Ready", "proof") })));
}

export function resultTable(lines, currency, nameFor) {
  return table("Payments", lines.map((line) => row({ ...line, to: line.toAccount, known: nameFor(line.toAccount), note: line.description, currency, state: line.fault ? chip("Not paid") : [chip("Paid", "proof"), " ", link(`/movements/${line.transaction.id}`, "Receipt", { class: "small" })] })));
}
