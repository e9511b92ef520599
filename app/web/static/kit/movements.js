// Movements of money as lines of a ledger, grouped by day.

import { h, name } from "./dom.js";
import { money } from "./figures.js";
import { chip } from "./parts.js";
import { clock, dayName, shortDate, startOfDay } from "./times.js";
import { format } from "./money.js";

const FAILURES = {
  insufficient_funds: "Not enough available",
  account_not_active: "An account could not pay or receive",
  balance_limit_exceeded: "More than the account can hold",
  hold_expired: "The hold expired",
};

// What a movement means for an account, or for all own accounts together.
export function described(transaction, { own, nameFor, account = null }) {
  const isOut = account ? transaction.fromAccount === account : own.has(transaction.fromAccount);
  const isBetweenOwn = own.has(transaction.fromAccount) && own.has(transaction.toAccount);
  const other = isOut ? transaction.toAccount : transaction.fromAccount;
  const isHold = transaction.status === "PENDING";
  const isDeclined = transaction.status === "FAILED" || transaction.status === "VOIDED";
  return {
    isOut,
    isDeclined,
    isBetweenOwn,
    who: whoIn(transaction, nameFor(other), isOut),
    chip: chipOf(transaction),
    note: noteOf(transaction, whoIn(transaction, nameFor(other), isOut)),
    sign: isBetweenOwn && !account ? "" : isOut ? "−" : "+",
    kind: !isOut && !isHold && !isDeclined ? "in" : "",
  };
}

function whoIn({ kind, description }, other, isOut) {
  if (kind === "FUNDING") return "The bank";
  return other ?? (description || (isOut ? "Payment" : "Money received"));
}

export function chipOf({ status, kind }) {
  if (status === "PENDING") return chip("Held", "hold");
  if (status === "FAILED") return chip("Declined");
  if (status === "VOIDED") return chip("Given back");
  if (status === "REVERSED") return chip("Reversed");
  return kind === "REVERSAL" ? chip("Reversal") : null;
}

function noteOf(transaction, who) {
  const { status, kind, failure } = transaction;
  const description = transaction.description === who ? null : transaction.description;
  const time = status === "PENDING" ? `until ${shortDate(transaction.expiresAt)}`.replaceAll(" ", "\u00a0") : clock(transaction.createdAt);
  const reason = failure && (FAILURES[failure.code] ?? "Not carried out");
  const what = kind === "REVERSAL" ? "Reversed by the bank" : kind === "FUNDING" && !description ? "Paid in" : null;
  return [reason ?? what ?? description, time].filter(Boolean).join(" · ");
}

export function amountOf(transaction) {
  return transaction.status === "PENDING" || transaction.status === "VOIDED" ? (transaction.heldAmount ?? transaction.amount) : transaction.amount;
}

function line(transaction, context) {
  const seen = described(transaction, context);
  const after = context.balances?.get(transaction.id);
  return h(
    "tr",
    { class: seen.isDeclined ? "declined" : null },
    h("td", {}, h("a", { class: "who", href: `/movements/${transaction.id}` }, name(seen.who)), " ", seen.chip, h("br"), h("span", { class: "small soft" }, name(seen.note))),
    h("td", { class: "right" }, money(amountOf(transaction), transaction.currency, { sign: seen.sign, kind: seen.kind })),
    context.balances && h("td", { class: "right num soft wide-only" }, after === undefined ? "–" : format(after, transaction.currency)),
  );
}

// A table of movements, newest first. `context`: own (ids of own accounts), nameFor, account (id) and, for a column with
// the running balance, balances (by the movement's id).
export function table(transactions, context, caption = "Movements") {
  const columns = context.balances ? 3 : 2;
  const days = Map.groupBy ? Map.groupBy(transactions, dayOf) : groupBy(transactions, dayOf);
  return h(
    "table",
    { class: "ledger" },
    h("caption", { class: "unseen" }, caption),
    h("thead", { class: context.balances ? null : "silent" }, h("tr", {}, title("Movement"), title("Amount", "right"), context.balances && title("Balance after", "right wide-only"))),
    [...days].map(([day, lines]) => h("tbody", {}, h("tr", { class: "day" }, h("th", { scope: "rowgroup", colspan: columns }, dayName(day))), lines.map((one) => line(one, context)))),
  );
}

function title(text, kind = null) {
  return h("th", { scope: "col", class: kind }, h("span", {}, text));
}

function dayOf(transaction) {
  return startOfDay(new Date(transaction.createdAt)).getTime();
}

function groupBy(list, keyOf) {
  const groups = new Map();
  for (const one of list) groups.set(keyOf(one), [...(groups.get(keyOf(one)) ?? []), one]);
  return groups;
}
