// Set a new password with the token out of the mail.

import { h } from "../kit/dom.js";
import { call } from "../kit/api.js";
import { field, form } from "../kit/forms.js";
import { link } from "../kit/parts.js";
import { go } from "../kit/router.js";
import { passwordFault } from "../kit/checks.js";

export const isInstant = true;

export async function view(place, screen) {
  const made = form({
    fields: [
      field({ name: "token", label: "Token from the mail", autocomplete: "one-time-code", spellcheck: "false", required: "Paste the token from the mail." }),
      field({ name: "newPassword", label: "New password", type: "password", autocomplete: "new-password", hint: "At least 8 characters. A few words in a row are good.", check: passwordFault }),
    ],
    submit: "Set the password",
    send: async ({ token, newPassword }) => {
      await call("POST", "/api/auth/password/reset", { body: { token, newPassword }, isPublic: true });
      await go("/sign-in?told=reset", { replace: true });
    },
    faults: (problem) => (problem.code === "reset_token_invalid" ? { token: "This token does not work. Ask for a new mail." } : problem.errors),
    after: [h("p", { class: "small" }, link("/forgotten", "Send me a new mail"))],
  });
  screen.show("New password", h("section", { class: "stack" }, h("h1", { tabindex: "-1" }, "Choose a new password"), h("p", { class: "soft" }, "Every session that you have anywhere ends."), made.element));
}
