// Payments that were started and whose outcome is not known. Each gets its key before it is first sent, and all tabs of
// this browser see it. So a reload, a lost answer or a second tab repeats the same key, and nothing is paid twice.

import { currentUser } from "./session.js";

const RECENT_MS = 10 * 60_000;
const RECENT_MAX = 20;

function read(kind) {
  try {
    return JSON.parse(localStorage.getItem(`fincore.${kind}.${currentUser().id}`)) ?? [];
  } catch {
    return [];
  }
}

function write(kind, list) {
  try {
    localStorage.setItem(`fincore.${kind}.${currentUser().id}`, JSON.stringify(list));
  } catch {
    // Without storage the key lives as long as the page.
  }
}

export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `page-${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

// Keeps an intent until its outcome is known. `body` has its key; `shown` is what the page says about it.
export function keep(intent) {
  write("open", [...read("open").filter((one) => one.body.idempotencyKey !== intent.body.idempotencyKey), intent]);
}

export const open = (path) => read("open").filter((one) => one.path === path);

// The outcome is known.
export function settle(intent, { isPaid }) {
  write("open", read("open").filter((one) => one.body.idempotencyKey !== intent.body.idempotencyKey));
  if (isPaid) write("paid", [...read("paid"), { digest: digestOf(intent.body), at: Date.now() }].slice(-RECENT_MAX));
}

// The time of the same payment from this browser a short while ago, or null.
export function paidBefore(body) {
  const same = read("paid").filter((one) => one.digest === digestOf(body) && Date.now() - one.at < RECENT_MS);
  return same.length ? same.at(-1).at : null;
}

// The open intent for the same payment, as another tab may have sent it just now.
export function sameOpen(body) {
  return read("open").find((one) => digestOf(one.body) === digestOf(body)) ?? null;
}

function digestOf({ fromAccount, toAccount, amount }) {
  return [fromAccount, toAccount, amount].join(" ");
}

// Forgets everything about this person, except payments whose outcome is not known: without their keys they might be
// paid twice.
export function forgetMine() {
  try {
    for (const kind of ["paid", "names"]) localStorage.removeItem(`fincore.${kind}.${currentUser().id}`);
    if (read("open").length === 0) localStorage.removeItem(`fincore.open.${currentUser().id}`);
  } catch {
    // There is nothing to forget.
  }
}

// One tab at a time.
export function alone(work) {
  return navigator.locks ? navigator.locks.request("fincore-pay", work) : work();
}
