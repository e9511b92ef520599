// A list of movements with its filters in the address, as many pages as were open, and "show earlier".

import { h, put } from "./dom.js";
import { get } from "./api.js";
import { button } from "./forms.js";
import { table } from "./movements.js";
import { empty, notice, skeletonList } from "./parts.js";
import { keepState, setQuery } from "./router.js";
import { wordsOf } from "./problems.js";

const PAGE = 30;
const ENTRIES = 100;
const FILTERS = { all: "All", out: "Out", in: "In", holds: "Holds", month: "This month" };

function queryFor(show) {
  const start = new Date();
  return { all: {}, out: { direction: "out" }, in: { direction: "in" }, holds: { kind: "HOLD" }, month: { from: new Date(start.getFullYear(), start.getMonth(), 1).toISOString() } }[show];
}

// `account`: the one whose movements these are, or null for all of one's own. `context` is that of `table`.
export function history({ account, context, place, signal }) {
  const chosen = place.query.get("show");
  const state = { show: chosen in FILTERS ? chosen : "all", pages: Math.max(1, place.state.pages ?? 1), list: [], cursor: null };
  const balances = account ? runningBalances(account, signal) : null;
  const box = h("div", { class: "stack" });
  const filters = h("div", { class: "filters", role: "group", "aria-label": "Show" });

  async function fill() {
    let pages = state.pages;
    Object.assign(state, { list: [], cursor: null });
    do {
      await more();
      pages -= 1;
    } while (pages > 0 && state.cursor);
    draw();
  }

  async function more() {
    const query = { ...queryFor(state.show), account: account?.id, limit: PAGE, cursor: state.cursor };
    const page = await get("/api/transactions", query, { signal });
    state.list.push(...page.transactions);
    state.cursor = page.nextCursor;
    if (state.list.length) await balances?.reach(state.list.at(-1).createdAt);
  }

  function draw() {
    put(
      filters,
      Object.entries(FILTERS).map(([key, text]) => h("button", { type: "button", class: "chip", "aria-pressed": String(key === state.show), onclick: () => choose(key) }, text)),
    );
    if (state.list.length === 0) {
      put(box, empty(state.show === "all" ? "Nothing has moved yet" : "Nothing of this kind", state.show === "all" ? "When somebody pays you or you pay somebody, it stands here." : "Choose another filter to see more."));
      return;
    }
    const earlier = button("Show earlier movements", { class: "button wide", onclick: showEarlier });
    put(box, table(state.list, { ...context, balances: balances?.known }), state.cursor && earlier);
  }

  async function showEarlier(event) {
    const count = state.list.length;
    event.target.setAttribute("aria-busy", "true");
    await guarded(async () => {
      await more();
      state.pages += 1;
      keepState({ pages: state.pages });
      draw();
      box.querySelectorAll("a.who")[count]?.focus();
    });
    event.target.removeAttribute("aria-busy");
  }

  async function choose(key) {
    Object.assign(state, { show: key, pages: 1 });
    setQuery({ show: key === "all" ? null : key });
    keepState({ pages: 1 });
    for (const one of filters.children) one.setAttribute("aria-pressed", String(one.textContent === FILTERS[key]));
    put(box, skeletonList(4).children);
    await guarded(fill);
  }

  async function guarded(work) {
    try {
      await work();
    } catch (error) {
      if (!signal.aborted) put(box, notice("wrong", ...wordsOf(error)), button("Try again", { onclick: () => guarded(fill) }));
    }
  }

  return { element: h("section", { class: "sheet stack", "aria-label": "Movements" }, filters, box), fill };
}

// The balance after each movement, from the account's journal, which is read as far back as the list goes.
function runningBalances(account, signal) {
  const known = new Map();
  let cursor;
  let reached = null;
  return {
    known,
    async reach(time) {
      while (cursor !== null && (reached === null || reached > time)) {
        const page = await get(`/api/accounts/${account.id}/entries`, { limit: ENTRIES, cursor }, { signal });
        for (const entry of page.entries) if (entry.type === "DEBIT" || entry.type === "CREDIT") known.set(entry.transactionId, entry.balanceAfter);
        reached = page.entries.at(-1)?.createdAt ?? time;
        cursor = page.nextCursor;
      }
    },
  };
}
