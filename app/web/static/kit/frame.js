// The frame around every view: the rail or the tabs, the signed-in user, and notes about the connection.

import { h, put, name } from "./dom.js";
import { icon } from "./icons.js";
import { initials, say } from "./parts.js";
import { leave } from "./leave.js";
import { wordsOf } from "./problems.js";
import { onSlow } from "./api.js";
import { OPERATOR_TABS, TABS } from "../tabs.js";
import { currentUser, isStaff } from "./session.js";

const page = document.getElementById("page");
let shown = null;

export function brand() {
  return h("span", { class: "brand" }, h("i", { "aria-hidden": "true" }), "Fincore");
}

// The frame for a signed-in user, or for one who is not known yet. Returns the element for the view.
export function frame() {
  const user = currentUser();
  const key = user ? `frame ${user.id} ${user.name}` : "frame";
  if (isShown(key)) return shown.main;
  const rail = railOf(user);
  if (isShown("frame")) {
    page.querySelector(".rail").replaceWith(rail);
    shown.key = key;
    return shown.main;
  }
  const main = h("main", { id: "main", tabindex: "-1" });
  return place(key, main, h("div", { class: "frame" }, rail, main), h("nav", { class: "tabs", "aria-label": "Main" }));
}

function railOf(user) {
  return h(
    "nav",
    { class: "rail", "aria-label": "Main" },
    h("a", { href: "/", class: "home", "aria-label": "Fincore, your accounts" }, brand()),
    h("ul", {}, TABS.map((tab) => h("li", {}, entry(tab)))),
    isStaff() && OPERATOR_TABS.length > 0 && h("div", {}, h("p", { class: "group" }, "Operator"), h("ul", {}, OPERATOR_TABS.map((tab) => h("li", {}, entry(tab))))),
    user && h("div", { class: "me row small" }, initials(user.name), h("span", { class: "who-am-i" }, h("b", {}, name(user.name)), h("button", { type: "button", class: "quiet soft", onclick: out }, "Sign out"))),
  );
}

// Something else that was put into the page since then, such as a failure, removed the frame.
const isShown = (key) => shown?.key === key && shown.main.isConnected;

// The frame for somebody who is not signed in.
export function door() {
  if (isShown("door")) return shown.main;
  const main = h("main", { id: "main", class: "door-main", tabindex: "-1" });
  const side = h(
    "header",
    { class: "side" },
    h("div", { class: "stack" }, brand(), h("p", { class: "motto" }, "A bank whose books you can check yourself."), h("p", { class: "soft" }, "Every payment is two entries that nobody can change. Every receipt and statement carries the proof.")),
  );
  return place("door", main, h("div", { class: "door" }, side, main));
}

function out() {
  leave().catch((error) => say(wordsOf(error).join(" ")));
}

function place(key, main, ...content) {
  put(page, h("a", { href: "#main", class: "skip" }, "Skip to the content"), connection, content);
  shown = { key, main };
  return main;
}

function entry(tab) {
  return h("a", { href: tab.href, "data-tab": tab.name }, icon(tab.icon ?? tab.name), tab.text);
}

const thumb = (tab) => entry({ ...tab, text: tab.brief ?? tab.text });

export function markPlace(tab) {
  const tabs = page.querySelector(".tabs");
  // In an operator's view, the tabs at the thumb are the operator's.
  const isAtWork = OPERATOR_TABS.some((one) => one.name === tab);
  if (tabs) put(tabs, (isAtWork ? [...OPERATOR_TABS, TABS.at(-1)] : TABS).filter((one) => one.thumb).map(thumb));
  for (const link of page.querySelectorAll("[data-tab]")) {
    if (link.dataset.tab === tab) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

const connection = h("div", { class: "connection", role: "status" });
let isSlow = false;

function tellConnection() {
  const text = !navigator.onLine ? "You are offline. What you see may be old." : isSlow ? "The bank takes longer than usual." : null;
  put(connection, text && h("p", {}, text));
}

addEventListener("online", tellConnection);
addEventListener("offline", tellConnection);
onSlow((now) => {
  isSlow = now;
  tellConnection();
});
