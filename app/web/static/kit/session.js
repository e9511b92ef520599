// The signed-in user. The access token is only in this module's memory; the refresh token is in a cookie that no script
// can read. Tabs share a session: one lock, so that they refresh one after another, and a channel for what happens to it.

import { Problem, problemOf } from "./problems.js";

const OWN_PAGE = { "X-Requested-With": "fincore" };
const EARLY_MS = 30_000;
// Kept while this browser has a session. It does not say whose, and is only a hint: the cookie decides.
const MARK = "fincore.session";
const channel = globalThis.BroadcastChannel ? new BroadcastChannel("fincore") : null;

let user = null;
let token = null;
let expiresAt = 0;
let refreshing = null;
let resuming = null;
// Asks the person to sign in again where they are; the frame sets it.
let askAgain = null;

export const currentUser = () => user;
export const isStaff = () => user !== null && user.role !== "USER";

// Calls `listener` with "signed-in" or "signed-out" when another tab did that.
export function onOtherTab(listener) {
  channel?.addEventListener("message", ({ data }) => listener(data));
}

export function onExpired(ask) {
  askAgain = ask;
}

// Whether it is worth waiting for `resume`, before anything is shown.
export function mayBeKnown() {
  try {
    return localStorage.getItem(MARK) !== null;
  } catch {
    return true;
  }
}

function mark(isKnown) {
  try {
    if (isKnown) localStorage.setItem(MARK, "yes");
    else localStorage.removeItem(MARK);
  } catch {
    // Without storage everybody may be known.
  }
}

// Continues the browser's session, if there is one; returns whether there is.
export function resume() {
  resuming = ask("POST", "/session/refresh").then(taken);
  return resuming;
}

export async function signIn(email, password) {
  const wasKnown = user !== null;
  // Its answer may remove the cookie, so it must not arrive after an answer that sets one.
  await resuming?.catch(() => {});
  // It no longer matters whose session it was: somebody who saw nobody signed in signs in now.
  if (!wasKnown) forget();
  adopt(await (await ask("POST", "/session", { email, password })).json());
  channel?.postMessage({ kind: "signed-in", user: user.id });
}

// Ends the session in every tab. The user stays known until `forget`.
export async function signOut() {
  await ask("DELETE", "/session");
  mark(false);
  channel?.postMessage({ kind: "signed-out" });
}

export function forget() {
  [user, token, expiresAt] = [null, null, 0];
}

export function rename(name) {
  user = { ...user, name };
}

// Returns an access token that is still valid for some time.
export async function freshToken() {
  if (token === null || Date.now() > expiresAt - EARLY_MS) await refreshed(token);
  return token;
}

// Replaces this token, which was refused or is about to expire, unless that has happened already.
export async function refreshed(refused) {
  if (token !== null && token !== refused) return;
  refreshing ??= renew().finally(() => {
    refreshing = null;
  });
  await refreshing;
}

async function renew() {
  const answer = await locked(() => ask("POST", "/session/refresh"));
  if (await taken(answer)) return;
  if (askAgain === null || user === null) throw new Problem("expired");
  await askAgain();
}

// Takes the session of an answer; returns whether it has one.
async function taken(answer) {
  if (answer.status === 204) mark(false);
  else adopt(await answer.json());
  return answer.status !== 204;
}

function adopt(session) {
  // Somebody else signed in in another tab. Nothing on this page may go on in their name.
  if (user !== null && user.id !== session.user.id) throw new Problem("stranger", { name: session.user.name });
  ({ user, token } = session);
  expiresAt = Date.now() + session.expiresIn * 1_000;
  mark(true);
}

function locked(work) {
  return navigator.locks ? navigator.locks.request("fincore-session", work) : work();
}

async function ask(method, path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body ? { ...OWN_PAGE, "Content-Type": "application/json" } : OWN_PAGE,
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(30_000),
      credentials: "same-origin",
    });
  } catch (error) {
    throw new Problem(error.name === "TimeoutError" ? "slow" : "offline");
  }
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}
