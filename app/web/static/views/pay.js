// Pay: one form with its review beside it, then the outcome.

import { h, name, put } from "../kit/dom.js";
import { get, post } from "../kit/api.js";
import { amountField } from "../kit/amount-field.js";
import { field, form, select } from "../kit/forms.js";
import * as intents from "../kit/intents.js";
import { format } from "../kit/money.js";
import { notKnown, notPaid, paid, paidAlready } from "../kit/outcome.js";
import { bones, buttonLink, empty, facts, head, skeletonPage } from "../kit/parts.js";
import { namedBefore, payeePicker } from "../kit/payee-picker.js";
import { handle, nameOf, ownAccounts, remember, savedPayees } from "../kit/people.js";
import { Problem } from "../kit/problems.js";
import { relative } from "../kit/times.js";

const PATH = "/api/transactions/create";

export function skeleton() {
  return skeletonPage(h("div", { class: "two", "aria-hidden": "true" }, h("div", { class: "stack" }, bones("tall w100", "tall w100", "tall w100")), bones("box")));
}

export async function view(place, screen) {
  const [accounts, payees] = await Promise.all([ownAccounts(screen.signal), savedPayees(screen.signal)]);
  const payers = accounts.filter((one) => one.status === "ACTIVE");
  if (payers.length === 0) {
    return screen.show("Pay", [head({ title: "Pay" }), empty("There is no account to pay from", "You need an account that is open and not frozen.", buttonLink("/accounts/new", "Open an account", "main"))]);
  }
  const parts = fieldsOf(place, accounts, payers, payees);
  const form = made(parts, (intent) => pay(intent, { screen, back: () => showForm() }));
  const showForm = () => {
    parts.review();
    const open = intents.open(PATH).map((intent) => unknown(intent, { screen, back: showForm }, "h2"));
    screen.show("Pay", [head({ title: "Pay", actions: [h("a", { href: "/pay/many", class: "small soft" }, "Pay many at once")] }), open, form]);
    if (open.length === 0) (parts.to.chosen ? parts.amount : parts.to).control.focus({ preventScroll: true });
  };
  return showForm();
}

function fieldsOf(place, accounts, payers, payees) {
  const asked = (key) => place.query.get(key);
  const first = payers.find((one) => handle(one) === asked("from") || one.id === asked("from")) ?? payers[0];
  const from = select({ name: "from", label: "From", options: payers.map((one) => [one.id, `${nameOf(one)} · ${format(one.availableBalance, one.currency)} available`]), value: first.id });
  const payer = () => payers.find((one) => one.id === from.value);
  const review = h("div", { class: "stack" });
  const parts = { from, payer, note: field({ name: "note", label: "Note", optional: "both of you see it", maxlength: "200", autocomplete: "off" }), reviewBox: review, review: () => put(review, reviewed(parts)) };
  parts.to = payeePicker({ accounts, payees, from: payer, onChange: () => parts.review() });
  parts.amount = amountField({ currency: first.currency, value: asked("amount") ?? "", onChange: () => parts.review() });
  from.control.addEventListener("change", () => {
    parts.amount.setCurrency(payer().currency);
    parts.to.redraw();
    parts.review();
  });
  const before = asked("to") && namedBefore(accounts, payees, asked("to"));
  if (before) parts.to.choose(before, { isQuiet: true });
  return parts;
}

function reviewed({ payer, to, amount, submit }) {
  const { currency, availableBalance } = payer();
  const rest = amount.amount === null ? null : BigInt(availableBalance) - amount.amount;
  if (submit) submit.textContent = amount.amount === null ? "Pay" : `Pay ${format(amount.amount, currency)}`;
  return [
    facts([
      [to.chosen ? [name(to.chosen.name), to.chosen.isOwn ? " gets" : " gets"] : "They get", h("span", { class: "money" }, amount.amount === null ? "–" : format(amount.amount, currency))],
      ["Fee", "None"],
      ["You keep", h("span", { class: "num" }, rest === null || rest < 0n ? "–" : format(rest, currency))],
    ]),
    rest !== null && rest < 0n && h("p", { class: "hint wrong" }, `This is more than the ${format(availableBalance, currency)} that are available.`),
    h("p", { class: "small soft" }, to.chosen?.isOwn ? "It arrives at once." : "It arrives at once and cannot be called back."),
  ];
}

