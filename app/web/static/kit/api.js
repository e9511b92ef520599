// Calls of the bank's public API. Every failure becomes a Problem, whose kind says what can be done about it.

import { freshToken, refreshed } from "./session.js";
import { Problem, problemOf } from "./problems.js";

export const TIMEOUT_MS = 30_000;
const SLOW_MS = 4_000;
const REPEATS_MAX = 2;
const REPEAT_AFTER_MAX_S = 5;
const slowness = new EventTarget();
let slow = 0;

// Reports whether any call has been waiting for long, whenever that changes.
export function onSlow(listener) {
  slowness.addEventListener("change", () => listener(slow > 0));
}

export const get = (path, query, options) => call("GET", path, { query, ...options });
export const post = (path, body, options) => call("POST", path, { body, ...options });
export const patch = (path, body, options) => call("PATCH", path, { body, ...options });
export const remove = (path, options) => call("DELETE", path, options);

// Returns the answer's JSON, or with `as: "blob"` its bytes. Throws a Problem, and an AbortError when `signal` says so.
export async function call(method, path, { query, body, signal, as = "json", isPublic = false, headers = {} } = {}) {
  const address = `${path}${queryOf(query)}`;
  for (let tries = 0; ; tries += 1) {
    const token = isPublic ? null : await freshToken();
    const answer = await send(method, address, { token, body, signal, headers });
    if (answer.ok) return answer.status === 204 ? null : read(answer, as, method);
    const problem = await problemOf(answer);
    if (answer.status === 401 && token !== null && problem.code !== "invalid_credentials" && tries === 0) {
      await refreshed(token);
    } else if (method === "GET" && problem.kind === "busy" && tries < REPEATS_MAX && problem.retryAfter <= REPEAT_AFTER_MAX_S) {
      await pause(problem.retryAfter * 1_000, signal);
    } else {
      throw problem;
    }
  }
}

async function send(method, address, { token, body, signal, headers }) {
  const sent = { ...headers };
  if (token) sent.Authorization = `Bearer ${token}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  const patience = AbortSignal.timeout(TIMEOUT_MS);
  const watch = setTimeout(() => noteSlow(1), SLOW_MS);
  let wasSlow = false;
  const noteSlow = (by) => {
    wasSlow = by > 0;
    slow += by;
    slowness.dispatchEvent(new Event("change"));
  };
  try {
    const answer = await fetch(address, {
      method,
      headers: sent,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
      credentials: "same-origin",
      cache: "no-store",
    });
    // The whole body, so that a connection that breaks in the middle counts as one that broke.
    const whole = await answer.arrayBuffer();
    return new Response(answer.status === 204 ? null : whole, { status: answer.status, headers: answer.headers });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(error.name === "TimeoutError" ? "slow" : "offline", { wasSent: method !== "GET" });
  } finally {
    clearTimeout(watch);
    if (wasSlow) noteSlow(-1);
  }
}

// A 200 that is not JSON does not come from the bank.
async function read(answer, as, method) {
  try {
    return await answer[as]();
  } catch {
    throw new Problem("broken", { wasSent: method !== "GET" });
  }
}

function queryOf(query = {}) {
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
