// Choose which letters to get, how often, and in which language.

import { h } from "../kit/dom.js";
import { call, get } from "../kit/api.js";
import { form, select } from "../kit/forms.js";
import { happened } from "../kit/happenings.js";
import { languages as codes } from "../kit/languages.js";
import { chip, head, say, sheet } from "../kit/parts.js";

const PATH = "/api/auth/me/notifications";
// Each language by its own name.
const LANGUAGES = { en: "English", hi: "हिन्दी", de: "Deutsch", fr: "Français", es: "Español" };
const FREQUENCIES = { each: "Each at once", daily: "Together, once a day", weekly: "Together, once a week", off: "Never" };
const GROUPS = {
  Payments: ["money.received", "money.sent", "transfer.declined", "transaction.reversed"],
  Holds: ["hold.placed", "hold.captured", "hold.voided", "hold.expired"],
  Accounts: ["account.opened"],
};
const SECURITY = ["account.frozen", "account.unfrozen", "account.closed", "user.password_changed", "user.password_reset"];

export async function view(place, screen) {
  const chosen = await get(PATH, null, { signal: screen.signal });
  screen.show("Letters", [head({ title: "Letters", note: "What the bank writes to you by mail. Your inbox shows everything, whatever you choose here.", up: ["/settings", "Settings"] }), choosing(chosen), security()]);
}

function choosing(before) {
  const language = select({ name: "language", label: "Language", options: choices(before.language), value: before.language });
  const kinds = Object.values(GROUPS).flat().filter((type) => type in before.kinds);
  const fields = new Map(kinds.map((type) => [type, select({ name: type, label: happened(type), options: Object.entries(FREQUENCIES), value: before.kinds[type] })]));
  const made = form({
    fields: [language, ...fields.values()],
    submit: "Save",
    send: async (values) => {
      const changed = Object.fromEntries(kinds.filter((type) => values[type] !== before.kinds[type]).map((type) => [type, values[type]]));
      before = await call("PUT", PATH, { body: { language: values.language, kinds: changed } });
      say("Your choice is saved.");
    },
    faults: (problem) => Object.fromEntries(Object.entries(problem.errors).map(([key, words]) => [key.replace("kinds.", ""), words])),
  });
  const groups = Object.entries(GROUPS).map(([title, types]) => h("fieldset", { class: "choices" }, h("legend", {}, title), types.filter((type) => fields.has(type)).map((type) => fields.get(type).element)));
  language.element.classList.add("narrow");
  made.element.querySelector(".actions").before(...groups);
  return sheet(made.element);
}

function choices(present) {
  return [...new Set([present, ...codes])].map((code) => [code, LANGUAGES[code] ?? code]);
}

function security() {
  return sheet(
    h("h2", {}, "Always at once"),
    h("p", { class: "soft small" }, "These concern the security of your money. If they could be turned off, somebody who got into your session could hide from you what they do."),
    h("ul", { class: "lines" }, SECURITY.map((type) => h("li", {}, h("span", { class: "grow" }, happened(type)), chip("At once")))),
  );
}
