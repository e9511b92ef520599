// One account: its balance, how that changed, and every movement.

import { h, name } from "../kit/dom.js";
import { get } from "../kit/api.js";
import { chart } from "../kit/charts.js";
import { history } from "../kit/history.js";
import { custom, format } from "../kit/money.js";
import { money } from "../kit/figures.js";
import { bones, buttonLink, copyButton, facts, head, notice, skeletonList, skeletonPage, total } from "../kit/parts.js";
import { handle, nameOf, namer, ownAccount, savedPayees, spaced } from "../kit/people.js";
import { qrButton } from "../kit/qr.js";

const POINTS = 120;

export function skeleton() {
  return skeletonPage(h("div", { class: "sheet wide-only", "aria-hidden": "true" }, bones("box")), skeletonList());
}

export async function view(place, screen) {
  const { signal } = screen;
  const [{ account, accounts }, payees] = await Promise.all([ownAccount(place.params.account, signal), savedPayees(signal)]);
  const context = { own: new Set(accounts.map((one) => one.id)), nameFor: namer(accounts, payees), account: account.id };
  const list = history({ account, context, place, signal });
  const [points] = await Promise.all([balances(account, signal), list.fill()]);
  screen.show(nameOf(account), render(account, points, list.element));
}

async function balances(account, signal) {
  const { points } = await get(`/api/accounts/${account.id}/balance/history`, { points: POINTS }, { signal });
  return points;
}

const STATES = {
  FROZEN: ["frozen", "This account is frozen.", "It cannot pay or receive until the bank unfreezes it. Ask the bank why."],
  CLOSED: ["", "This account is closed.", "Its movements and statements stay."],
};

function render(account, points, list) {
  const isActive = account.status === "ACTIVE";
  const held = BigInt(account.balance) - BigInt(account.availableBalance);
  return [
    head({
      title: name(nameOf(account)),
      note: numberLine(account),
      up: ["/", "Accounts"],
      actions: [
        h("a", { class: "button wide-only", href: `/statements?account=${handle(account)}` }, "Statement"),
        h("a", { class: "button wide-only", href: `/accounts/${handle(account)}/settings` }, "Change"),
        isActive && buttonLink(`/pay?from=${handle(account)}`, "Pay", "main"),
      ],
    }),
    account.status in STATES && notice(...STATES[account.status]),
    h(
      "section",
      { class: "totals", "aria-label": "Balance" },
      h("div", {}, h("p", { class: "soft small" }, "Balance"), total(money(account.balance, account.currency, { hero: true }))),
      h("div", { class: "small" }, facts([["Available", h("span", { class: "num" }, format(account.availableBalance, account.currency))], ["Held", h("span", { class: "num" }, format(held, account.currency))]])),
    ),
    points.some((point) => point.balance !== points[0].balance) && h("section", { class: "sheet", "aria-label": "Balance over the last 30 days" }, chart(points, account.currency)),
    list,
    h("p", { class: "narrow-only small" }, h("span", { class: "row" }, h("a", { href: `/statements?account=${handle(account)}` }, "Statements"), h("a", { href: `/accounts/${handle(account)}/settings` }, "Rename or close"))),
  ];
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

function numberLine(account) {
  if (!account.number) return capital(custom(account.currency).many);
  return h("span", { class: "row wrap" }, h("span", { class: "num" }, spaced(account.number)), copyButton(account.number, "account number"), qrButton(account.number, nameOf(account)));
}
