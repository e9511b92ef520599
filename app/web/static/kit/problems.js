// Problems in the reader's words. This is the one place where the bank's codes become sentences.

// kind: "refused" (the bank said no), "busy" (ask again soon), "offline" and "slow" (no answer came), "expired" (sign in
// again), "stranger" (somebody else signed in), "broken" (a fault of the bank).
export class Problem extends Error {
  constructor(kind, { wasSent = false, status = 0, retryAfter = 2, ...members } = {}) {
    super(kind);
    Object.assign(this, { kind, status, retryAfter, code: null, errors: {}, ...members });
    // Whether the request may have been carried out without an answer. A 5xx of a proxy that gave up waiting counts too.
    this.isUnknown = wasSent || status >= 500;
  }
}

export async function problemOf(answer) {
  const members = await answer.json().catch(() => ({}));
  const retryAfter = Number(answer.headers.get("Retry-After")) || 2;
  const kind = answer.status === 429 || answer.status === 503 ? "busy" : answer.status >= 500 ? "broken" : "refused";
  return new Problem(kind, { ...members, status: answer.status, retryAfter });
}

const REFUSALS = {
  account_not_active: ["The account cannot pay or receive.", "One of the two accounts is frozen or closed. No money moved."],
  account_not_empty: ["The account is not empty yet.", "Pay its balance to another account and wait until no money is held. Then close it."],
  account_not_found: ["There is no such account.", "Check the number, or ask whoever gave it to you."],
  balance_limit_exceeded: ["The account cannot hold that much.", "No money moved."],
  capture_exceeds_hold: ["This is more than is held.", "Take at most what is held."],
  currency_mismatch: ["The two accounts have different currencies.", "Money moves between accounts of one currency only."],
  email_taken: ["This e-mail address is registered already.", "Sign in instead, or set a new password."],
  forbidden: ["This is not open to you.", "Go back to your accounts."],
  hold_expired: ["The hold has expired.", "The money is available again."],
  hold_not_pending: ["This hold is over already.", "It was taken, given back, or it has expired."],
  idempotency_key_reused: ["This was sent before with other details.", "Start again. Look at your movements first."],
  insufficient_funds: ["There is not enough available.", "No money moved."],
  invalid_credentials: ["E-mail or password is wrong.", "Try again, or set a new password."],
  invalid_cursor: ["This list has changed.", "Start again at its newest line."],
  invalid_status_transition: ["The account is frozen or closed.", "It cannot be changed now."],
  not_found: ["There is nothing here.", "The address may be mistyped, or this is gone."],
  payee_not_found: ["There is no account with this number.", "Check the number, or ask whoever gave it to you."],
  rate_limited: ["That was a lot at once.", "Wait a moment, then try again."],
  reset_token_invalid: ["This link or token does not work any more.", "It may be used, or older than 30 minutes. Ask for a new mail."],
  same_account: ["This is the account that the money comes from.", "Choose another one."],
  too_many_attempts: ["There were too many wrong passwords.", "Wait a little, then try again."],
  transaction_not_found: ["There is no such movement.", "It may be somebody else’s, or the address is mistyped."],
  delivery_not_found: ["There is no such delivery.", "It may be older than what is kept."],
  user_not_found: ["There is nobody with this name.", "Look for the person under People."],
  webhook_not_found: ["There is no such webhook.", "It may have been removed."],
  webhook_url_refused: ["The bank cannot call this address.", "It has to be open to the internet, over https."],
  validation_failed: ["Something is not filled in as it should be.", "Look at the marked fields."],
};

const KINDS = {
  busy: ["The bank is busy.", "It asks you to try again in a moment."],
  offline: ["The bank cannot be reached.", "Check your connection, then try again."],
  slow: ["The bank takes too long to answer.", "Try again in a moment."],
  expired: ["Your session has ended.", "Sign in again to go on."],
  stranger: ["Somebody else signed in on this browser.", "Nothing more is done in your name here."],
  broken: ["Something went wrong at the bank.", "It was noted. Try again later."],
};

// Returns [what happened, what can be done] for anything that was thrown.
export function wordsOf(error) {
  const known = error instanceof Problem ? error : new Problem("broken");
  if (known.code in REFUSALS) return known.retryAfter > 2 && known.kind === "busy" ? [REFUSALS[known.code][0], `Try again in ${waiting(known.retryAfter)}.`] : REFUSALS[known.code];
  return KINDS[known.kind] ?? ["The bank refused this.", known.detail ?? "Go back and try again."];
}

function waiting(seconds) {
  return seconds < 90 ? `${seconds} seconds` : `${Math.ceil(seconds / 60)} minutes`;
}
