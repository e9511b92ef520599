// Chooses whom to pay: a saved payee, an own account, or anybody by account number.

import { h, name, newId, put } from "./dom.js";
import { get } from "./api.js";
import { icon } from "./icons.js";
import { custom } from "./money.js";
import { chip, initials } from "./parts.js";
import { handle, nameOf, namer, readNumber, shortNumber, spaced } from "./people.js";
import { wordsOf } from "./problems.js";

const SHOWN_MAX = 8;

// Like a field of `forms`. `chosen` is { to, name, note, currency, isChecked } or null.
export function payeePicker({ accounts, payees, from, onChange }) {
  const id = newId("to");
  const input = h("input", { class: "field", id, type: "text", autocomplete: "off", spellcheck: "false", placeholder: "Name, or account number", "aria-describedby": `${id}-fault` });
  const label = h("label", { for: id }, "To");
  const [list, fault] = [h("ul", { class: "picks", "aria-label": "People and accounts to choose from" }), h("p", { class: "hint wrong", id: `${id}-fault`, hidden: true })];
  const box = h("div", {});
  let looking = 0;
  const made = { name: "toAccount", get control() { return made.chosen ? box.querySelector("button") : input; }, chosen: null, value: null, element: h("div", { class: "of-form" }, label, box, fault), fault: showFault, check, choose, redraw };

  const known = () => [
    ...payees.map((payee) => ({ to: payee.number, name: payee.name, note: spaced(payee.number), currency: payee.currency, isChecked: true })),
    ...accounts.filter((one) => one.status === "ACTIVE" && one.id !== from().id && one.currency === from().currency).map((one) => ({ to: handle(one), name: nameOf(one), note: ["Your own account", shortNumber(one.number)].filter(Boolean).join(" · "), currency: one.currency, isOwn: true })),
  ];

  function showFault(text) {
    fault.textContent = text ?? "";
    fault.hidden = !text;
    input.classList.toggle("bad", Boolean(text));
    if (text) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  }

  function check() {
    if (!made.chosen) return input.value.trim() ? (readNumber(input.value).fault ?? "Choose who gets the money from the list.") : "Choose who gets the money.";
    if (made.chosen.to === handle(from())) return "This is the account that the money comes from. Choose another one.";
    if (made.chosen.currency && made.chosen.currency !== from().currency) return `${made.chosen.name} takes ${custom(made.chosen.currency).many}. Pay from an account in that currency.`;
    return null;
  }

  function choose(who, { isQuiet = false } = {}) {
    made.chosen = who;
    input.value = "";
    showFault(null);
    redraw();
    if (!isQuiet) box.querySelector("button, input")?.focus();
    onChange();
  }

  function redraw() {
    if (!made.chosen) return void (put(box, input, list), suggest());
    const { name: who, note, isChecked } = made.chosen;
    const change = h("button", { type: "button", class: "quiet small", "aria-label": `Change who gets it, now ${who}`, onclick: () => choose(null) }, "Change");
    put(box, h("div", { class: "field chosen" }, initials(who), h("span", { class: "grow" }, h("b", {}, name(who)), h("span", { class: "small soft num" }, note)), isChecked && h("span", { class: "chip proof" }, icon("check"), "Name checked"), change));
  }

  function suggest(found = []) {
    const text = input.value.trim().toLowerCase();
    const matching = known().filter((one) => `${one.name} ${one.note}`.toLowerCase().replace(/\s/g, "").includes(text.replace(/\s/g, "")));
    const shown = [...found, ...matching].slice(0, SHOWN_MAX);
    put(list, shown.map((who) => h("li", {}, h("button", { type: "button", onclick: () => choose(who) }, initials(who.name), h("span", { class: "grow" }, h("b", {}, name(who.name)), h("span", { class: "small soft num" }, who.note)), who.currency !== from().currency && chip(who.currency)))));
    list.hidden = shown.length === 0;
  }

  async function look() {
    const turn = ++looking;
    showFault(null);
    suggest();
    const { number, fault: wrong } = readNumber(input.value);
    if (wrong && input.value.replace(/\s/g, "").length >= 16) return showFault(wrong);
    if (!number || known().some((one) => one.to === number)) return undefined;
    try {
      const { holder, currency } = await get("/api/payees/lookup", { number });
      if (turn === looking) suggest([{ to: number, name: holder, note: spaced(number), currency, isChecked: true, isNew: true }]);
    } catch (error) {
      if (turn === looking) showFault(wordsOf(error).join(" "));
    }
    return undefined;
  }

  input.addEventListener("input", look);
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    if (list.childElementCount === 1) list.querySelector("button").click();
  });
  redraw();
  return made;
}

export function namedBefore(accounts, payees, to) {
  const own = accounts.find((one) => handle(one) === to || one.id === to);
  if (own) return { to: handle(own), name: nameOf(own), note: "Your own account", currency: own.currency, isOwn: true };
  const payee = payees.find((one) => one.number === to || one.accountId === to);
  if (payee) return { to: payee.number, name: payee.name, note: spaced(payee.number), currency: payee.currency, isChecked: true };
  const known = namer(accounts, payees)(to);
  return known && { to, name: known, note: "Paid before" };
}
