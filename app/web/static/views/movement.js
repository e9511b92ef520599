// One movement: who, how much, when, what came of it, and its receipt.

import { h, name } from "../kit/dom.js";
import { get } from "../kit/api.js";
import { save } from "../kit/download.js";
import { button } from "../kit/forms.js";
import { format } from "../kit/money.js";
import { amountOf, described } from "../kit/movements.js";
import { buttonLink, copyButton, disclosure, facts, head, link, money, notice, sheet, total } from "../kit/parts.js";
import { handle, nameOf, namer, ownAccounts } from "../kit/people.js";
import { exact, shortDate, when } from "../kit/times.js";
import { Problem, wordsOf } from "../kit/problems.js";

export async function view(place, screen) {
  const { signal } = screen;
  const [{ transaction }, accounts] = await Promise.all([get(`/api/transactions/${place.params.transaction}`, null, { signal }), ownAccounts(signal)]);
  const seen = described(transaction, { own: new Set(accounts.map((one) => one.id)), nameFor: namer(accounts) });
  screen.show(seen.who, render(transaction, seen, accounts));
}

const TITLES = { COMPLETED: ["Paid", "Received"], REVERSED: ["Paid, then reversed", "Received, then reversed"], PENDING: ["Held", "Held for you"], FAILED: ["Not paid", "Not received"], VOIDED: ["Given back", "Given back"] };

function render(transaction, seen, accounts) {
  const { status, currency } = transaction;
  const [own] = accounts.filter((one) => one.id === (seen.isOut ? transaction.fromAccount : transaction.toAccount));
  const amount = money(amountOf(transaction), currency, { hero: true, sign: seen.sign, kind: seen.kind });
  const isProven = status === "COMPLETED" || status === "REVERSED";
  return [
    head({ title: name(seen.who), up: own ? [`/accounts/${handle(own)}`, nameOf(own)] : ["/movements", "Movements"], note: [TITLES[status][seen.isOut ? 0 : 1], " · ", when(transaction.completedAt ?? transaction.createdAt)] }),
    h("section", {}, isProven ? total(amount) : amount),
    transaction.failure && notice("wrong", ...wordsOf(new Problem("refused", { code: transaction.failure.code }))),
    h("div", { class: "two" }, sheet(h("h2", {}, "Details"), details(transaction, seen, accounts)), h("aside", { class: "stack" }, actions(transaction, seen, own))),
  ];
}

function details(transaction, seen, accounts) {
  const nameFor = namer(accounts);
  const party = (id, isBank) => (isBank ? "The bank" : (nameFor(id) ?? "Another person’s account"));
  const isFunding = transaction.kind === "FUNDING";
  const { heldAmount, amount, currency } = transaction;
  return facts([
    ["From", name(party(transaction.fromAccount, isFunding))],
    ["To", name(party(transaction.toAccount, false))],
    heldAmount !== null && heldAmount !== amount && ["Held at first", h("span", { class: "num" }, format(heldAmount, currency))],
    transaction.description && ["Note", name(transaction.description)],
    ["Asked for", exact(transaction.createdAt)],
    transaction.completedAt && transaction.completedAt !== transaction.createdAt && ["Done", exact(transaction.completedAt)],
    transaction.status === "PENDING" && ["Held until", shortDate(transaction.expiresAt)],
    transaction.reverses && ["Reverses", link(`/movements/${transaction.reverses}`, "this movement")],
    transaction.reversedBy && ["Reversed by", link(`/movements/${transaction.reversedBy}`, "this movement")],
    ...Object.entries(transaction.metadata ?? {}).map(([key, value]) => [name(key[0].toUpperCase() + key.slice(1)), name(value)]),
  ]);
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
