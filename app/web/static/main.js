// Starts the page: continues the browser's session if there is one, then shows what is at the address.

import { put } from "./kit/dom.js";
import { failed } from "./kit/failures.js";
import { currentUser, onExpired, onOtherTab, resume } from "./kit/session.js";
import { signInAgain } from "./kit/sign-in-again.js";
import { Problem } from "./kit/problems.js";
import { show, start } from "./kit/router.js";

onExpired(signInAgain);

onOtherTab(({ kind, user }) => {
  const mine = currentUser();
  if (mine === null) location.reload();
  else if (kind === "signed-out") location.assign("/sign-in");
  else if (user !== mine.id) put(document.getElementById("page"), failed(new Problem("stranger", { name: "Somebody else" }), show).element);
});

async function begin() {
  try {
    await resume();
  } catch (error) {
    put(document.getElementById("page"), failed(error, begin).element);
    return;
  }
  await start();
}

await begin();
