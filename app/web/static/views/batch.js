// Pay many at once: a CSV, a preview of each line's result, then the payments.

import { h, put } from "../kit/dom.js";
import { post } from "../kit/api.js";
import { readPayments, TEMPLATE } from "../kit/batch-file.js";
import { previewTable, resultTable } from "../kit/batch-table.js";
import { toCsv } from "../kit/csv.js";
import { save } from "../kit/download.js";
import { button, field, form, select } from "../kit/forms.js";
import * as intents from "../kit/intents.js";
import { custom, format, formatNumber } from "../kit/money.js";
import { money } from "../kit/figures.js";
import { buttonLink, chip, empty, facts, head, notice, sheet, total } from "../kit/parts.js";
import { acquainted, handle, nameOf } from "../kit/people.js";
import { Problem, wordsOf } from "../kit/problems.js";

const PATH = "/api/transactions/batch";

export async function view(place, screen) {
  const { accounts, payees } = await acquainted(screen.signal);
  const payers = accounts.filter((one) => one.status === "ACTIVE");
  const known = new Map([...payees.map((one) => [one.number, one.name]), ...accounts.flatMap((one) => [[one.number, nameOf(one)], [one.id, nameOf(one)]])]);
  Object.assign(screen, { nameFor: (to) => known.get(to) ?? null });
  const top = head({ title: "Pay many at once", note: "Up to 500 payments out of a spreadsheet.", up: ["/pay", "Pay"] });
  if (payers.length === 0) return screen.show("Pay many", [top, empty("There is no account to pay from", "You need an account that is open and not frozen.", buttonLink("/accounts/new", "Open an account", "main"))]);
  const open = intents.open(PATH).map((intent) => unknown(intent, screen));
  const box = h("div", { class: "stack loose" });
  screen.show("Pay many", [top, open, choosing(payers, box, screen), box]);
  return undefined;
}

function choosing(payers, box, screen) {
  const from = select({ name: "from", label: "From", options: payers.map((one) => [one.id, `${nameOf(one)} · ${format(one.availableBalance, one.currency)} available`]), value: payers[0].id });
  const file = field({ name: "file", label: "File", type: "file", accept: ".csv,text/csv", hint: "A CSV with the columns to, amount and note. Amounts in the currency’s own units.", required: "Choose a file." });
  const made = form({
    fields: [from, file],
    submit: "Look at it",
    cancel: button("Get a template", { onclick: () => save(new Blob([toCsv(TEMPLATE)], { type: "text/csv" }), "payments.csv") }),
    send: async () => {
      const account = payers.find((one) => one.id === from.value);
      const lines = readPayments(await file.control.files[0].text(), account.currency);
      if (lines.fault) throw new Problem("refused", { code: "validation_failed", errors: { file: lines.fault } });
      put(box, await preview(account, lines, screen));
      box.querySelector("h2").focus();
    },
  });
  return sheet(h("div", { class: "narrow" }, made.element));
}

// Rehearses each line at the bank, one by one. Nothing is written.
async function preview(account, lines, screen) {
  const good = lines.filter((line) => !line.fault);
  const answers = good.length ? (await post(`${PATH}?dryRun=true`, { atomic: false, idempotencyKey: intents.newKey(), transfers: good.map((line) => transferOf(account, line)) })).results : [];
  answers.forEach((answer) => (good[answer.index].fault = answer.problem ? wordsOf(new Problem("refused", answer.problem)).join(" ") : null));
  const fine = lines.filter((line) => !line.fault);
  const sum = fine.reduce((all, line) => all + line.amount, 0n);
  const wrong = lines.length - fine.length;
  const inside = form({
    fields: [],
    before: [wrong > 0 && notice("hold", `${wrong} ${wrong === 1 ? "line" : "lines"} cannot be paid.`, "Only the others are. Or mend the file and look at it again.")],
    submit: `Make ${fine.length} ${fine.length === 1 ? "payment" : "payments"} · ${format(sum, account.currency)}`,
    send: () => begin({ account, fine, sum, screen }),
  });
  return sheet(
    h("h2", { tabindex: "-1" }, "Preview"),
    facts([["Payments", String(fine.length)], ["Together", h("span", { class: "money" }, format(sum, account.currency))], ["You keep", h("span", { class: "num" }, format(BigInt(account.availableBalance) - sum, account.currency))]]),
    previewTable(lines, account.currency, screen.nameFor),
    fine.length > 0 ? inside.element : notice("wrong", "No line can be paid.", "Mend the file and look at it again."),
    fine.length > 0 && h("p", { class: "small soft" }, "Each is paid on its own, at once, and cannot be called back."),
  );
}

