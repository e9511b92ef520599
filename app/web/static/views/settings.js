// Name, password, how the page looks, and signing out.

import { h } from "../kit/dom.js";
import { call, patch, post } from "../kit/api.js";
import { field, form, select } from "../kit/forms.js";
import { leave } from "../kit/leave.js";
import { icon } from "../kit/icons.js";
import { head, say, sheet } from "../kit/parts.js";
import { currentUser, isStaff, rename } from "../kit/session.js";
import { passwordFault } from "../kit/checks.js";
import { show } from "../kit/router.js";
import { MORE, OPERATOR_TABS, TABS } from "../tabs.js";

export const isInstant = true;

export async function view(place, screen) {
  const user = currentUser();
  screen.show("Settings", [head({ title: "Settings", note: user.email }), h("div", { class: "two" }, h("div", { class: "stack loose" }, profile(user), password(), appearance(), leaving()), h("aside", { class: "before" }, more()))]);
}

// Links for which a phone's tabs have no room, and rarely needed ones.
function more() {
  const line = ({ href, text, icon: sign }, kind = null) => h("li", { class: kind }, h("a", { href }, icon(sign), h("span", { class: "grow" }, text), icon("on")));
  const hidden = TABS.filter((tab) => !tab.thumb).map((tab) => line({ icon: tab.name, ...tab }, "narrow-only"));
  const ofStaff = isStaff() && OPERATOR_TABS.map((tab) => line(tab, "narrow-only"));
  return h("nav", { "aria-label": "More", class: "sheet" }, h("ul", { class: "links" }, hidden, ofStaff, MORE.map((one) => line(one))));
}

function profile(user) {
  const made = form({
    fields: [field({ name: "name", label: "Your name", value: user.name, maxlength: "100", autocomplete: "name", hint: "It stands in mails and statements, and payers see a short form of it.", required: "Type your name." })],
    submit: "Save the name",
    send: async ({ name }) => {
      const { user: changed } = await patch("/api/auth/me", { name });
      rename(changed.name);
      say("Your name is saved.");
      await show();
    },
  });
  return sheet(h("h2", {}, "You"), h("div", { class: "narrow" }, made.element));
}

function password() {
  const made = form({
    fields: [
      field({ name: "currentPassword", label: "Present password", type: "password", autocomplete: "current-password", required: "Type your present password." }),
      field({ name: "newPassword", label: "New password", type: "password", autocomplete: "new-password", hint: "At least 8 characters. A few words in a row are good.", check: passwordFault }),
    ],
    before: [whose()],
    submit: "Change the password",
    send: async (values) => {
      await call("PUT", "/api/auth/password", { body: values });
      made.element.reset();
      say("Your password is changed. Every other session has ended.");
    },
    faults: (problem) => (problem.code === "invalid_credentials" ? { currentPassword: "This is not your present password." } : problem.errors),
  });
  return sheet(h("h2", {}, "Password"), h("p", { class: "soft small" }, "Every other session ends. You stay signed in here."), h("div", { class: "narrow" }, made.element));
}

// Tells a password manager whose password this is.
function whose() {
  return h("input", { type: "email", autocomplete: "username", value: currentUser().email, hidden: true });
}

function appearance() {
  const chosen = document.documentElement.dataset.theme ?? "device";
  const choice = select({ name: "theme", label: "Theme", options: [["device", "As this device"], ["light", "Light"], ["dark", "Dark"]], value: chosen });
  choice.control.addEventListener("change", () => {
    const theme = choice.value;
    if (theme === "device") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem("fincore.theme", theme);
    } catch {
      // The choice then lasts as long as the page.
    }
  });
  return sheet(h("h2", {}, "Appearance"), h("div", { class: "narrow" }, choice.element));
}

function leaving() {
  const out = form({ fields: [], submit: "Sign out", send: leave });
  const everywhere = form({
    fields: [],
    submit: "Sign out everywhere",
    send: async () => {
      await post("/api/auth/logout", { everywhere: true });
      await leave();
    },
  });
  out.main.className = everywhere.main.className = "button";
  return h("section", { class: "sheet stack" }, h("h2", {}, "Sign out"), h("p", { class: "soft" }, "Everywhere means every browser and every program that is signed in as you."), h("div", { class: "row wrap" }, out.element, everywhere.element));
}
