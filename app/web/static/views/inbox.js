// The latest events, newest first. New ones appear by themselves.

import { h, put } from "../kit/dom.js";
import { get } from "../kit/api.js";
import { amountOf, title } from "../kit/happenings.js";
import { empty, head, link, sheet } from "../kit/parts.js";
import { namer, ownAccounts } from "../kit/people.js";
import { clock, dayName, startOfDay } from "../kit/times.js";

const PAGE = 200;
const PAGES_MAX = 50;
const SHOWN_MAX = 200;
const WAIT_S = 20;
const PAUSE_MS = 5_000;

export async function view(place, screen) {
  const { signal } = screen;
  const nameFor = namer(await ownAccounts(signal));
  const state = { events: [], after: null };
  // The feed begins with the oldest. Of a very long one only the end is kept.
  for (let page = 0; page < PAGES_MAX; page += 1) if (!(await more(state, 0, signal))) break;
  const box = h("div", { class: "stack", "aria-live": "polite" });
  const draw = () => put(box, state.events.length ? list([...state.events].reverse(), nameFor) : sheet(empty("Nothing happened lately", "What is done on your accounts stands here for 30 days.")));
  draw();
  screen.show("Inbox", [head({ title: "Inbox", note: "What happened on your accounts in the last 30 days.", actions: [link("/settings/letters", "What comes by mail", { class: "small soft" })] }), box]);
  follow(state, draw, signal);
}

// Reads on, and returns whether there may be more at once.
async function more(state, wait, signal) {
  const { events, nextAfter } = await get("/api/events", { after: state.after, limit: PAGE, wait }, { signal });
  state.after = nextAfter;
  state.events = [...state.events, ...events].slice(-SHOWN_MAX);
  return events.length === PAGE;
}

async function follow(state, draw, signal) {
  while (!signal.aborted) {
    const known = state.after;
    const begun = Date.now();
    try {
      await more(state, document.hidden ? 0 : WAIT_S, signal);
      if (state.after !== known) draw();
    } catch {
      // The note about the connection says why; it is tried again.
    }
    // The bank answers at once when many wait. Then it is asked less often.
    if (Date.now() - begun < PAUSE_MS) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

function list(events, nameFor) {
  const days = new Map();
  for (const event of events) {
    const day = startOfDay(new Date(event.createdAt)).getTime();
    days.set(day, [...(days.get(day) ?? []), event]);
  }
  return h(
    "section",
    { class: "sheet", "aria-label": "Events" },
    h(
      "table",
      { class: "ledger" },
      h("caption", { class: "unseen" }, "What happened, newest first"),
      h("thead", { class: "silent" }, h("tr", {}, h("th", { scope: "col" }, h("span", {}, "Event")), h("th", { scope: "col", class: "right" }, h("span", {}, "Amount")))),
      [...days].map(([day, lines]) => h("tbody", {}, h("tr", { class: "day" }, h("th", { scope: "rowgroup", colspan: 2 }, dayName(day))), lines.map((event) => line(event, nameFor)))),
    ),
  );
}

function line(event, nameFor) {
  const account = event.data.accountId && nameFor(event.data.accountId);
  const note = [account, clock(event.createdAt)].filter(Boolean).join(" · ");
  return h("tr", { class: event.type === "transfer.declined" ? "declined" : null }, h("td", {}, title(event), h("br"), h("span", { class: "small soft" }, h("bdi", {}, note))), h("td", { class: "right" }, amountOf(event)));
}
