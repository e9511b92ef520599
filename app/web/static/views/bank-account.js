// For operators: one account, its journal, and what an operator may do with it.

import { h, name } from "../kit/dom.js";
import { get, patch } from "../kit/api.js";
import { button, field, form } from "../kit/forms.js";
import { isOpen, paying } from "../kit/paying-in.js";
import { format } from "../kit/money.js";
import { pages } from "../kit/pages.js";
import { money } from "../kit/figures.js";
import { copyButton, empty, facts, head, link, say, sheet, total } from "../kit/parts.js";
import { currentUser } from "../kit/session.js";
import { show } from "../kit/router.js";
import { accountName, actors, isBank, lately, stateChip, userBy } from "../kit/staff.js";
import { spaced } from "../kit/people.js";
import { when } from "../kit/times.js";

const ACTS_MAX = 6;

export async function view(place, screen) {
  const { signal } = screen;
  const { account } = await get(`/api/accounts/${place.params.account}`, null, { signal });
  const [balance, owner, { records }] = await Promise.all([
    get(`/api/accounts/${account.id}/balance`, null, { signal }),
    isBank(account) ? null : userBy(account.userId, signal),
    get("/api/admin/audit-log", { subject: account.id, limit: ACTS_MAX }, { signal }),
  ]);
  const list = pages({ path: `/api/accounts/${account.id}/entries`, key: "entries", draw: (entries) => journal(entries, account), none: empty("Its journal is empty", "Each movement adds an entry."), more: "Show earlier entries", label: "Journal", place, signal });
  const [actorOf] = await Promise.all([actors(records, signal), list.fill()]);
  screen.show(accountName(account), render(account, balance, owner, h("aside", { class: "stack" }, h("h2", {}, "Lately"), lately(records, actorOf)), list.element));
}

function render(account, balance, owner, aside, list) {
  const held = BigInt(balance.balance) - BigInt(balance.availableBalance);
  return [
    head({
      title: name(accountName(account)),
      note: h("span", { class: "row wrap" }, h("span", { class: "num" }, spaced(account.number)), account.number && copyButton(account.number, "account number"), owner ? link(`/operator/people/${owner.id}`, name(owner.name)) : "The bank’s own"),
      up: owner ? [`/operator/people/${owner.id}`, owner.name] : ["/operator/accounts", "All accounts"],
      actions: [stateChip(account)],
    }),
    h(
      "section",
      { class: "totals", "aria-label": "Balance" },
      h("div", {}, h("p", { class: "soft small" }, "Balance"), total(money(balance.balance, account.currency, { hero: true }))),
      h("div", { class: "small" }, facts([["Available", h("span", { class: "num" }, format(balance.availableBalance, account.currency))], ["Held", h("span", { class: "num" }, format(held, account.currency))], ["Entries", h("span", { class: "num" }, balance.sequence + 1)]])),
    ),
    !isBank(account) && h("div", { class: "two" }, acting(account, balance, held), aside),
    list,
  ];
}

const CHANGES = {
  FROZEN: { verb: "Freeze", text: "Nothing goes in or out until somebody unfreezes it. Open holds stay. Its owner is told by mail.", done: "is frozen" },
  ACTIVE: { verb: "Unfreeze", text: "It can pay and receive again at once. Its owner is told by mail.", done: "can be used again" },
  CLOSED: { verb: "Close", text: "A closed account cannot be opened again. Its movements and statements stay. Its owner is told by mail.", done: "is closed" },
};

function acting(account, balance, held) {
  const box = h("div", { class: "stack" });
  const choose = (content) => {
    box.replaceChildren(content);
    content.querySelector("input, textarea")?.focus();
  };
  const back = () => box.replaceChildren(...choices());
  const isEmpty = balance.balance === 0 && held === 0n;
  const choices = () => [
    h(
      "div",
      { class: "row wrap" },
      account.status === "ACTIVE" && currentUser().role === "SYSTEM" && button("Pay in", { class: "button main", onclick: () => choose(paying(account, { back })) }),
      account.status === "ACTIVE" && button("Freeze", { onclick: () => choose(changing(account, "FROZEN", back)) }),
      account.status === "FROZEN" && button("Unfreeze", { class: "button main", onclick: () => choose(changing(account, "ACTIVE", back)) }),
      account.status !== "CLOSED" && isEmpty && button("Close", { class: "button wrong", onclick: () => choose(changing(account, "CLOSED", back)) }),
    ),
    account.status === "CLOSED" && h("p", { class: "soft" }, "It is closed. Nothing more can be done with it."),
    account.status !== "CLOSED" && !isEmpty && h("p", { class: "soft small" }, "It can be closed when it is empty and nothing is held."),
  ].filter(Boolean);
  if (isOpen(account)) box.replaceChildren(paying(account, { back }));
  else back();
  return sheet(h("h2", {}, "What you can do"), box);
}

function changing(account, status, back) {
  const { verb, text, done } = CHANGES[status];
  const made = form({
    fields: [field({ name: "reason", label: "Reason", optional: "kept in the audit log", control: h("textarea", { class: "field", maxlength: "200" }), required: "Type a reason." })],
    submit: verb,
    cancel: button("Cancel", { onclick: back }),
    send: async ({ reason }) => {
      await patch(`/api/admin/accounts/${account.id}/status`, { status, reason: reason.trim() });
      say(`${accountName(account)} ${done}.`);
      await show();
    },
  });
  if (status === "CLOSED") made.main.className = "button wrong";
  return h("div", { class: "stack" }, h("h3", {}, `${verb} “`, name(accountName(account)), "”"), h("p", { class: "soft" }, text), made.element);
}

const STATES = { ACTIVE: "active", FROZEN: "frozen", CLOSED: "closed" };
const KINDS = { DEBIT: "Paid", CREDIT: "Received", HOLD: "Held", RELEASE: "No longer held", STATUS: "State changed" };

function journal(entries, { currency }) {
  return h(
    "table",
    { class: "ledger" },
    h("caption", { class: "unseen" }, "Journal, newest entry first"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Entry"), h("th", { scope: "col", class: "right" }, "Amount"), h("th", { scope: "col", class: "right wide-only" }, "Balance after"))),
    h("tbody", {}, entries.map((entry) => line(entry, currency))),
  );
}

function line(entry, currency) {
  const what = h("b", {}, KINDS[entry.type] ?? entry.type);
  const sign = { DEBIT: "−", CREDIT: "+" }[entry.type] ?? "";
  const title = entry.sequence === 0 ? h("b", {}, "Opened") : what;
  const note = entry.type === "STATUS" ? entry.sequence > 0 && `now ${STATES[entry.description] ?? "another"}` : entry.description;
  return h(
    "tr",
    {},
    h("td", {}, entry.transactionId ? h("a", { class: "who", href: `/operator/movements/${entry.transactionId}` }, title) : title, h("br"), h("span", { class: "small soft" }, h("span", { class: "num" }, `No. ${entry.sequence}`), " · ", when(entry.createdAt), note && [" · ", name(note)])),
    h("td", { class: "right" }, entry.amount === 0 ? "–" : money(entry.amount, currency, { sign, kind: entry.type === "CREDIT" ? "in" : "" })),
    h("td", { class: "right num soft wide-only" }, format(entry.balanceAfter, currency)),
  );
}
