// One movement: who, how much, when, its outcome, and its receipt.

import { h, name, put } from "../kit/dom.js";
import { call, get } from "../kit/api.js";
import { parseCsv } from "../kit/csv.js";
import { save } from "../kit/download.js";
import { button } from "../kit/forms.js";
import { format } from "../kit/money.js";
import { amountOf, described } from "../kit/movements.js";
import { money } from "../kit/figures.js";
import { buttonLink, copyButton, disclosure, facts, head, link, notice, sheet, total } from "../kit/parts.js";
import { acquainted, handle, nameOf, spaced } from "../kit/people.js";
import { exact, shortDate, when } from "../kit/times.js";
import { Problem, wordsOf } from "../kit/problems.js";

export async function view(place, screen) {
  const { signal } = screen;
  const [{ transaction }, known] = await Promise.all([get(`/api/transactions/${place.params.transaction}`, null, { signal }), acquainted(signal)]);
  const own = new Set(known.accounts.map((one) => one.id));
  const seen = described(transaction, { own, nameFor: known.nameFor });
  const other = h("span", {}, "Somebody else’s account");
  screen.show(seen.who, render(transaction, seen, known, other));
  const [from, to] = [transaction.fromAccount, transaction.toAccount];
  const isStrange = (id) => !own.has(id) && known.nameFor(id) === null;
  const mine = known.accounts.find((one) => one.id === (seen.isOut ? from : to));
  if (mine && transaction.kind !== "FUNDING" && transaction.status !== "FAILED" && isStrange(seen.isOut ? to : from)) await tellNumber(transaction, mine, other, signal);
}

// A movement names the other account by its id. The statement of the moment has its number, by which it can be saved.
async function tellNumber(transaction, own, box, signal) {
  const time = transaction.completedAt ?? transaction.createdAt;
  const until = new Date(new Date(time).getTime() + 1).toISOString();
  const text = await call("GET", `/api/accounts/${own.id}/statement.csv`, { query: { from: time, to: until }, signal, as: "text" }).catch(() => "");
  const [titles = [], ...rows] = parseCsv(text);
  const number = rows.find((row) => row[titles.indexOf("Transaction")] === transaction.id)?.[titles.indexOf("Counterparty")] ?? "";
  if (number.startsWith("FC")) put(box, h("span", { class: "num" }, spaced(number)), h("br"), link(`/payees?number=${number}`, "Save as a payee", { class: "small" }));
}

const TITLES = { COMPLETED: ["Paid", "Received"], REVERSED: ["Paid, then reversed", "Received, then reversed"], PENDING: ["Held", "Held for you"], FAILED: ["Not paid", "Not received"], VOIDED: ["Given back", "Given back"] };

function render(transaction, seen, { accounts, payees, nameFor }, other) {
  const { status, currency } = transaction;
  const [own] = accounts.filter((one) => one.id === (seen.isOut ? transaction.fromAccount : transaction.toAccount));
  const amount = money(amountOf(transaction), currency, { hero: true, sign: seen.sign, kind: seen.kind });
  const party = (id) => {
    const [account, payee] = [accounts.find((one) => one.id === id), payees.find((one) => one.accountId === id)];
    if (account) return link(`/accounts/${handle(account)}`, name(nameOf(account)));
    if (payee) return [name(payee.name), h("br"), h("span", { class: "small soft num" }, spaced(payee.number))];
    return nameFor(id) ? name(nameFor(id)) : other;
  };
  const isProven = status === "COMPLETED" || status === "REVERSED";
  return [
    head({ title: name(seen.who), up: own ? [`/accounts/${handle(own)}`, nameOf(own)] : ["/movements", "Movements"], note: [TITLES[status][seen.isOut ? 0 : 1], " · ", when(transaction.completedAt ?? transaction.createdAt)] }),
    h("section", {}, isProven ? total(amount) : amount),
    transaction.failure && notice("wrong", ...wordsOf(new Problem("refused", { code: transaction.failure.code }))),
    h("div", { class: "two" }, h("div", { class: "stack" }, sheet(h("h2", {}, "Details"), details(transaction, party)), added(transaction)), h("aside", { class: "stack" }, actions(transaction, seen, own))),
  ];
}

function details(transaction, party) {
  const { heldAmount, amount, currency } = transaction;
  return facts([
    ["From", transaction.kind === "FUNDING" ? "The bank" : party(transaction.fromAccount)],
    ["To", party(transaction.toAccount)],
    heldAmount !== null && heldAmount !== amount && ["Held at first", h("span", { class: "num" }, format(heldAmount, currency))],
    transaction.description && ["Note", name(transaction.description)],
    ["Asked for", exact(transaction.createdAt)],
    transaction.completedAt && transaction.completedAt !== transaction.createdAt && ["Done", exact(transaction.completedAt)],
    transaction.status === "PENDING" && ["Held until", shortDate(transaction.expiresAt)],
    transaction.reverses && ["Reverses", link(`/movements/${transaction.reverses}`, "this movement")],
    transaction.reversedBy && ["Reversed by", link(`/movements/${transaction.reversedBy}`, "this movement")],
  ]);
}

// The payer's metadata is shown separately, because it may look like words of the bank.
function added({ metadata }) {
  const pairs = Object.entries(metadata ?? {});
  return pairs.length > 0 && sheet(h("h2", {}, "Added by the payer"), h("p", { class: "small soft" }, "The bank has not checked this."), facts(pairs.map(([key, value]) => [name(key), name(value)])));
}

function actions(transaction, seen, own) {
  const box = h("div", { class: "stack" });
  const receipt = button("Receipt", { class: "button wide", onclick: () => show(transaction, box) });
  return [
    seen.isOut && transaction.kind === "TRANSFER" && own?.status === "ACTIVE" && buttonLink(`/pay?from=${handle(own)}&to=${transaction.toAccount}`, "Pay again", "wide"),
    transaction.status === "PENDING" && buttonLink("/holds", "All holds", "wide"),
    receipt,
    box,
  ];
}

async function show(transaction, box) {
  try {
    const { receipt } = await get(`/api/transactions/${transaction.id}/receipt`);
    box.replaceChildren(
      h("p", { class: "small soft" }, "The bank has signed this. Whoever gets it can check it with the bank’s public keys, also without the bank."),
      button("Save the receipt", { class: "button wide", onclick: () => save(new Blob([receipt], { type: "text/plain" }), "receipt.jws") }),
      disclosure("What is signed", () => h("div", { class: "stack tight" }, h("p", { class: "proof-text", tabindex: "0", role: "region", "aria-label": "Signed receipt" }, receipt), copyButton(receipt, "receipt"))),
    );
  } catch (error) {
    box.replaceChildren(notice("wrong", ...wordsOf(error)));
  }
}
