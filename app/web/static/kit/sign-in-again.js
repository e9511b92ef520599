// For a session that ended during work: the person signs in without leaving the view, and loses nothing they typed.

import { h } from "./dom.js";
import { field, form, button } from "./forms.js";
import { Problem } from "./problems.js";
import { currentUser, signIn } from "./session.js";

// Resolves when the same person has signed in again; otherwise throws "expired".
export function signInAgain() {
  const { email } = currentUser();
  return new Promise((resolve, reject) => {
    const leave = button("Leave", { onclick: () => dialog.close() });
    const inside = form({
      fields: [field({ name: "password", label: "Password", type: "password", autocomplete: "current-password", required: "Type your password." })],
      before: [h("input", { type: "email", autocomplete: "username", value: email, hidden: true })],
      submit: "Go on",
      cancel: leave,
      send: async ({ password }) => {
        await signIn(email, password);
        isBack = true;
        dialog.close();
      },
    });
    let isBack = false;
    const dialog = h("dialog", { class: "sheet stack", "aria-labelledby": "again" }, h("h2", { id: "again" }, "Your session has ended"), h("p", { class: "soft" }, `Sign in again as ${email}. What you typed stays.`), inside.element);
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (isBack) resolve();
      else reject(new Problem("expired"));
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
