// For operators: one movement between any two accounts, and its reversal.

import { h, name } from "../kit/dom.js";
import { get, post } from "../kit/api.js";
import { button, field, form } from "../kit/forms.js";
import * as intents from "../kit/intents.js";
import { format } from "../kit/money.js";
import { amountOf, chipOf } from "../kit/movements.js";
import { money } from "../kit/figures.js";
import { facts, head, link, notice, say, sheet, total } from "../kit/parts.js";
import { Problem, wordsOf } from "../kit/problems.js";
import { show } from "../kit/router.js";
import { accountName, isBank, userBy } from "../kit/staff.js";
import { exact, when } from "../kit/times.js";

const KINDS = { TRANSFER: "Payment", FUNDING: "Paid in by the bank", REVERSAL: "Reversal", HOLD: "Hold" };

export async function view(place, screen) {
  const { signal } = screen;
  const { transaction } = await get(`/api/transactions/${place.params.transaction}`, null, { signal });
  const [payer, payee] = await Promise.all([transaction.fromAccount, transaction.toAccount].map((id) => party(id, signal)));
  screen.show(KINDS[transaction.kind], render(transaction, payer, payee));
}

// An account, and whose it is.
async function party(id, signal) {
  const { account } = await get(`/api/accounts/${id}`, null, { signal });
  return { ...account, owner: isBank(account) ? null : await userBy(account.userId, signal) };
}

function render(transaction, payer, payee) {
  const isProven = transaction.status === "COMPLETED" || transaction.status === "REVERSED";
  const amount = money(amountOf(transaction), transaction.currency, { hero: true });
  return [
    head({ title: KINDS[transaction.kind], up: [`/operator/accounts/${payer.number ?? payer.id}`, accountName(payer)], note: when(transaction.completedAt ?? transaction.createdAt), actions: [chipOf(transaction)].filter(Boolean) }),
    h("section", {}, isProven ? total(amount) : amount),
    transaction.failure && notice("wrong", ...wordsOf(new Problem("refused", { code: transaction.failure.code }))),
    h("div", { class: "two" }, h("div", { class: "stack" }, sheet(h("h2", {}, "Details"), details(transaction, payer, payee)), added(transaction)), h("aside", { class: "stack" }, reversal(transaction))),
  ];
}

function details(transaction, payer, payee) {
  const { heldAmount, amount, currency } = transaction;
  const account = (one) => [link(`/operator/accounts/${one.number ?? one.id}`, name(accountName(one))), one.owner && [" of ", name(one.owner.name)]];
  return facts([
    ["From", account(payer)],
    ["To", account(payee)],
    heldAmount !== null && heldAmount !== amount && ["Held at first", h("span", { class: "num" }, format(heldAmount, currency))],
    transaction.description && ["Note", name(transaction.description)],
    ["Asked for", exact(transaction.createdAt)],
    transaction.completedAt && transaction.completedAt !== transaction.createdAt && ["Done", exact(transaction.completedAt)],
    transaction.status === "PENDING" && ["Held until", exact(transaction.expiresAt)],
    transaction.reverses && ["Reverses", link(`/operator/movements/${transaction.reverses}`, "this movement")],
    transaction.reversedBy && ["Reversed by", link(`/operator/movements/${transaction.reversedBy}`, "this movement")],
  ]);
}

// The payer's metadata is shown separately, because it may look like words of the bank.
function added({ metadata }) {
  const pairs = Object.entries(metadata ?? {});
  return pairs.length > 0 && sheet(h("h2", {}, "Added by the payer"), facts(pairs.map(([key, value]) => [name(key), name(value)])));
}

function reversal(transaction) {
  const path = `/api/transactions/${transaction.id}/reverse`;
  const [open] = intents.open(path);
  if (open) return asking(open);
  if (transaction.status !== "COMPLETED" || transaction.kind === "REVERSAL") return null;
  const box = h("div", { class: "stack" });
  const begin = button("Reverse it", { class: "button wide", onclick: () => box.replaceChildren(reversing(path, transaction, back)) });
  const back = () => box.replaceChildren(begin);
  back();
  return box;
}

function reversing(path, transaction, back) {
  const made = form({
    fields: [field({ name: "reason", label: "Reason", optional: "both sides see it", control: h("textarea", { class: "field", maxlength: "200" }), required: "Type a reason." })],
    submit: `Reverse ${format(transaction.amount, transaction.currency)}`,
    cancel: button("Cancel", { onclick: back }),
    send: ({ reason }) => {
      const intent = { path, body: { reason: reason.trim(), idempotencyKey: intents.newKey() } };
      return intents.alone(() => {
        intents.keep(intent);
        return send(intent);
      });
    },
  });
  made.main.className = "button wrong";
  return h("div", { class: "stack" }, h("h2", {}, "Reverse this movement"), h("p", { class: "soft" }, "The money goes back as a movement of its own. It can be done once, and both sides are told by mail."), made.element);
}

async function send(intent) {
  try {
    await post(intent.path, intent.body);
    intents.settle(intent, { isPaid: false });
    say("It was reversed.");
  } catch (error) {
    if (!(error instanceof Problem) || !error.isUnknown) {
      intents.settle(intent, { isPaid: false });
      throw error;
    }
  }
  await show();
}

function asking(intent) {
  return h("div", { class: "stack" }, notice("hold", "Not known yet.", "We did not hear whether it was reversed. Ask again: it is not done twice."), button("Ask again", { class: "button main wide", onclick: () => intents.alone(() => send(intent)).catch(() => show()) }));
}
