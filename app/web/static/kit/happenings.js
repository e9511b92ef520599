// Events on a person's accounts, in words.

import { h } from "./dom.js";
import { money } from "./figures.js";

export const HAPPENINGS = {
  "money.sent": "You paid",
  "money.received": "You were paid",
  "transfer.declined": "A payment was declined",
  "hold.placed": "Money was held",
  "hold.captured": "Held money was taken",
  "hold.voided": "Held money was given back",
  "hold.expired": "A hold expired",
  "transaction.reversed": "The bank reversed a payment",
  "account.opened": "You opened an account",
  "account.renamed": "You renamed an account",
  "account.frozen": "An account was frozen",
  "account.unfrozen": "An account can be used again",
  "account.closed": "An account was closed",
  "payee.added": "You saved a payee",
  "user.welcome": "Welcome to the bank",
  "user.password_changed": "Your password was changed",
  "user.password_reset": "Somebody asked for a new password",
  "webhook.ping": "A test",
};

// A type that is newer than this page is described as well as possible.
export const happened = (type) => HAPPENINGS[type] ?? `Something happened (${type.replace(/[._]/g, " ")})`;

// The kinds that one may choose among: a ping is only asked for.
export const CHOICES = Object.entries(HAPPENINGS).filter(([type]) => type !== "webhook.ping");

export function amountOf({ type, data }) {
  if (data.amount === undefined) return null;
  const sign = { "money.sent": "−", "money.received": "+" }[type] ?? "";
  return money(data.amount, data.currency, { sign, kind: type === "money.received" ? "in" : "" });
}

// Where one can read more about it, or null.
export function placeOf({ data }) {
  if (data.transactionId) return `/movements/${data.transactionId}`;
  return data.accountId ? `/accounts/${data.accountId}` : data.payeeId ? "/payees" : null;
}

export const title = (event) => (placeOf(event) ? h("a", { class: "who", href: placeOf(event) }, happened(event.type)) : h("b", {}, happened(event.type)));
