// Sign in.

import { h } from "../kit/dom.js";
import { field, form } from "../kit/forms.js";
import { link, notice } from "../kit/parts.js";
import { go, ownPath, placeAt } from "../kit/router.js";
import { currentUser, signIn } from "../kit/session.js";

export const isInstant = true;

export async function view(place, screen) {
  const next = ownPath(place.query.get("next"));
  const goOn = () => go(next, { replace: true });
  if (currentUser()) return goOn();
  screen.show("Sign in", render(place.query, () => prepare(next), goOn));
}

// Fetches the next view while the bank checks the password, which takes a while.
function prepare(next) {
  placeAt(new URL(next, location.origin).pathname)?.load().catch(() => {});
}

function render(query, onSend, onDone) {
  const told = {
    out: ["fine", "You are signed out."],
    reset: ["fine", "Your new password is set.", " Sign in with it."],
    left: ["hold", "Your session has ended.", " Sign in again to go on."],
  }[query.get("told")];
  const fields = [
    field({ name: "email", label: "E-mail", type: "email", autocomplete: "username", required: "Type your e-mail address." }),
    field({ name: "password", label: "Password", type: "password", autocomplete: "current-password", required: "Type your password." }),
  ];
  const made = form({
    fields,
    submit: "Sign in",
    send: async ({ email, password }) => {
      onSend();
      await signIn(email, password);
      await onDone();
    },
    after: [h("div", { class: "row between small" }, link("/forgotten", "Forgot your password?"), link("/register", "Open an account"))],
  });
  return h("section", { class: "stack" }, h("h1", { tabindex: "-1" }, "Sign in"), told && notice(...told), made.element);
}
