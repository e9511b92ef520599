// For operators: the people of the bank, found by name, e-mail address or id.

import { h, name } from "../kit/dom.js";
import { field, form } from "../kit/forms.js";
import { pages } from "../kit/pages.js";
import { empty, head, initials } from "../kit/parts.js";
import { go } from "../kit/router.js";
import { roleChip } from "../kit/staff.js";
import { shortDate } from "../kit/times.js";

export async function view(place, screen) {
  const q = place.query.get("q") ?? "";
  const list = pages({ path: "/api/admin/users", key: "users", query: { q }, draw: lines, none: none(q), more: "Show more people", label: "People", place, signal: screen.signal });
  await list.fill();
  screen.show("People", [head({ title: "People" }), search(q), list.element]);
}

function search(q) {
  const made = form({
    fields: [field({ name: "q", label: "Find a person", type: "search", value: q, hint: "The start of a name or of an e-mail address.", autocomplete: "off" })],
    submit: "Find",
    send: ({ q: words }) => go(`/operator/people${words.trim() ? `?q=${encodeURIComponent(words.trim())}` : ""}`),
  });
  made.element.setAttribute("role", "search");
  made.element.classList.add("search");
  return made.element;
}

function none(q) {
  return q ? empty("Nobody is called that", "Type only the start of the name or of the address.") : empty("There is nobody yet", "Whoever registers stands here.");
}

function lines(users) {
  return h("ul", { class: "lines" }, users.map(line));
}

function line(user) {
  return h(
    "li",
    {},
    h("span", { class: "row grow" }, initials(user.name), h("span", {}, h("a", { class: "who", href: `/operator/people/${user.id}` }, h("b", {}, name(user.name))), h("br"), h("span", { class: "small soft" }, user.email, ` · since ${shortDate(user.createdAt)}`))),
    h("span", { class: user.role === "USER" ? "wide-only" : null }, roleChip(user)),
  );
}
