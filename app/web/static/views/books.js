// For operators: the trial balance. What was paid out and what came in are the same, or the books are wrong.

import { h } from "../kit/dom.js";
import { get } from "../kit/api.js";
import { custom, format } from "../kit/money.js";
import { money } from "../kit/figures.js";
import { empty, head, notice, sheet, total } from "../kit/parts.js";
import { exact } from "../kit/times.js";

export async function view(place, screen) {
  const { currencies, balanced } = await get("/api/admin/trial-balance", null, { signal: screen.signal });
  const used = currencies.filter((sums) => sums.totalDebits > 0 || sums.accounts > 1).sort((a, b) => b.accounts - a.accounts);
  screen.show("Books", [
    head({ title: "Books", note: `As of ${exact(new Date().toISOString())}` }),
    balanced ? notice("fine", "The books balance.", "In each currency, all debits together are all credits together.") : notice("wrong", "The books do not balance.", "Stop all payments and run “flask ledger verify”. It names the entries at fault."),
    used.length === 0 ? sheet(empty("Nothing has moved yet", "When money moves, its sums stand here.")) : used.map(sheetOf),
  ]);
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

function sheetOf(sums) {
  const { currency } = sums;
  const row = (text, amount, of = {}) => h("tr", {}, h("td", {}, text), h("td", { class: "right num" }, money(amount, currency, of)));
  return sheet(
    h("div", { class: "row between" }, h("h2", {}, capital(custom(currency).many), h("span", { class: "soft light" }, ` ${currency}`)), h("span", { class: "soft small num" }, `${sums.accounts} ${sums.accounts === 1 ? "account" : "accounts"}`)),
    h(
      "table",
      { class: "ledger" },
      h("caption", { class: "unseen" }, `Trial balance in ${currency}`),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Sum of"), h("th", { scope: "col", class: "right" }, "Amount"))),
      h("tbody", {}, row("All debits", sums.totalDebits), row("All credits", sums.totalCredits), row("Held by account holders", sums.customerBalance), row("Issued by the bank", sums.treasuryBalance)),
    ),
    h("p", { class: "row between" }, h("span", { class: "soft" }, "Difference"), sums.totalDebits === sums.totalCredits ? total(h("span", { class: "num" }, format(0, currency))) : h("b", { class: "num" }, format(BigInt(sums.totalDebits) - BigInt(sums.totalCredits), currency))),
  );
}
