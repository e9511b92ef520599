// Become a customer: name, address, password, and a first account.

import { h } from "../kit/dom.js";
import { call } from "../kit/api.js";
import { field, form } from "../kit/forms.js";
import { link } from "../kit/parts.js";
import { go } from "../kit/router.js";
import { signIn } from "../kit/session.js";
import { emailFault, passwordFault } from "../kit/checks.js";

export const isInstant = true;

export async function view(place, screen) {
  const made = form({
    fields: [
      field({ name: "name", label: "Your name", hint: "As people who pay you know it.", autocomplete: "name", maxlength: "100", required: "Type your name." }),
      field({ name: "email", label: "E-mail", type: "email", autocomplete: "username", check: emailFault }),
      field({ name: "password", label: "Password", type: "password", autocomplete: "new-password", hint: "At least 8 characters. A few words in a row are good.", check: passwordFault }),
    ],
    submit: "Open an account",
    send: register,
    after: [h("p", { class: "small" }, "You have one already? ", link("/sign-in", "Sign in"))],
  });
  screen.show("Open an account", h("section", { class: "stack" }, h("h1", { tabindex: "-1" }, "Open an account"), made.element));
}

async function register({ name, email, password }) {
  const begun = await call("POST", "/api/auth/register", { body: { name, email, password }, isPublic: true });
  await signIn(email, password);
  // The page has a session of its own, so the one that registering began is not needed.
  await call("POST", "/api/auth/logout", { isPublic: true, headers: { Authorization: `Bearer ${begun.token}` } }).catch(() => {});
  await go("/accounts/new?first=yes", { replace: true });
}
