// Views for when there is nothing to show. Each says why, and what can be done.

import { h } from "./dom.js";
import { button } from "./forms.js";
import { wordsOf } from "./problems.js";
import { buttonLink } from "./parts.js";

function page(title, text, ...actions) {
  return { title, element: h("section", { class: "empty page stack" }, h("span", { class: "rule", "aria-hidden": "true" }), h("h1", { tabindex: "-1" }, title), h("p", { class: "soft" }, text), h("div", { class: "row" }, actions)) };
}

export function nothingHere(error) {
  return page(...wordsOf(error), buttonLink("/", "Go to your accounts", "main"));
}

export function failed(error, again) {
  const [title, text] = wordsOf(error);
  if (error.kind === "stranger") {
    return page(`${error.name} is signed in on this browser now.`, text, button("Go on as they", { class: "button main", onclick: () => location.assign("/") }));
  }
  if (error.kind === "expired") return page(title, text, button("Sign in", { class: "button main", onclick: () => location.assign("/sign-in") }));
  if (error.kind === "offline") addEventListener("online", again, { once: true });
  return page(title, text, button("Try again", { class: "button main", onclick: again }));
}
