// Pays new money into an account, from the bank's own. Like a payment, it has its key before it is first sent.

import { h, name } from "./dom.js";
import { post } from "./api.js";
import { amountField } from "./amount-field.js";
import { button, field, form } from "./forms.js";
import * as intents from "./intents.js";
import { format } from "./money.js";
import { notice, say } from "./parts.js";
import { Problem } from "./problems.js";
import { show } from "./router.js";
import { accountName } from "./staff.js";

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
      const intent = { path: PAY_IN, body };
      return intents.alone(() => {
        intents.keep(intent);
        return send(intent, account);
      });
    },
    faults: (problem) => problem.errors,
  });
  return h("div", { class: "stack" }, h("h3", {}, "Pay in to “", name(accountName(account)), "”"), h("p", { class: "soft" }, "The money comes out of the bank’s own account. The audit log names you."), made.element);
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
  const again = button("Ask again", { class: "button main", onclick: () => intents.alone(() => send(intent, account)).catch(() => show()) });
  return h("div", { class: "stack" }, notice("hold", "Not known yet.", `We did not hear whether ${format(intent.body.amount, account.currency)} were paid in. Ask again: if it was done, nothing is paid twice.`), h("div", { class: "row actions" }, again, button("Later", { onclick: back })));
}
