// Small pieces that views are made of.

import { h } from "./dom.js";
import { icon } from "./icons.js";

// The double rule: only under a figure that the ledger proves.
export function total(...children) {
  return h("span", { class: "total" }, children);
}

export function chip(text, kind = "") {
  return h("span", { class: `chip ${kind}` }, text);
}

// Says what happened, then what can be done. `kind`: "wrong", "hold", "frozen" or "fine".
export function notice(kind, title, ...text) {
  return h("div", { class: `notice ${kind}`, role: kind === "wrong" ? "alert" : null }, h("strong", {}, title), text);
}

export function sheet(...children) {
  return h("section", { class: "sheet stack" }, children);
}

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(Boolean).map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]));
}

export function link(href, text, attributes = {}) {
  return h("a", { href, ...attributes }, text);
}

export function buttonLink(href, text, kind = "") {
  return h("a", { href, class: `button ${kind}` }, text);
}

export function back(href, text) {
  return h("a", { href, class: "back small soft" }, icon("back"), text);
}

// Where I am, and what I can do.
export function head({ title, note = null, up = null, actions = [] }) {
  return h("header", { class: "head" }, up && back(...up), h("div", { class: "row between top" }, h("div", { class: "titles" }, h("h1", { tabindex: "-1" }, title), note && h("p", { class: "soft small" }, note)), actions.length > 0 && h("div", { class: "row actions" }, actions)));
}

export function initials(name) {
  const words = name.trim().split(/\s+/u);
  const letters = [words[0], words.length > 1 ? words.at(-1) : ""].map((word) => [...word][0] ?? "");
  return h("span", { class: "avatar", "aria-hidden": "true" }, letters.join("").toUpperCase());
}

export function empty(title, text, action = null) {
  return h("div", { class: "empty stack" }, h("span", { class: "rule", "aria-hidden": "true" }), h("h2", {}, title), h("p", { class: "soft" }, text), action);
}

// Grey shapes where things will be, so that nothing jumps when they arrive.
export function bones(...widths) {
  return widths.map((width) => h("span", { class: `bone ${width}` }));
}

export function skeletonList(lines = 5) {
  return h("div", { class: "sheet stack", "aria-hidden": "true" }, Array.from({ length: lines }, () => h("div", { class: "row between bone-line" }, h("span", { class: "stack tight" }, bones("w40", "w25")), bones("w15"))));
}

export function skeletonPage(...shapes) {
  return [h("p", { class: "unseen", role: "status" }, "Loading"), h("div", { class: "stack", "aria-hidden": "true" }, bones("w25 tall", "w15")), shapes];
}

// A short word about something that was done, for a few seconds.
export function say(text) {
  const note = h("p", { class: "toast" }, text);
  document.getElementById("notes").append(note);
  setTimeout(() => note.remove(), 6_000);
}

// A button that copies a text and says so.
export function copyButton(text, what) {
  const made = h("button", { type: "button", class: "quiet", "aria-label": `Copy ${what}` }, "copy");
  made.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      say(`Copied ${what}.`);
    } catch {
      say("This browser does not let the page copy. Select the text instead.");
    }
  });
  return made;
}

// Opens and closes what a button belongs to, in place.
export function disclosure(text, content) {
  const details = h("details", {}, h("summary", {}, text));
  details.addEventListener("toggle", () => details.open && details.childElementCount === 1 && details.append(content()), { once: false });
  return details;
}
