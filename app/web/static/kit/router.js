// From an address to a view: real paths, with the history of the browser. Filters are in the address too.

import { put } from "./dom.js";
import { Problem } from "./problems.js";
import { currentUser } from "./session.js";
import { failed, nothingHere } from "./failures.js";
import { skeletonPage, skeletonList } from "./parts.js";
import { door, frame, markPlace } from "./frame.js";

let known = [];
let leaving = new AbortController();
let isFirst = true;

// Says which places there are. The views import this module, so it cannot import the list of them.
export function know(places) {
  // Ids and numbers are letters and digits only, because they go into the addresses of calls.
  known = places.map((place) => ({ ...place, pattern: new RegExp(`^${place.path.replace(/:(\w+)/g, "(?<$1>[\\w-]+)")}/?$`) }));
}

export function start() {
  history.scrollRestoration = "manual";
  // Each is a function with a name, so that it is added once, even if the start is tried again.
  addEventListener("popstate", goBack);
  addEventListener("pagehide", leaveNothing);
  document.addEventListener("click", follow);
  return show();
}

function follow(event) {
  const link = event.target.closest?.("a[href]");
  const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!link || !isPlain || event.defaultPrevented || link.download || link.target || link.origin !== location.origin) return;
  if (!placeAt(link.pathname) || (link.hash && link.pathname === location.pathname)) return;
  event.preventDefault();
  go(link.pathname + link.search);
}

export function go(path, { replace = false } = {}) {
  rememberScroll();
  history[replace ? "replaceState" : "pushState"]({}, "", path);
  return show();
}

// The path of an address if it belongs to this page, otherwise the path home. The address may come from anywhere.
export function ownPath(address) {
  const whole = URL.canParse(address ?? "", location.origin) ? new URL(address, location.origin) : location;
  const isOwn = address && whole.origin === location.origin && !whole.pathname.startsWith("//");
  return isOwn ? whole.pathname + whole.search : "/";
}

// Writes filters into the address; the view shows them itself. Replaces the entry, so that back leaves the view.
export function setQuery(values) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value));
  history.replaceState(history.state, "", location.pathname + (query.size ? `?${query}` : ""));
}

// Keeps values for going back and reloading, such as how many pages of a list were open.
export function keepState(values) {
  history.replaceState({ ...history.state, ...values }, "");
}

function rememberScroll() {
  keepState({ scroll: scrollY });
}

function goBack() {
  show();
}

function leaveNothing({ persisted }) {
  rememberScroll();
  if (persisted) put(document.body);
}

export function placeAt(path) {
  for (const place of known) {
    const match = place.pattern.exec(path);
    if (match) return { ...place, params: { ...match.groups } };
  }
  return null;
}

// Shows the frame and the outline of the view at the present address, before it is known who is signed in.
export async function foreshadow() {
  const place = placeAt(location.pathname);
  if (!place || place.isOpen) return;
  const main = frame();
  markPlace(place.tab ?? null);
  const module = await place.load();
  if (currentUser() === null && main.isConnected) outline(main, module);
}

function outline(main, module) {
  if (!module.isInstant) put(main, module.skeleton?.() ?? skeletonPage(skeletonList()));
}

// Shows the view at the present address.
export async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const found = placeAt(location.pathname);
  const place = { path: location.pathname, params: {}, ...found, query: new URLSearchParams(location.search), state: history.state ?? {} };
  if (found && !found.isOpen && currentUser() === null) {
    const next = location.pathname + location.search;
    return go(next === "/" ? "/sign-in" : `/sign-in?next=${encodeURIComponent(next)}`, { replace: true });
  }
  const main = currentUser() === null || found?.isOpen ? door() : frame();
  markPlace(found?.tab ?? null);
  const screen = screenOf(main, place, signal);
  try {
    if (!found) throw new Problem("refused", { code: "not_found" });
    const module = await loaded(found);
    if (signal.aborted) return;
    outline(main, module);
    await module.view(place, screen);
  } catch (error) {
    if (signal.aborted) return;
    screen.fail(error);
  }
}

// A view's place on the page: `show(title, ...content)` puts it there, `signal` ends when the view is left.
function screenOf(main, place, signal) {
  let isShown = false;
  const screen = {
    signal,
    show(title, ...content) {
      if (signal.aborted) return;
      document.title = `${title} · Fincore`;
      main.removeAttribute("aria-busy");
      put(main, content);
      if (!isShown) arrive(main, place.state.scroll);
      isShown = true;
    },
    fail(error) {
      if (!(error instanceof Problem)) console.error(error);
      const content = error.code === "not_found" || error.status === 404 ? nothingHere(error) : failed(error, show);
      this.show(content.title, content.element);
    },
  };
  return screen;
}

// Puts the reader at the heading of the new view, or where they were before.
function arrive(main, scroll = 0) {
  scrollTo({ top: scroll, behavior: "instant" });
  if (!isFirst && scroll === 0) main.querySelector("h1")?.focus({ preventScroll: true });
  isFirst = false;
}

// A new version of the page has other addresses for its modules. Then the page is reloaded, once.
async function loaded(place) {
  try {
    return await place.load();
  } catch (error) {
    const isNew = await fetch(location.pathname, { cache: "no-store" }).then((answer) => answer.text()).then((text) => !text.includes(new URL(import.meta.url).pathname.split("/")[2])).catch(() => false);
    if (!isNew) throw new Problem("offline");
    location.reload();
    throw error;
  }
}

