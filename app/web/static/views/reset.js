// Set a new password with the token out of the mail: in the link that was followed, or pasted.

import { h } from "../kit/dom.js";
import { call } from "../kit/api.js";
import { field, form } from "../kit/forms.js";
import { link } from "../kit/parts.js";
import { go } from "../kit/router.js";
import { passwordFault } from "../kit/checks.js";

export const isInstant = true;

export async function view(place, screen) {
  const followed = takeToken();
  const made = form({
    fields: [
      followed === null && field({ name: "token", label: "Token from the mail", autocomplete: "one-time-code", spellcheck: "false", required: "Paste the token from the mail." }),
      field({ name: "newPassword", label: "New password", type: "password", autocomplete: "new-password", hint: "At least 8 characters. A few words in a row are good.", check: passwordFault }),
    ].filter(Boolean),
    submit: "Set the password",
    send: async ({ token = followed, newPassword }) => {
      await call("POST", "/api/auth/password/reset", { body: { token, newPassword }, isPublic: true });
      await go("/sign-in?told=reset", { replace: true });
    },
    faults: (problem) => (problem.code === "reset_token_invalid" && followed === null ? { token: "This token does not work. Ask for a new mail." } : problem.errors),
    after: [h("p", { class: "small" }, link("/forgotten", "Send me a new mail"))],
  });
  screen.show("New password", h("section", { class: "stack" }, h("h1", { tabindex: "-1" }, "Choose a new password"), h("p", { class: "soft" }, "Every session that you have anywhere ends."), made.element));
}

// The mail's link has the token in its fragment. It is taken out of the address, so that it is not left in the history.
function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) history.replaceState(history.state, "", location.pathname);
  return token || null;
}
