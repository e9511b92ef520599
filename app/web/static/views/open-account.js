// Open an account in a currency.

import { h } from "../kit/dom.js";
import { post } from "../kit/api.js";
import { customs, homeCurrency } from "../kit/currencies.js";
import { field, form, select } from "../kit/forms.js";
import { newKey } from "../kit/intents.js";
import { custom } from "../kit/money.js";
import { buttonLink, head, say, sheet } from "../kit/parts.js";
import { handle, nameOf } from "../kit/people.js";
import { go } from "../kit/router.js";

export const isInstant = true;
const FIRST = ["INR", "EUR", "USD", "GBP", "JPY"];

export async function view(place, screen) {
  const isFirst = place.query.has("first");
  const key = newKey();
  const made = form({
    fields: [
      field({ name: "name", label: "Name", optional: "yours to choose, such as Everyday", maxlength: "100", autocomplete: "off" }),
      select({ name: "currency", label: "Currency", options: currencies(), value: homeCurrency, hint: "It stays the same for good." }),
    ],
    submit: "Open the account",
    cancel: buttonLink("/", isFirst ? "Later" : "Cancel"),
    send: async ({ name, currency }) => {
      const { account } = await post("/api/accounts/create", { name: name.trim() || undefined, currency, idempotencyKey: key });
      say(`${nameOf(account)} is open.`);
      await go(isFirst ? "/" : `/accounts/${handle(account)}`, { replace: true });
    },
  });
  screen.show("Open an account", [head({ title: isFirst ? "Your first account" : "Open another account", note: isFirst ? "You can open more at any time." : null, up: ["/", "Accounts"] }), h("div", { class: "column" }, sheet(h("div", { class: "narrow" }, made.element)))]);
}

function currencies() {
  const name = (code) => `${capital(custom(code).many)} (${code})`;
  const first = [...new Set([homeCurrency, ...FIRST])];
  const others = Object.keys(customs).filter((code) => !first.includes(code)).sort((a, b) => name(a).localeCompare(name(b)));
  return [...first, ...others].map((code) => [code, name(code)]);
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);