function made(parts, onPay) {
  const { from, to, amount, note, payer } = parts;
  const inside = form({
    fields: [from, to, amount, note],
    submit: "Pay",
    send: async () => {
      await refuseShort(parts);
      const body = { fromAccount: handle(payer()), toAccount: to.chosen.to, amount: Number(amount.amount), description: note.value.trim() || undefined, idempotencyKey: intents.newKey() };
      await onPay({ path: PATH, body, shown: { from: nameOf(payer()), to: to.chosen.name, isNew: to.chosen.isNew, currency: payer().currency, account: payer().id } });
    },
    faults: (problem) => ({ ...problem.errors, ...(problem.code === "account_not_found" || problem.code === "same_account" || problem.code === "currency_mismatch" ? { toAccount: "Choose another account to pay to." } : {}) }),
  });
  parts.submit = inside.main;
  inside.main.classList.add("wide");
  const aside = h("aside", { class: "sheet stack review" }, h("h2", {}, "Review"), parts.reviewBox, inside.main);
  const body = h("div", { class: "two" }, h("div", { class: "stack" }, [from, to, amount, note].map((one) => one.element)), aside);
  inside.element.querySelector(".actions").remove();
  inside.element.append(body);
  return inside.element;
}

// Asks for the available balance now, so that money that has just come counts, and hopeless payments are not sent.
async function refuseShort({ payer, amount }) {
  const now = await get(`/api/accounts/${payer().id}/balance`);
  Object.assign(payer(), { availableBalance: now.availableBalance, balance: now.balance });
  if (amount.amount <= BigInt(now.availableBalance)) return;
  throw new Problem("refused", { code: "insufficient_funds", errors: { amount: `You can pay up to ${format(now.availableBalance, now.currency)} from ${nameOf(payer())}.` } });
}

// Pays, or repeats a payment. One tab at a time, and not what another tab has just paid, unless that is intended.
async function pay(intent, { screen, back, isMeant = false }) {
  await intents.alone(async () => {
    const same = intents.sameOpen(intent.body);
    const before = same || isMeant ? null : intents.paidBefore(intent.body);
    if (before !== null) {
      return arrived(screen, paidAlready({ ...intent, when: relative(before), onPay: () => pay(intent, { screen, back, isMeant: true }), onLeave: back }));
    }
    if (same && !isMeant) return send(same, { screen, back });
    intents.keep(intent);
    return send(intent, { screen, back });
  });
}

async function send(intent, { screen, back }) {
  const { body, shown } = intent;
  try {
    const { transaction } = await post(PATH, body);
    intents.settle(intent, { isPaid: true });
    remember(transaction.toAccount, shown.to);
    const balance = await balanceOf(shown.account);
    arrived(screen, paid({ transaction, body, shown, balance: balance?.balance ?? null }));
  } catch (error) {
    if (error instanceof Problem && error.isUnknown) return arrived(screen, unknown(intent, { screen, back }));
    intents.settle(intent, { isPaid: false });
    if (!(error instanceof Problem) || !error.transactionId) throw error;
    arrived(screen, notPaid({ ...intent, problem: error, available: await balanceOf(shown.account), onChange: back }));
  }
  return undefined;
}

function unknown(intent, context, heading = "h1") {
  return notKnown({ ...intent, heading, onAsk: () => intents.alone(() => send(intent, context)).catch((error) => context.screen.fail(error)) });
}

function arrived(screen, element) {
  screen.show(element.getAttribute("aria-label"), element);
  element.querySelector("h1").focus();
}

async function balanceOf(account) {
  return get(`/api/accounts/${account}/balance`).catch(() => null);
}
