// For operators: one person, their accounts, and the latest acts on them.

import { h, name } from "../kit/dom.js";
import { get, patch } from "../kit/api.js";
import { button, field, form, select } from "../kit/forms.js";
import { empty, head, initials, say, sheet } from "../kit/parts.js";
import { currentUser } from "../kit/session.js";
import { show } from "../kit/router.js";
import { accountTable, actors, lately, roleChip, roleOf, userBy } from "../kit/staff.js";
import { shortDate } from "../kit/times.js";

const ACCOUNTS_MAX = 200;
const ACTS_OF_MAX = 5;
const ACTS_MAX = 6;

export async function view(place, screen) {
  const { signal } = screen;
  const user = await userBy(place.params.user, signal);
  const { accounts } = await get("/api/admin/accounts", { user: user.id, limit: ACCOUNTS_MAX }, { signal });
  const records = await acts(user, accounts, signal);
  const actorOf = await actors(records, signal);
  screen.show(user.name, [top(user), owned(user, accounts), h("div", { class: "two" }, role(user), h("aside", { class: "stack" }, h("h2", {}, "Lately"), lately(records, actorOf)))]);
}

// What was done to the person and to their first accounts, newest first.
async function acts(user, accounts, signal) {
  const subjects = [user.id, ...accounts.slice(0, ACTS_OF_MAX).map((account) => account.id)];
  const found = await Promise.all(subjects.map((subject) => get("/api/admin/audit-log", { subject, limit: ACTS_MAX }, { signal })));
  return found.flatMap((page) => page.records).sort((a, b) => (a.at < b.at ? 1 : -1)).slice(0, ACTS_MAX);
}

function top(user) {
  return head({ title: h("span", { class: "row" }, initials(user.name), name(user.name)), note: [user.email, ` · with us since ${shortDate(user.createdAt)}`], up: ["/operator/people", "People"], actions: [roleChip(user)] });
}

function owned(user, accounts) {
  if (accounts.length === 0) return sheet(empty("No account", [name(user.name), " has not opened an account yet."]));
  return sheet(h("div", { class: "row between" }, h("h2", {}, "Accounts"), h("span", { class: "soft small num" }, accounts.length)), accountTable(accounts, { caption: "Their accounts" }));
}

function role(user) {
  const me = currentUser();
  const text = { USER: "An account holder sees and moves what is theirs.", ADMIN: "An operator sees all accounts, freezes and closes them, and reverses payments.", SYSTEM: "A chief operator may also pay in new money and change roles." }[user.role];
  const box = h("div", { class: "stack narrow" });
  const change = me.role === "SYSTEM" && me.id !== user.id && button("Change the role", { onclick: () => box.replaceChildren(changing(user, box, change)) });
  if (change) box.append(change);
  return sheet(h("h2", {}, roleOf(user)), h("p", { class: "soft" }, text), box);
}

function changing(user, box, change) {
  const made = form({
    fields: [
      select({ name: "role", label: "New role", options: ["USER", "ADMIN", "SYSTEM"].map((one) => [one, roleOf({ role: one })]), value: user.role }),
      field({ name: "reason", label: "Reason", optional: "kept in the audit log", maxlength: "200", autocomplete: "off" }),
    ],
    submit: "Change the role",
    cancel: button("Cancel", { onclick: () => box.replaceChildren(change) }),
    send: async ({ role: chosen, reason }) => {
      await patch(`/api/admin/users/${user.id}/role`, { role: chosen, reason: reason.trim() || undefined });
      say(`${user.name} has a new role.`);
      await show();
    },
  });
  return made.element;
}
