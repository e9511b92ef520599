// Starts the page: continues the browser's session if there is one, then shows the view at the address.

import { put } from "./kit/dom.js";
import { vanish } from "./kit/leave.js";
import { failed } from "./kit/failures.js";
import { currentUser, mayBeKnown, onExpired, onOtherTab, resume } from "./kit/session.js";
import { signInAgain } from "./kit/sign-in-again.js";
import { Problem } from "./kit/problems.js";
import { foreshadow, know, show, start } from "./kit/router.js";
import { PLACES } from "./places.js";

know(PLACES);
onExpired(signInAgain);

onOtherTab(({ kind, user }) => {
  const mine = currentUser();
  if (mine === null && kind === "signed-in") location.reload();
  else if (mine !== null && kind === "signed-out") vanish("/sign-in");
  else if (mine !== null && user !== mine.id) put(document.getElementById("page"), failed(new Problem("stranger", { name: "Somebody else" }), show).element);
});

// A browser may keep a page and show it unchanged to anybody who goes back. The router empties it when it is left, and
// here it is reloaded.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

// Fetches often used modules while the page is idle, so that they are there when they are needed.
function fetchMore() {
  if (currentUser() === null || navigator.connection?.saveData) return;
  for (const place of PLACES) if (place.isOften) place.load().catch(() => {});
}

// Who was signed in here when this browser was last used.
async function goOn() {
  // First of all, because it takes as long as a round trip.
  const resumed = resume();
  foreshadow().catch(() => {});
  try {
    await resumed;
  } catch (error) {
    put(document.getElementById("page"), failed(error, goOn).element);
    return;
  }
  await start();
}

// Somebody new does not wait for the answer that they have no session. Should there be one after all, it goes on.
async function meet() {
  const shown = start();
  const isKnown = await resume().catch(() => false);
  await shown;
  // Unless somebody is just signing in themselves.
  if (isKnown && currentUser() !== null && location.pathname === "/sign-in") await show();
}

(mayBeKnown() ? goOn() : meet()).then(() => {
  if (globalThis.requestIdleCallback) requestIdleCallback(fetchMore);
  else setTimeout(fetchMore, 1_000);
});
