// Holds: money that others have set aside for me, to take or to give back, and money of mine that is set aside.

import { h, name } from "../kit/dom.js";
import { get, post } from "../kit/api.js";
import { amountField } from "../kit/amount-field.js";
import { button, form } from "../kit/forms.js";
import { newKey } from "../kit/intents.js";
import { format, formatNumber } from "../kit/money.js";
import { described } from "../kit/movements.js";
import { money } from "../kit/figures.js";
import { empty, head, say, sheet } from "../kit/parts.js";
import { acquainted, nameOf } from "../kit/people.js";
import { Problem } from "../kit/problems.js";
import { show } from "../kit/router.js";
import { shortDate, when } from "../kit/times.js";

const SHOWN_MAX = 200;

export async function view(place, screen) {
  const { signal } = screen;
  const [{ accounts, nameFor }, { transactions }] = await Promise.all([acquainted(signal), get("/api/transactions", { status: "PENDING", kind: "HOLD", limit: SHOWN_MAX }, { signal })]);
  const own = new Set(accounts.map((one) => one.id));
  const seen = transactions.map((hold) => ({ hold, ...described(hold, { own, nameFor }), account: accounts.find((one) => own.has(one.id) && [hold.toAccount, hold.fromAccount].includes(one.id)) }));
  screen.show("Holds", render(seen.filter((one) => own.has(one.hold.toAccount)), seen.filter((one) => own.has(one.hold.fromAccount))));
}

function render(forMe, onMine) {
  if (forMe.length + onMine.length === 0) {
    return [head({ title: "Holds" }), sheet(empty("Nothing is held", "A hold sets money aside until it is taken or given back, such as a deposit at a hotel."))];
  }
  return [
    head({ title: "Holds", note: "Money that is set aside until it is taken or given back." }),
    forMe.length > 0 && sheet(h("h2", {}, "For you"), h("ul", { class: "lines" }, forMe.map((one) => line(one, true)))),
    onMine.length > 0 && sheet(h("h2", {}, "On your accounts"), h("p", { class: "small soft" }, "It stays in your balance but cannot be spent. Whoever it is for takes it or gives it back; if not, it is free again at the end."), h("ul", { class: "lines" }, onMine.map((one) => line(one, false)))),
  ];
}

function line({ hold, who, account }, isForMe) {
  const place = h("div", { class: "grow-all" });
  const take = button("Take", { class: "button main", onclick: () => place.replaceChildren(takeForm(hold, place)) });
  const giveBack = button("Give back", { onclick: () => place.replaceChildren(giveBackForm(hold, who, place)) });
  const until = when(hold.expiresAt, `until ${shortDate(hold.expiresAt)}`);
  return h(
    "li",
    {},
    h("span", { class: "grow" }, h("b", {}, name(who)), h("br"), h("span", { class: "small soft" }, hold.description && hold.description !== who ? [name(hold.description), " · "] : null, account && [name(nameOf(account)), " · "], until)),
    money(hold.amount, hold.currency),
    isForMe && h("span", { class: "row" }, take, giveBack),
    isForMe && place,
  );
}

function takeForm(hold, place) {
  const amount = amountField({ label: `How much of ${format(hold.amount, hold.currency)}`, currency: hold.currency, value: formatNumber(hold.amount, hold.currency) });
  const key = newKey();
  const inside = form({
    fields: [amount],
    submit: "Take the money",
    cancel: button("Cancel", { onclick: () => place.replaceChildren() }),
    send: async () => {
      if (amount.amount > BigInt(hold.amount)) throw new Problem("refused", { code: "capture_exceeds_hold", errors: { amount: `Take at most ${format(hold.amount, hold.currency)}.` } });
      await post(`/api/transactions/${hold.id}/capture`, { amount: Number(amount.amount), idempotencyKey: key });
      say(`You took ${format(amount.amount, hold.currency)}.`);
      await show();
    },
  });
  queueMicrotask(() => amount.control.focus());
  return h("div", { class: "stack narrow" }, inside.element, h("p", { class: "small soft" }, "What you do not take is free again at once."));
}

function giveBackForm(hold, who, place) {
  const key = newKey();
  const inside = form({
    fields: [],
    before: [h("p", {}, `All of ${format(hold.amount, hold.currency)} is free again at once. You cannot take it afterwards.`)],
    submit: "Give it back",
    cancel: button("Cancel", { onclick: () => place.replaceChildren() }),
    send: async () => {
      await post(`/api/transactions/${hold.id}/void`, { idempotencyKey: key });
      say(`${format(hold.amount, hold.currency)} were given back.`);
      await show();
    },
  });
  queueMicrotask(() => inside.main.focus());
  return inside.element;
}
