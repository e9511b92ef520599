// Payees: people to pay again, under names of one's own.

import { h, name } from "../kit/dom.js";
import { get, patch, post, remove } from "../kit/api.js";
import { button, field, form } from "../kit/forms.js";
import { buttonLink, chip, empty, head, initials, notice, say, sheet } from "../kit/parts.js";
import { readNumber, savedPayees, spaced } from "../kit/people.js";
import { wordsOf } from "../kit/problems.js";
import { go, show } from "../kit/router.js";
import { icon } from "../kit/icons.js";

export async function view(place, screen) {
  const payees = await savedPayees(screen.signal);
  screen.show("Payees", [head({ title: "Payees", note: "They are yours alone. A payee does not learn the name that you give." }), list(payees), adding(place.query.get("number") ?? "")]);
}

function list(payees) {
  if (payees.length === 0) return sheet(empty("You have no payees yet", "Add people whom you pay often. Then you choose them by name."));
  return sheet(h("ul", { class: "lines" }, payees.map(line)));
}

function line(payee) {
  const place = h("div", { class: "grow-all" });
  return h(
    "li",
    {},
    h("span", { class: "row grow" }, initials(payee.name), h("span", {}, h("b", {}, name(payee.name)), h("br"), h("span", { class: "small soft num" }, spaced(payee.number)), h("span", { class: "small soft" }, " · ", name(payee.holder)))),
    h("span", { class: "wide-only" }, chip(payee.currency)),
    h(
      "span",
      { class: "row wrap" },
      buttonLink(`/pay?to=${payee.number}`, "Pay"),
      button("Rename", { class: "quiet small", "aria-label": `Rename ${payee.name}`, onclick: () => place.replaceChildren(renaming(payee, place)) }),
      button("Remove", { class: "quiet small", "aria-label": `Remove ${payee.name}`, onclick: () => place.replaceChildren(removing(payee, place)) }),
    ),
    place,
  );
}

function renaming(payee, place) {
  const wanted = field({ name: "name", label: "Your name for them", value: payee.name, maxlength: "100", autocomplete: "off", required: "Type a name." });
  queueMicrotask(() => wanted.control.focus());
  return h("div", { class: "narrow" }, form({ fields: [wanted], submit: "Rename", cancel: button("Cancel", { onclick: () => place.replaceChildren() }), send: async (values) => {
    await patch(`/api/payees/${payee.id}`, values);
    await show();
  } }).element);
}

function removing(payee, place) {
  const inside = form({ fields: [], before: [h("p", {}, "What you paid them stays in your movements.")], submit: `Remove ${payee.name}`, cancel: button("Cancel", { onclick: () => place.replaceChildren() }), send: async () => {
    await remove(`/api/payees/${payee.id}`);
    say(`${payee.name} is removed.`);
    await show();
  } });
  inside.main.className = "button wrong";
  queueMicrotask(() => inside.main.focus());
  return inside.element;
}

function adding(asked) {
  const found = h("div", { "aria-live": "polite" });
  const number = field({ name: "number", label: "Account number", autocomplete: "off", spellcheck: "false", placeholder: "FC00 0000 0000 0000", check: (text) => (text.trim() ? (readNumber(text).fault ?? null) : "Type the account number.") });
  const chosen = field({ name: "name", label: "Your name for them", maxlength: "100", autocomplete: "off", required: "Type a name." });
  const look = async () => {
    found.replaceChildren();
    const read = readNumber(number.value);
    if (!read.number) return;
    try {
      const { holder, currency } = await get("/api/payees/lookup", { number: read.number });
      if (readNumber(number.value).number !== read.number) return;
      found.replaceChildren(h("p", { class: "row" }, h("span", { class: "chip proof" }, icon("check"), "Name checked"), h("b", {}, name(holder)), chip(currency)));
      if (!chosen.value) chosen.control.value = holder;
    } catch (error) {
      found.replaceChildren(notice("wrong", ...wordsOf(error)));
    }
  };
  number.control.addEventListener("input", look);
  const made = form({
    fields: [number, chosen],
    submit: "Add the payee",
    send: async (values) => {
      await post("/api/payees", { number: readNumber(values.number).number, name: values.name });
      say(`${values.name} is added.`);
      await go("/payees", { replace: true });
    },
    faults: (problem) => (problem.code === "payee_not_found" ? { number: wordsOf(problem).join(" ") } : problem.errors),
  });
  number.element.after(found);
  if (asked) {
    number.control.value = spaced(asked);
    queueMicrotask(() => chosen.control.focus());
    look();
  }
  return sheet(h("h2", {}, "Add a payee"), h("div", { class: "narrow" }, made.element));
}
