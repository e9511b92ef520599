// Statements: by month or for a period of one's own, as PDF or CSV.

import { h, put } from "../kit/dom.js";
import { download } from "../kit/download.js";
import { button, field, form, once, select } from "../kit/forms.js";
import { buttonLink, empty, head, notice, sheet } from "../kit/parts.js";
import { handle, nameOf, ownAccounts, shortNumber } from "../kit/people.js";
import { wordsOf } from "../kit/problems.js";
import { setQuery } from "../kit/router.js";
import { fromIsoDay, isoDay, monthName, startOfDay } from "../kit/times.js";

const MONTHS_MAX = 12;
const DAYS_MAX = 366;

export async function view(place, screen) {
  const accounts = await ownAccounts(screen.signal);
  if (accounts.length === 0) return screen.show("Statements", [head({ title: "Statements" }), empty("There is nothing to state yet", "Open an account first.", buttonLink("/accounts/new", "Open an account", "main"))]);
  const asked = place.query.get("account");
  const first = accounts.find((one) => handle(one) === asked || one.id === asked) ?? accounts[0];
  const label = (one) => [nameOf(one), shortNumber(one.number), one.status === "CLOSED" && "closed"].filter(Boolean).join(" · ");
  const chooser = select({ name: "account", label: "Account", options: accounts.map((one) => [one.id, label(one)]), value: first.id });
  const box = h("div", { class: "stack loose" });
  const draw = () => {
    const account = accounts.find((one) => one.id === chooser.value);
    setQuery({ account: handle(account) });
    put(box, months(account), ownPeriod(account));
  };
  chooser.control.addEventListener("change", draw);
  screen.show("Statements", [head({ title: "Statements", note: "Each carries the proof of what it says." }), h("div", { class: "narrow" }, chooser.element), box]);
  draw();
  return undefined;
}

function months(account) {
  const now = new Date();
  const opened = new Date(account.createdAt);
  const list = [];
  for (let month = new Date(now.getFullYear(), now.getMonth(), 1); list.length < MONTHS_MAX && nextMonth(month) > opened; month = new Date(month.getFullYear(), month.getMonth() - 1, 1)) list.push(month);
  return sheet(
    h("h2", {}, "By month"),
    h("ul", { class: "lines" }, list.map((month) => {
      const title = monthName(month);
      const fault = h("div", { class: "grow-all" });
      const file = (kind) => button(kind.toUpperCase(), { "aria-label": `${title} as ${kind.toUpperCase()}`, onclick: (event) => fetchFile(event.currentTarget, fault, account, kind, month, nextMonth(month), `${month.getFullYear()}-${String(month.getMonth() + 1).padStart(2, "0")}`) });
      return h("li", {}, h("span", { class: "grow" }, title, nextMonth(month) > now && h("span", { class: "soft small" }, " · until now")), h("span", { class: "row" }, file("pdf"), file("csv")), fault);
    })),
  );
}

const nextMonth = (month) => new Date(month.getFullYear(), month.getMonth() + 1, 1);

function ownPeriod(account) {
  const today = isoDay(new Date());
  const from = field({ name: "from", label: "From", type: "date", max: today, value: isoDay(startOfDay(new Date(), -30)), required: "Choose the first day." });
  const to = field({ name: "to", label: "To", optional: "this day too", type: "date", max: today, value: today, required: "Choose the last day.", check: (text) => periodFault(from.value, text) });
  const kind = select({ name: "kind", label: "As", options: [["pdf", "PDF, to read and to print"], ["csv", "CSV, for a spreadsheet"]], value: "pdf" });
  const made = form({
    fields: [from, to, kind],
    submit: "Get the statement",
    send: (values) => statement(account, values.kind, fromIsoDay(values.from), fromIsoDay(values.to, 1), `${values.from}-${values.to}`),
  });
  return sheet(h("h2", {}, "A period of your own"), h("div", { class: "narrow" }, made.element));
}

function periodFault(from, to) {
  const days = (fromIsoDay(to, 1) - fromIsoDay(from)) / 86_400_000;
  if (days <= 0) return "The last day is before the first one.";
  return days > DAYS_MAX ? "A statement covers at most a year. Choose a shorter period." : null;
}

function fetchFile(control, fault, ...asked) {
  return once(control, async () => {
    put(fault);
    try {
      await statement(...asked);
    } catch (error) {
      put(fault, notice("wrong", ...wordsOf(error)));
    }
  });
}

async function statement(account, kind, from, to, period) {
  const earliest = new Date(Math.max(from, 0));
  const end = new Date(Math.min(to, Date.now()));
  const title = nameOf(account).replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "account";
  await download(`/api/accounts/${account.id}/statement.${kind}`, { from: earliest.toISOString(), to: end.toISOString() }, `${title}-${period}.${kind}`);
}
