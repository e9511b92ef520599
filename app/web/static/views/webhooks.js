// Webhooks: addresses of one's own programs that get events.

import { h, name, put } from "../kit/dom.js";
import { get, post } from "../kit/api.js";
import { button, form } from "../kit/forms.js";
import { addressField, noteField, reasonOf, shownOnce, stateOf, toldOf, typesField } from "../kit/hooks.js";
import { empty, head, sheet } from "../kit/parts.js";
import { when } from "../kit/times.js";

export async function view(place, screen) {
  const { webhooks } = await get("/api/webhooks", null, { signal: screen.signal });
  const box = h("div", { class: "stack loose" });
  const draw = (list) => put(box, list.length ? sheet(h("ul", { class: "lines" }, list.map(line))) : sheet(empty("No program is told yet", "Add the address of a program of yours. It is told of what happens, and can check that the bank said it.")));
  draw(webhooks);
  const again = async () => draw((await get("/api/webhooks", null, { signal: screen.signal })).webhooks);
  screen.show("Webhooks", [head({ title: "Webhooks", note: "Programs of yours that are told what happens on your accounts.", up: ["/settings", "Settings"] }), box, adding(again)]);
}

function line(webhook) {
  const last = webhook.lastDelivery;
  return h(
    "li",
    {},
    h("span", { class: "grow stack tight" }, h("a", { class: "who", href: `/webhooks/${webhook.id}` }, name(webhook.description || webhook.url)), webhook.description && h("span", { class: "small soft" }, name(webhook.url)), h("span", { class: "small soft" }, `Told of ${toldOf(webhook)}`, last && [" · last ", when(last.at), last.status === "DELIVERED" ? "" : ", not taken yet"]), reasonOf(webhook) && h("span", { class: "small" }, reasonOf(webhook))),
    stateOf(webhook),
  );
}

function adding(again) {
  const box = h("div", { class: "stack narrow" });
  const begin = button("Add a webhook", { onclick: () => put(box, made.element) });
  const made = form({
    fields: [addressField(), noteField(), typesField()],
    submit: "Add it",
    cancel: button("Cancel", { onclick: () => put(box, begin) }),
    send: async ({ url, description, types }) => {
      const { secret } = await post("/api/webhooks", { url: url.trim(), description: description.trim() || undefined, types });
      put(box, shownOnce(secret), button("Done", { onclick: () => put(box, begin) }));
      await again();
    },
    faults: (problem) => (problem.code === "webhook_url_refused" ? { url: "The bank cannot call this address. It has to be open to the internet, over https." } : problem.errors),
  });
  put(box, begin);
  return sheet(h("h2", {}, "Another program"), box);
}
