// Shared by operators' views: words for roles, states and acts, and tables of accounts.

import { h, name } from "./dom.js";
import { get } from "./api.js";
import { money } from "./figures.js";
import { chip, link } from "./parts.js";
import { nameOf, spaced } from "./people.js";
import { Problem } from "./problems.js";
import { when } from "./times.js";

const ROLES = { USER: "Account holder", ADMIN: "Operator", SYSTEM: "Chief operator" };
const STATES = { ACTIVE: ["Active", ""], FROZEN: ["Frozen", "frozen"], CLOSED: ["Closed", ""] };
const ACTS = {
  account_closed: "Closed",
  account_frozen: "Frozen",
  account_unfrozen: "Unfrozen",
  funds_credited: "Paid in",
  hold_captured: "Hold taken",
  hold_voided: "Hold given back",
  login_failures: "Many wrong passwords",
  role_changed: "Role changed",
  transaction_reversed: "Reversed",
};

export const roleOf = (user) => ROLES[user.role] ?? user.role;
export const roleChip = (user) => chip(roleOf(user), user.role === "USER" ? "" : "proof");
export function stateChip(account, place = "") {
  const [text, kind] = STATES[account.status] ?? [account.status, ""];
  return chip(text, `${kind} ${place}`.trim());
}
export const actOf = (record) => ACTS[record.action] ?? capital(record.action.replaceAll("_", " "));
export const isBank = (account) => account.kind === "TREASURY";

function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}

export async function userBy(id, signal) {
  const { users } = await get("/api/admin/users", { q: id, limit: 1 }, { signal });
  if (users.length === 0) throw new Problem("refused", { code: "user_not_found", status: 404 });
  return users[0];
}

export const accountName = (account) => (isBank(account) ? `The bank’s ${account.currency} account` : nameOf(account));

// Accounts with their balances. `owner(account)` says whose they are, where that is not plain.
export function accountTable(accounts, { owner = null, caption = "Accounts" } = {}) {
  return h(
    "table",
    { class: "ledger" },
    h("caption", { class: "unseen" }, caption),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Account"), h("th", { scope: "col", class: "right" }, "Balance"), h("th", { scope: "col", class: "right wide-only" }, "State"))),
    h("tbody", {}, accounts.map((account) => accountLine(account, owner))),
  );
}

function accountLine(account, owner) {
  const isPlain = account.status === "ACTIVE";
  return h(
    "tr",
    {},
    h(
      "td",
      {},
      h("a", { class: "who", href: `/operator/accounts/${account.number ?? account.id}` }, name(accountName(account))),
      !isPlain && [" ", stateChip(account, "narrow-only")],
      h("br"),
      owner && h("span", { class: "small soft" }, owner(account), h("span", { class: "wide-only" }, " · ")),
      h("span", { class: `small soft num${owner ? " wide-only" : ""}` }, spaced(account.number)),
    ),
    h("td", { class: "right" }, money(account.balance, account.currency)),
    h("td", { class: "right wide-only" }, stateChip(account)),
  );
}

// The newest acts, as lines beside what they were done to.
export function lately(records, actorOf) {
  if (records.length === 0) return h("p", { class: "soft small" }, "Nothing yet.");
  return h(
    "ul",
    { class: "stack small" },
    records.map((record) =>
      h("li", {}, h("b", {}, actOf(record)), h("br"), h("span", { class: "soft" }, actorOf(record.actor), " · ", when(record.at)), record.reason && [h("br"), h("span", { class: "soft" }, "“", name(record.reason), "”")]),
    ),
  );
}

// Names the actors, as far as the bank knows them. An act without a person is the bank's own.
export async function actors(records, signal) {
  const ids = [...new Set(records.map((record) => record.actor))].filter((actor) => /^[0-9a-f]{24}$/.test(actor));
  const found = await Promise.all(ids.map((id) => userBy(id, signal).catch(() => null)));
  const known = new Map(ids.map((id, i) => [id, found[i]]));
  return (actor) => (known.get(actor) ? link(`/operator/people/${actor}`, name(known.get(actor).name), { class: "soft" }) : known.has(actor) ? "Somebody" : actor === "anonymous" ? "Somebody unknown" : "The bank");
}
