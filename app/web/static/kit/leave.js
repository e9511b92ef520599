// The way out: the session ends, and what was kept here for this person goes with it.

import { put } from "./dom.js";
import { forgetMine } from "./intents.js";
import { forget, signOut } from "./session.js";

export async function leave() {
  await signOut();
  forgetMine();
  vanish("/sign-in?told=out");
}

// Goes elsewhere and leaves nothing behind that the browser could show again when one goes back.
export function vanish(address) {
  forget();
  put(document.getElementById("page"));
  document.title = "Fincore";
  location.assign(address);
}