const transferOf = (account, line) => ({ fromAccount: handle(account), toAccount: line.to, amount: Number(line.amount), description: line.note || undefined });

async function begin({ account, fine, sum, screen }) {
  const body = { atomic: false, idempotencyKey: intents.newKey(), transfers: fine.map((line) => transferOf(account, line)) };
  const intent = { path: PATH, body, shown: { from: nameOf(account), currency: account.currency, amount: String(sum), count: fine.length } };
  await intents.alone(async () => {
    intents.keep(intent);
    await send(intent, screen);
  });
}

async function send(intent, screen) {
  try {
    const { results } = await post(PATH, intent.body);
    intents.settle(intent, { isPaid: false });
    screen.show("Paid", ended(intent, results, screen.nameFor));
  } catch (error) {
    if (!(error instanceof Problem && error.isUnknown)) {
      intents.settle(intent, { isPaid: false });
      throw error;
    }
    screen.show("Not known yet", [head({ title: "Pay many at once", up: ["/pay", "Pay"] }), unknown(intent, screen)]);
  }
  document.querySelector("h1")?.focus();
}

function unknown(intent, screen) {
  const { count, amount, currency, from } = intent.shown;
  const again = button("Ask again", { class: "button main", onclick: () => intents.alone(() => send(intent, screen)).catch((error) => screen.fail(error)) });
  return h("section", { class: "sheet stack outcome", "aria-label": "Not known yet" }, h("h2", { class: "as-chip" }, chip("Not known yet", "hold")), money(amount, currency, { hero: true }), h("p", {}, `${count} payments from ${from}.`), notice("hold", "The connection broke before we heard back.", "Ask again: what was paid is not paid twice."), h("div", { class: "row" }, again));
}

function ended(intent, results, nameFor) {
  const { currency } = intent.shown;
  const lines = results.map(({ index, transaction, problem }) => ({ ...intent.body.transfers[index], amount: BigInt(intent.body.transfers[index].amount), transaction, fault: problem ? wordsOf(new Problem("refused", problem)).join(" ") : null }));
  const [fine, failed] = [lines.filter((line) => !line.fault), lines.filter((line) => line.fault)];
  const sum = fine.reduce((all, line) => all + line.amount, 0n);
  const rows = failed.map((line) => [line.toAccount, formatNumber(line.amount, currency).replaceAll(custom(currency).separator, ""), line.description ?? "", line.fault]);
  const figure = money(sum, currency, { hero: true });
  return [
    head({ title: failed.length === 0 ? "All paid" : fine.length === 0 ? "Nothing paid" : `${fine.length} of ${lines.length} paid`, up: ["/", "Accounts"] }),
    fine.length > 0 ? total(figure) : figure,
    failed.length > 0 && notice("wrong", `${failed.length} ${failed.length === 1 ? "payment was" : "payments were"} not made.`, "Save them, mend them, and pay them again."),
    sheet(resultTable(lines, currency, nameFor), h("div", { class: "row actions" }, failed.length > 0 && button("Save what was not paid", { onclick: () => save(new Blob([toCsv([[...TEMPLATE[0], "reason"], ...rows])], { type: "text/csv" }), "not-paid.csv") }), buttonLink("/", "Your accounts", "main"))),
  ];
}
