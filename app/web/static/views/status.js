// For operators: the state of the bank, refreshed while somebody looks.

import { h, svg } from "../kit/dom.js";
import { get } from "../kit/api.js";
import { facts, head, link, notice, sheet } from "../kit/parts.js";
import { clock, exact } from "../kit/times.js";

const EVERY_MS = 15_000;
// Beyond these an operator should look into it.
const LATE_S = 60;
const DECLINED_SHARE = 0.2;
const LIMIT_MIN = 5;
const REASONS = { insufficient_funds: "Not enough available", account_not_active: "Account frozen or closed", balance_limit_exceeded: "More than an account can hold", hold_expired: "Hold expired" };
const SIZE = { width: 480, height: 150, top: 22, bottom: 22 };

export async function view(place, screen) {
  const load = async () => render(await get("/api/admin/status", null, { signal: screen.signal }));
  const box = h("div", { class: "stack loose" }, await load());
  screen.show("Status", [head({ title: "Status", note: "It is read anew while you look." }), box]);
  const timer = setInterval(async () => {
    if (document.hidden) return;
    // One that fails shows the last; the note about the connection says why.
    await load().then((content) => box.replaceChildren(...content), () => {});
  }, EVERY_MS);
  screen.signal.addEventListener("abort", () => clearInterval(timer));
}

function render(status) {
  const { postings, outbox, holds, database } = status;
  const posted = postings.reduce((sum, one) => sum + one.posted, 0);
  const declined = postings.reduce((sum, one) => sum + one.declined, 0);
  return [
    ...troubles(status, posted, declined),
    h(
      "div",
      { class: "cards wide" },
      picture("Movements a minute", posted, postings.map((one) => one.posted), postings),
      picture("Declined a minute", declined, postings.map((one) => one.declined), postings, { limit: Math.max(LIMIT_MIN, Math.ceil((DECLINED_SHARE * posted) / Math.max(postings.length, 1))), kind: "hold" }),
    ),
    h(
      "div",
      { class: "cards wide" },
      sheet(h("h2", {}, "Mail"), facts([["Waiting", number(outbox.waiting)], ["The oldest waits for", age(outbox.oldestAgeSeconds)], ["Given up", link("/operator/letters?state=DEAD", outbox.dead)]])),
      sheet(h("h2", {}, "Holds"), facts([["Open", number(holds.open)], ["Over, about to be released", number(holds.overdue)]])),
      sheet(h("h2", {}, "The bank"), facts([["People", number(status.users)], ["Accounts", number(status.accounts)], ["Running for", age(status.uptimeSeconds)], ["Version", status.version], ["Database", database.version]])),
    ),
    status.declines.length > 0 && sheet(h("h2", {}, "Why payments were declined"), facts(status.declines.map(({ code, count }) => [REASONS[code] ?? "Another reason", number(count)]))),
    h("p", { class: "small soft" }, `As of ${exact(status.at)}`),
  ].filter(Boolean);
}

function troubles({ outbox, database, holds }, posted, declined) {
  return [
    outbox.oldestAgeSeconds > LATE_S && notice("wrong", "Mail is late.", `The oldest letter has waited for ${age(outbox.oldestAgeSeconds)}. Look whether the mail server answers.`),
    outbox.dead > 0 && notice("hold", outbox.dead === 1 ? "One letter was given up." : `${number(outbox.dead)} letters were given up.`, link("/operator/letters?state=DEAD", "Look at them")),
    holds.overdue > 100 && notice("hold", "Holds are not released in time.", "Look whether the workers run."),
    declined > DECLINED_SHARE * (posted + declined) && declined > 20 && notice("hold", "Many payments are declined.", "The reasons stand below."),
    !database.upgradeFinished && notice("hold", "An upgrade is not finished.", "When no old version runs any more, run “flask db finish”."),
  ].filter(Boolean);
}

const number = (value) => h("span", { class: "num" }, value.toLocaleString("en"));

function age(seconds) {
  const [size, unit] = [[86_400, "day"], [3_600, "hour"], [60, "minute"], [1, "second"]].find(([length]) => seconds >= length) ?? [1, "second"];
  const count = Math.floor(seconds / size);
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

// Bars of the last minutes, with the threshold drawn in.
function picture(title, sum, values, postings, { limit = null, kind = "" } = {}) {
  const top = Math.max(...values, limit ?? 0, 1);
  const width = SIZE.width / values.length;
  const y = (value) => SIZE.height - SIZE.bottom - ((SIZE.height - SIZE.bottom - SIZE.top) * value) / top;
  const bars = values.map((value, i) => svg("rect", { class: `bar ${kind}`, x: i * width + 2, width: Math.max(1, width - 4), y: y(value), height: y(0) - y(value) }, svg("title", {}, `${clock(postings[i].at)}: ${value}`)));
  const line = limit !== null && [svg("line", { class: "limit", x1: 0, x2: SIZE.width, y1: y(limit), y2: y(limit) }), svg("text", { x: 0, y: y(limit) - 6 }, `Look into it above ${limit}`)];
  const ends = [svg("text", { x: 0, y: SIZE.height - 4 }, clock(postings[0].at)), svg("text", { x: SIZE.width, y: SIZE.height - 4, "text-anchor": "end" }, "now")];
  return sheet(
    h("div", { class: "row between" }, h("h2", {}, title), h("span", { class: "soft small num" }, `${sum.toLocaleString("en")} in ${values.length} minutes`)),
    svg("svg", { class: "chart", viewBox: `0 0 ${SIZE.width} ${SIZE.height}`, role: "img", "aria-label": `${title}: ${sum} in the last ${values.length} minutes, at most ${Math.max(...values)}` }, svg("line", { class: "grid", x1: 0, x2: SIZE.width, y1: y(0), y2: y(0) }), bars, line, ends),
  );
}
