// The way out: the session ends, and what was kept here for this person goes with it.

import { forgetAll } from "./intents.js";
import { signOut } from "./session.js";

export async function leave() {
  await signOut();
  forgetAll();
  location.assign("/sign-in?told=out");
}
