// The outcome of a payment: paid, not paid, or not known yet.

import { h, name } from "./dom.js";
import { button } from "./forms.js";
import { format } from "./money.js";
import { money } from "./figures.js";
import { buttonLink, chip, notice, total } from "./parts.js";
import { wordsOf } from "./problems.js";

function outcome(label, kind, amount, ...content) {
  return within("h1", label, kind, amount, content);
}

function within(heading, label, kind, amount, ...content) {
  return h("section", { class: "sheet stack outcome", "aria-label": label }, h(heading, { class: "as-chip", tabindex: "-1" }, chip(label, kind)), amount, content);
}

export function paid({ transaction, body, shown, balance }) {
  return outcome(
    "Paid",
    "proof",
    total(money(transaction.amount, transaction.currency, { hero: true })),
    h("p", {}, "to ", h("b", {}, name(shown.to)), ` from ${shown.from}, just now.`, balance !== null && [h("br"), h("span", { class: "soft" }, `Your balance is now ${format(balance, transaction.currency)}.`)]),
    h("div", { class: "row actions" }, buttonLink(`/movements/${transaction.id}`, "Receipt"), shown.isNew && buttonLink(`/payees?number=${body.toAccount}`, "Save as a payee"), buttonLink("/pay", "Pay somebody else"), buttonLink("/", "Your accounts")),
  );
}

export function notPaid({ body, shown, problem, available, onChange }) {
  const short = problem.code === "insufficient_funds" && available !== null;
  const held = short && available.balance - available.availableBalance;
  const text = short ? [`You can pay up to ${format(available.availableBalance, shown.currency)} from ${shown.from}.`, held > 0 && ` ${format(held, shown.currency)} are held.`] : wordsOf(problem)[1];
  return outcome("Not paid", "", money(body.amount, shown.currency, { hero: true }), notice("wrong", wordsOf(problem)[0], text), h("div", { class: "row actions" }, button("Change the payment", { class: "button main", onclick: onChange }), buttonLink("/", "Your accounts")));
}

// `heading`: "h2" where the view has a heading of its own.
export function notKnown({ body, shown, onAsk, heading = "h1" }) {
  const again = button("Ask again", { class: "button main" });
  again.addEventListener("click", () => {
    if (again.getAttribute("aria-busy")) return;
    again.setAttribute("aria-busy", "true");
    onAsk().finally(() => again.removeAttribute("aria-busy"));
  });
  return within(heading, "Not known yet", "hold", money(body.amount, shown.currency, { hero: true }), h("p", {}, "to ", h("b", {}, name(shown.to)), ` from ${shown.from}.`), notice("hold", "The connection broke before we heard back.", "Ask again: if it was paid, nothing is paid twice."), h("div", { class: "row actions" }, again));
}

// The same was paid a short while ago, which may or may not be intended.
export function paidAlready({ body, shown, when, onPay, onLeave }) {
  return outcome(
    "Paid before",
    "hold",
    money(body.amount, shown.currency, { hero: true }),
    notice("hold", `You paid ${shown.to} ${format(body.amount, shown.currency)} ${when}.`, "This would be a second payment."),
    h("div", { class: "row actions" }, button(`Pay ${format(body.amount, shown.currency)} once more`, { onclick: onPay }), button("Do not pay", { class: "button main", onclick: onLeave })),
  );
}
