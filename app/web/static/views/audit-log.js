// For operators: who did what to what, when and why. Nothing of it can be changed.

import { h, name } from "../kit/dom.js";
import { pages } from "../kit/pages.js";
import { disclosure, empty, facts, head, link } from "../kit/parts.js";
import { actOf, actors } from "../kit/staff.js";
import { exact, when } from "../kit/times.js";

const FILTERS = ["subject", "actor"];
const PLACES = { account: "accounts", hold: "movements", transaction: "movements", funds: "accounts", role: "people" };

export async function view(place, screen) {
  const { signal } = screen;
  const query = Object.fromEntries(FILTERS.map((key) => [key, place.query.get(key) ?? ""]));
  const box = h("div", { class: "stack" });
  const list = pages({ path: "/api/admin/audit-log", key: "records", query, draw: (records) => lines(records, signal), none: empty("Nothing is written here yet", "Each act of an operator is, with its reason."), more: "Show earlier acts", label: "Audit log", place, signal });
  await list.fill();
  box.append(list.element);
  const isAll = !query.subject && !query.actor;
  screen.show("Audit log", [head({ title: "Audit log", note: isAll ? "Every act of an operator, and what looked like an attack. It can only grow." : [isAll ? "" : "Some of it. ", link("/operator/audit-log", "Show all")] }), box]);
}

function lines(records, signal) {
  const who = records.map(() => h("span", {}, "…"));
  actors(records, signal).then((actorOf) => records.forEach((record, i) => who[i].replaceChildren(actorOf(record.actor))), () => {});
  return h("ul", { class: "lines" }, records.map((record, i) => line(record, who[i])));
}

function line(record, who) {
  return h(
    "li",
    {},
    h("span", { class: "grow stack tight" }, h("span", {}, h("b", {}, actOf(record)), " · ", subject(record)), record.reason && h("span", {}, "“", name(record.reason), "”"), h("span", { class: "small soft" }, who, " · ", when(record.at))),
    disclosure("Details", () => details(record)),
  );
}

function subject(record) {
  const place = PLACES[record.action.split("_")[0]];
  const isId = /^[0-9a-f]{24}$/.test(record.subject);
  return place && isId ? link(`/operator/${place}/${record.subject}`, { accounts: "an account", movements: "a movement", people: "a person" }[place], { class: "who" }) : h("span", {}, name(record.subject));
}

function details(record) {
  const values = (of) => Object.entries(of ?? {}).map(([key, value]) => `${key}: ${value}`).join(", ") || "–";
  return h("div", { class: "small" }, facts([["When", exact(record.at)], ["Before", name(values(record.before))], ["After", name(values(record.after))], ["From address", record.address ?? "–"], ["Request", record.requestId ?? "–"]]));
}
