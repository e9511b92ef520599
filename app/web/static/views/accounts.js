// Home: all accounts as cards, and the latest movements.

import { h, name } from "../kit/dom.js";
import { get } from "../kit/api.js";
import { spark } from "../kit/charts.js";
import { custom, format } from "../kit/money.js";
import { table } from "../kit/movements.js";
import { unitName } from "../kit/numerals.js";
import { money } from "../kit/figures.js";
import { buttonLink, chip, empty, head, link, bones, skeletonList, skeletonPage, total } from "../kit/parts.js";
import { acquainted, handle, nameOf, shortNumber } from "../kit/people.js";
import { currentUser } from "../kit/session.js";
import { longDate } from "../kit/times.js";
import { icon } from "../kit/icons.js";

const LATEST = 8;
const POINTS = 31;
const CHARTS_MAX = 12;
const MANY = 3;

export function skeleton() {
  return skeletonPage(h("div", { class: "cards", "aria-hidden": "true" }, Array.from({ length: 3 }, () => h("div", { class: "card sheet" }, bones("w40", "w25 tall", "w100")))), skeletonList());
}

export async function view(place, screen) {
  const { signal } = screen;
  const [{ accounts, nameFor }, { transactions }] = await Promise.all([acquainted(signal), get("/api/transactions", { limit: LATEST }, { signal })]);
  const charts = new Map();
  screen.show("Accounts", render(accounts, transactions, nameFor, charts));
  await Promise.all(accounts.filter(isOpen).slice(0, CHARTS_MAX).map((account) => draw(account, charts.get(account.id), signal)));
}

async function draw(account, box, signal) {
  try {
    const { points } = await get(`/api/accounts/${account.id}/balance/history`, { points: POINTS }, { signal });
    box.append(spark(points, `Balance of ${nameOf(account)} over the last 30 days`));
  } catch {
    // The card is whole without its picture.
  }
}

const isOpen = (account) => account.status !== "CLOSED";

function render(accounts, transactions, nameFor, charts) {
  const shown = accounts.filter(isOpen);
  const closed = accounts.length - shown.length;
  const context = { own: new Set(accounts.map((account) => account.id)), nameFor };
  return [
    head({ title: greeting(), note: null, actions: shown.some((account) => account.status === "ACTIVE") ? [h("a", { href: "/pay", class: "button main" }, icon("pay"), "Pay")] : [] }),
    shown.length === 0
      ? empty("You have no account yet", "An account holds your money in one currency. It is open at once and costs nothing.", buttonLink("/accounts/new", "Open an account", "main"))
      : h("section", { class: "stack", "aria-label": "Your accounts" }, totals(shown), h("div", { class: shown.length > MANY ? "cards many" : "cards" }, shown.map((account) => card(account, charts)), h("a", { class: "card sheet dash", href: "/accounts/new" }, "Open another account"))),
    transactions.length > 0
      ? h("section", { class: "sheet" }, h("div", { class: "row between" }, h("h2", {}, "Latest"), link("/movements", "All movements", { class: "small soft" })), table(transactions, context, "Latest movements"))
      : shown.length > 0 && h("section", { class: "sheet" }, empty("Nothing has moved yet", "When somebody pays you or you pay somebody, it stands here.")),
    closed > 0 && h("p", { class: "small soft" }, `${closed} closed ${closed === 1 ? "account is" : "accounts are"} not shown. `, link("/statements", "Their statements are still there.")),
  ];
}

function greeting() {
  const hour = new Date().getHours();
  const part = hour < 5 ? "night" : hour < 12 ? "morning" : hour < 18 ? "afternoon" : "evening";
  return [h("span", { class: "soft small date" }, longDate(new Date())), `Good ${part === "night" ? "evening" : part}, `, name(currentUser().name.split(" ")[0])];
}

// One figure for each currency that has more than one account; the first is the large one.
function totals(accounts) {
  const sums = new Map();
  for (const { currency, balance } of accounts) sums.set(currency, [...(sums.get(currency) ?? []), BigInt(balance)]);
  const [first, ...rest] = [...sums].sort(([, a], [, b]) => b.length - a.length).map(([currency, list]) => [currency, list.reduce((sum, one) => sum + one, 0n)]);
  const more = rest.filter(([currency]) => sums.get(currency).length > 1);
  const words = (currency) => {
    const isOnly = [...sums.keys()].filter((other) => unitName(other) === unitName(currency)).length === 1;
    return `All your ${isOnly ? unitName(currency) : custom(currency).many}`;
  };
  return h(
    "div",
    { class: "totals" },
    h("div", {}, h("p", { class: "soft small" }, words(first[0])), total(money(first[1], first[0], { hero: true }))),
    more.length > 0 && h("dl", { class: "facts small" }, more.map(([currency, sum]) => [h("dt", {}, words(currency)), h("dd", { class: "num" }, format(sum, currency))])),
  );
}

function card(account, charts) {
  const box = h("span", { class: "spark-box" });
  charts.set(account.id, box);
  const isFrozen = account.status === "FROZEN";
  return h(
    "a",
    { class: "card sheet", href: `/accounts/${handle(account)}` },
    h("span", { class: "row between" }, h("b", {}, name(nameOf(account))), isFrozen ? chip("Frozen", "frozen") : h("span", { class: "soft small num" }, shortNumber(account.number))),
    h("span", { class: "sum" }, money(account.balance, account.currency), h("br"), h("span", { class: "small soft num" }, isFrozen ? "Cannot pay or receive" : `${format(account.availableBalance, account.currency)} available`)),
    box,
  );
}

