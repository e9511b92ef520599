// Ask for a mail with which to set a new password.

import { h } from "../kit/dom.js";
import { call } from "../kit/api.js";
import { field, form } from "../kit/forms.js";
import { buttonLink, link } from "../kit/parts.js";
import { emailFault } from "../kit/checks.js";

export const isInstant = true;

export async function view(place, screen) {
  const made = form({
    fields: [field({ name: "email", label: "E-mail", type: "email", autocomplete: "username", check: emailFault })],
    submit: "Send me a mail",
    send: async ({ email }) => {
      await call("POST", "/api/auth/password/forgot", { body: { email }, isPublic: true });
      screen.show("Look into your mail", sent(email));
      document.querySelector("h1").focus();
    },
    after: [h("p", { class: "small" }, link("/sign-in", "Back to sign in"))],
  });
  screen.show("New password", h("section", { class: "stack" }, h("h1", { tabindex: "-1" }, "Set a new password"), h("p", { class: "soft" }, "We mail you a link to the page where you choose a new one."), made.element));
}

function sent(email) {
  return h("section", { class: "stack" }, h("h1", { tabindex: "-1" }, "Look into your mail"), h("p", {}, "If ", h("b", {}, email), " is registered, a mail is on its way. Follow its link within 30 minutes."), buttonLink("/reset", "Paste the mail’s token instead"), h("p", { class: "small" }, link("/forgotten", "Send it again")));
}
