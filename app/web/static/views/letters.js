// For operators: mail that waits, was sent, or is dead, never its text.

import { h, name } from "../kit/dom.js";
import { post } from "../kit/api.js";
import { button, once } from "../kit/forms.js";
import { pages } from "../kit/pages.js";
import { chip, empty, head, link, say } from "../kit/parts.js";
import { wordsOf } from "../kit/problems.js";
import { go } from "../kit/router.js";
import { when } from "../kit/times.js";

const STATES = { PENDING: "Waiting", DEAD: "Given up", SENT: "Sent" };
const KINDS = {
  block: "News for several people", digest: "Several things at once", money_sent: "You paid", money_received: "You were paid", transfer_declined: "Payment declined", hold_placed: "Hold placed", hold_captured: "Hold taken",
  hold_voided: "Hold given back", hold_expired: "Hold expired", transaction_reversed: "Payment reversed", account_opened: "Account opened", account_frozen: "Account frozen", account_unfrozen: "Account unfrozen",
  account_closed: "Account closed", user_welcome: "Welcome", welcome: "Welcome", password_changed: "Password changed", password_reset: "Password reset",
};

export async function view(place, screen) {
  const asked = place.query.get("state");
  const state = asked in STATES ? asked : "PENDING";
  const none = { PENDING: empty("No letter waits", "What was committed is told within seconds."), DEAD: empty("No letter was given up", "A letter is given up when its receiver refuses it again and again."), SENT: empty("Nothing was sent yet", "Letters that were sent are kept for 30 days.") }[state];
  const list = pages({ path: "/api/admin/outbox", key: "messages", query: { state }, draw: (messages) => lines(messages, list), none, more: "Show more letters", label: STATES[state], place, signal: screen.signal });
  await list.fill();
  const filters = h("div", { class: "filters", role: "group", "aria-label": "Show" }, Object.entries(STATES).map(([key, text]) => h("button", { type: "button", class: "chip", "aria-pressed": String(key === state), onclick: () => go(`/operator/letters?state=${key}`, { replace: true }) }, text)));
  screen.show("Letters", [head({ title: "Letters", note: "Mail to account holders. Nobody sees its text here." }), filters, list.element]);
}

// A kind that is newer than this page.
function wordsFor(kind) {
  const text = kind.replaceAll("_", " ");
  return text[0].toUpperCase() + text.slice(1);
}

function lines(messages, list) {
  return h("ul", { class: "lines" }, messages.map((message) => line(message, list)));
}

function line(message, list) {
  const again = button("Send again", { onclick: () => once(again, () => retry(message, list)) });
  const next = message.state === "PENDING" && message.nextAttemptAt && [" · next attempt ", when(message.nextAttemptAt)];
  return h(
    "li",
    {},
    h("span", { class: "grow stack tight" }, h("span", {}, h("b", {}, KINDS[message.kind] ?? wordsFor(message.kind)), " ", message.state === "DEAD" && chip("Given up", "hold")), h("span", { class: "small soft" }, "from ", when(message.createdAt), message.attempts > 0 && ` · ${message.attempts} ${message.attempts === 1 ? "attempt" : "attempts"}`, message.attempts > 0 && next), message.userId && link(`/operator/people/${message.userId}`, "Who gets it", { class: "small" }), message.error && h("span", { class: "small" }, name(message.error))),
    (message.state === "DEAD" || (message.state === "PENDING" && message.attempts > 0)) && again,
  );
}

async function retry(message, list) {
  try {
    await post(`/api/admin/outbox/${message.id}/retry`);
    say("It is sent again now.");
    await list.again();
  } catch (error) {
    say(wordsOf(error).join(" "));
  }
}
