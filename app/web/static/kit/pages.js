// A list in pages: the open ones, "show more", and a text for an empty list.

import { h, put } from "./dom.js";
import { get } from "./api.js";
import { button } from "./forms.js";
import { notice, skeletonList } from "./parts.js";
import { wordsOf } from "./problems.js";
import { keepState } from "./router.js";

const PAGE = 50;

// `key` names the list in the answers of `path`, `draw(items)` makes the picture, `none` stands where there is nothing.
export function pages({ path, key, query = {}, draw, none, more = "Show more", place, signal, label }) {
  const state = { pages: Math.max(1, place.state.pages ?? 1), items: [], cursor: null };
  const box = h("section", { class: "sheet stack", "aria-label": label });

  async function next() {
    const page = await get(path, { ...query, limit: PAGE, cursor: state.cursor }, { signal });
    state.items.push(...page[key]);
    state.cursor = page.nextCursor;
  }

  async function fill() {
    Object.assign(state, { items: [], cursor: null });
    for (let left = state.pages; left > 0 && (state.cursor || state.items.length === 0); left -= 1) {
      await next();
      if (!state.cursor) break;
    }
    show();
  }

  function show() {
    // A search looks at a limited number of items at a time, so it may find none and still have more to look at.
    const further = state.cursor && button(more, { class: "button wide", onclick: showMore });
    put(box, state.items.length ? draw(state.items) : state.cursor ? h("p", { class: "soft" }, "Nothing found so far.") : none, further);
  }

  async function showMore(event) {
    const count = box.querySelectorAll("a.who").length;
    event.target.setAttribute("aria-busy", "true");
    try {
      await next();
      state.pages += 1;
      keepState({ pages: state.pages });
      show();
      box.querySelectorAll("a.who")[count]?.focus();
    } catch (error) {
      if (!signal.aborted) put(box, notice("wrong", ...wordsOf(error)), button("Try again", { onclick: again }));
    }
  }

  async function again() {
    put(box, skeletonList(4).children);
    await fill().catch((error) => put(box, notice("wrong", ...wordsOf(error)), button("Try again", { onclick: again })));
  }

  return { element: box, fill, again };
}
