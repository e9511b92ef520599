// For operators: all accounts of the bank, by state, currency and owner.

import { h, name } from "../kit/dom.js";
import { field, form, select } from "../kit/forms.js";
import { customs } from "../kit/currencies.js";
import { pages } from "../kit/pages.js";
import { empty, head } from "../kit/parts.js";
import { go } from "../kit/router.js";
import { accountTable, isBank, userBy } from "../kit/staff.js";

const FILTERS = ["status", "currency", "kind", "user"];
const WORDS = { ACTIVE: "Active", FROZEN: "Frozen", CLOSED: "Closed", CUSTOMER: "Account holders’", TREASURY: "The bank’s own" };

export async function view(place, screen) {
  const { signal } = screen;
  const query = Object.fromEntries(FILTERS.map((key) => [key, place.query.get(key) ?? ""]));
  const owners = new Map();
  const list = pages({
    path: "/api/admin/accounts",
    key: "accounts",
    query,
    draw: (accounts) => accountTable(accounts, { owner: (account) => ownerOf(account, owners, signal) }),
    none: empty("No such account", "Choose other filters to see more."),
    more: "Show more accounts",
    label: "Accounts",
    place,
    signal,
  });
  await list.fill();
  screen.show("All accounts", [head({ title: "All accounts" }), filters(query), list.element]);
}

function filters(query) {
  const chosen = Object.values(query).filter(Boolean).length;
  const made = form({
    fields: [
      select({ name: "status", label: "State", options: [["", "All"], ...["ACTIVE", "FROZEN", "CLOSED"].map((state) => [state, WORDS[state]])], value: query.status }),
      select({ name: "currency", label: "Currency", options: [["", "All"], ...Object.keys(customs).map((code) => [code, code])], value: query.currency }),
      select({ name: "kind", label: "Whose", options: [["", "Everybody’s"], ...["CUSTOMER", "TREASURY"].map((kind) => [kind, WORDS[kind]])], value: query.kind }),
      field({ name: "user", label: "Owner’s e-mail", value: query.user, autocomplete: "off" }),
    ],
    submit: "Show",
    send: (values) => go(`/operator/accounts${queryOf(values)}`),
  });
  made.element.classList.add("across");
  const words = Object.values(query).filter(Boolean).map((value) => WORDS[value] ?? value).join(", ");
  return h("details", {}, h("summary", {}, "Filters", chosen > 0 && h("span", { class: "soft light" }, `: ${words}`)), made.element);
}

function queryOf(values) {
  const given = Object.entries(values).filter(([, value]) => value.trim());
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

// The name of an owner comes when it is known; each is asked for once.
function ownerOf(account, owners, signal) {
  if (isBank(account)) return "the bank";
  const box = h("span", {}, "…");
  if (!owners.has(account.userId)) owners.set(account.userId, userBy(account.userId, signal));
  owners.get(account.userId).then((user) => box.replaceChildren(name(user.name)), () => box.replaceChildren("unknown"));
  return box;
}
