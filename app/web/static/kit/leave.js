// Signing out: ends the session, and removes what was kept here for this person.

import { put } from "./dom.js";
import { forgetMine } from "./intents.js";
import { forget, signOut } from "./session.js";

export async function leave() {
  await signOut();
  forgetMine();
  vanish("/sign-in?told=out");
}

// Goes elsewhere, and leaves nothing that the browser could show when somebody goes back.
export function vanish(address) {
  forget();
  put(document.getElementById("page"));
  document.title = "Fincore";
  location.assign(address);
}
