// Sign in.

import { writtenForm } from "../kit/forms.js";
import { notice } from "../kit/parts.js";
import { go, ownPath, placeAt } from "../kit/router.js";
import { currentUser, signIn } from "../kit/session.js";

export const isInstant = true;

// The document has the form, so that it can be typed into before this runs. Whoever comes again gets an empty one.
let first = document.getElementById("sign-in");
const empty = first?.cloneNode(true);
empty?.querySelector("form").reset();
// The button may have been pressed already.
empty?.querySelector("[aria-busy]")?.removeAttribute("aria-busy");

const TOLD = {
  out: ["fine", "You are signed out."],
  reset: ["fine", "Your new password is set.", " Sign in with it."],
  left: ["hold", "Your session has ended.", " Sign in again to go on."],
};

export async function view(place, screen) {
  const next = ownPath(place.query.get("next"));
  const goOn = () => go(next, { replace: true });
  if (currentUser()) return goOn();
  const section = first ?? empty.cloneNode(true);
  first = null;
  const made = writtenForm(section.querySelector("form"), {
    rules: { email: { required: "Type your e-mail address." }, password: { required: "Type your password." } },
    send: async ({ email, password }) => {
      prepare(next);
      await signIn(email, password);
      await goOn();
    },
  });
  const told = TOLD[place.query.get("told")];
  if (told) section.querySelector("h1").after(notice(...told));
  screen.show("Sign in", section);
  sendWhatWaits(made);
}

// Fetches the next view while the bank checks the password, which takes a while.
function prepare(next) {
  placeAt(new URL(next, location.origin).pathname)?.load().catch(() => {});
}

// The button was pressed before this ran.
function sendWhatWaits({ element, main }) {
  if (!begun.isSent) return;
  begun.isSent = false;
  main.removeAttribute("aria-busy");
  element.requestSubmit();
}
