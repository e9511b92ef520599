// Pays new money into an account, from the bank's own. Like a payment, it has its key before it is first sent.

import { h, name, put } from "./dom.js";
import { post } from "./api.js";
import { amountField } from "./amount-field.js";
import { button, field, form, once } from "./forms.js";
import * as intents from "./intents.js";
import { format } from "./money.js";
import { notice, say } from "./parts.js";
import { paidAlready } from "./outcome.js";
import { Problem, wordsOf } from "./problems.js";
import { show } from "./router.js";
import { accountName } from "./staff.js";
import { relative } from "./times.js";

const PAY_IN = "/api/transactions/initial-funds";

const openFor = (account) => intents.open(PAY_IN).find((intent) => intent.body.toAccount === account.id);

// Whether there is a payment whose outcome is not known.
export const isOpen = (account) => openFor(account) !== undefined;

export function paying(account, { back }) {
  // That goes first, with its own key.
  const open = openFor(account);
  return open ? asking(open, account, back) : asked(account, back);
}

function asked(account, back) {
  const amount = amountField({ currency: account.currency, onChange: (read) => {
    made.main.textContent = read === null ? "Pay in" : `Pay in ${format(read, account.currency)}`;
  } });
  const made = form({
    fields: [amount, field({ name: "note", label: "Note", optional: "its owner sees it", maxlength: "200", autocomplete: "off" })],
    submit: "Pay in",
    cancel: button("Cancel", { onclick: back }),
    send: ({ note }) => {
      const body = { toAccount: account.id, amount: Number(amount.amount), description: note.trim() || undefined, idempotencyKey: intents.newKey() };
      return pay({ path: PAY_IN, body }, { account, back, box });
    },
  });
  const box = h("div", { class: "stack" }, h("h3", {}, "Pay in to “", name(accountName(account)), "”"), h("p", { class: "soft" }, "The money comes out of the bank’s own account. The audit log names you."), made.element);
  return box;
}

function pay(intent, { account, back, box, isMeant = false }) {
  const { amount } = intent.body;
  return intents.begin(intent, {
    isMeant,
    send: (one) => send(one, account),
    ask: (before) => {
      const words = [`${format(amount, account.currency)} were paid in ${relative(before)}.`, "This would be a second payment."];
      put(box, paidAlready({ amount, currency: account.currency, words, heading: "h3", onPay: () => pay(intent, { account, back, box, isMeant: true }).catch((error) => put(box, notice("wrong", ...wordsOf(error)))), onLeave: back }));
      box.querySelector("h3").focus();
    },
  });
}

async function send(intent, account) {
  try {
    await post(PAY_IN, intent.body);
    intents.settle(intent, { isPaid: true });
    say(`${format(intent.body.amount, account.currency)} were paid in.`);
  } catch (error) {
    if (!(error instanceof Problem) || !error.isUnknown) {
      intents.settle(intent, { isPaid: false });
      throw error;
    }
  }
  await show();
}

function asking(intent, account, back) {
  const again = button("Ask again", { class: "button main", onclick: () => once(again, () => intents.alone(() => send(intent, account)).catch(() => show())) });
  return h("div", { class: "stack" }, notice("hold", "Not known yet.", `We did not hear whether ${format(intent.body.amount, account.currency)} were paid in. Ask again: if it was done, nothing is paid twice.`), h("div", { class: "row actions" }, again, button("Later", { onclick: back })));
}
