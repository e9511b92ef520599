// Forms: labelled fields, faults in the field and, with links, at the top; one submission at a time.

import { h, newId, put } from "./dom.js";
import { Problem, wordsOf } from "./problems.js";
import { notice } from "./parts.js";

// A field: { element, control, name, value, fault(text) }. `check` returns what is wrong with a value, or nothing.
export function field({ label, name, hint = null, optional = null, control = null, wrap = around, check = null, required = null, ...attributes }) {
  const id = newId(name);
  const input = control ?? h("input", { class: "field", type: "text", ...attributes });
  const [hintLine, faultLine] = [h("p", { class: "hint", id: `${id}-hint` }, hint), h("p", { class: "hint wrong", id: `${id}-fault`, hidden: true })];
  input.id = id;
  input.setAttribute("name", name);
  input.setAttribute("aria-describedby", `${id}-hint ${id}-fault`);
  hintLine.hidden = hint === null;
  const made = {
    name,
    control: input,
    get value() {
      return input.value;
    },
    element: h("div", { class: "of-form" }, h("label", { for: id }, label, optional && h("span", { class: "soft light" }, ` (${optional})`)), wrap(input), hintLine, faultLine),
    hint(text) {
      hintLine.textContent = text ?? "";
      hintLine.hidden = !text;
    },
    fault(text) {
      faultLine.textContent = text ?? "";
      faultLine.hidden = !text;
      input.classList.toggle("bad", Boolean(text));
      if (text) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    },
    check() {
      if (required && !String(input.value).trim()) return required;
      return check?.(input.value) ?? null;
    },
  };
  input.addEventListener("input", () => made.fault(null));
  return made;
}

// A password can be shown, so that nobody has to type it twice.
function around(input) {
  if (input.type !== "password") return input;
  const button = h("button", { type: "button", class: "inside", "aria-pressed": "false" }, "Show");
  button.addEventListener("click", () => {
    const isShown = input.type === "text";
    input.type = isShown ? "password" : "text";
    button.textContent = isShown ? "Show" : "Hide";
    button.setAttribute("aria-pressed", String(!isShown));
  });
  return h("div", { class: "with-inside" }, input, button);
}

export function select({ options, value, ...rest }) {
  const control = h("select", { class: "field" }, options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
  return field({ ...rest, control });
}

export function button(text, attributes = {}) {
  return h("button", { type: "button", class: "button", ...attributes }, text);
}

// A form that checks its fields, shows what is wrong, and sends once. `send` gets the values by name; what it throws is
// shown in the form. `faults` turns a Problem into { field name: words }, where the API's names differ from the form's.
export function form({ fields, submit, send, cancel = null, faults = (problem) => problem.errors, before = [], after = [] }) {
  const top = h("div", { class: "summary" });
  const main = h("button", { type: "submit", class: "button main" }, submit);
  const element = h("form", { class: "stack", novalidate: true }, top, before, fields.map((one) => one.element), h("div", { class: "row actions" }, main, cancel), after);
  let isBusy = false;

  const show = (title, text, pairs) => {
    for (const one of fields) one.fault(null);
    for (const [one, words] of pairs) one.fault(words);
    const list = pairs.length > 0 && h("ul", {}, pairs.map(([one, words]) => h("li", {}, h("a", { href: `#${one.control.id}`, onclick: (event) => jump(event, one) }, words))));
    const box = notice("wrong", title, list || text);
    box.tabIndex = -1;
    put(top, box);
    box.focus();
  };

  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (isBusy) return;
    const wrong = fields.map((one) => [one, one.check()]).filter(([, words]) => words);
    if (wrong.length) return void show("This is not complete yet.", null, wrong);
    isBusy = true;
    put(top);
    main.setAttribute("aria-busy", "true");
    try {
      await send(Object.fromEntries(fields.map((one) => [one.name, one.value])));
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof Problem)) console.error(error);
      const named = Object.entries(faults(error) ?? {});
      const pairs = named.map(([key, words]) => [fields.find((one) => one.name === key), [words].flat().join(" ")]).filter(([one]) => one);
      show(...wordsOf(error), pairs);
    } finally {
      isBusy = false;
      main.removeAttribute("aria-busy");
    }
  });
  return { element, main, show };
}

function jump(event, one) {
  event.preventDefault();
  one.control.focus();
}
