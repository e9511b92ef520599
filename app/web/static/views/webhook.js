// One webhook: its state, its deliveries, and what can be done.

import { h, name, put } from "../kit/dom.js";
import { get, patch, post, remove } from "../kit/api.js";
import { button, form } from "../kit/forms.js";
import { happened } from "../kit/happenings.js";
import { addressField, noteField, reasonOf, saysAll, shownOnce, stateOf, toldOf, typesField } from "../kit/hooks.js";
import { pages } from "../kit/pages.js";
import { chip, empty, head, notice, say, sheet } from "../kit/parts.js";
import { wordsOf } from "../kit/problems.js";
import { go, show } from "../kit/router.js";
import { when } from "../kit/times.js";

export async function view(place, screen) {
  const path = `/api/webhooks/${place.params.webhook}`;
  const { webhook } = await get(path, null, { signal: screen.signal });
  const list = pages({ path: `${path}/deliveries`, key: "deliveries", draw: (deliveries) => lines(deliveries, path, list), none: empty("Nothing was sent yet", "Send a test to see whether it arrives."), more: "Show earlier deliveries", label: "Deliveries", place, signal: screen.signal });
  await list.fill();
  screen.show("Webhook", [
    head({ title: name(webhook.description || "Webhook"), note: [name(webhook.url), ` · told of ${toldOf(webhook)}`], up: ["/webhooks", "Webhooks"], actions: [stateOf(webhook)] }),
    reasonOf(webhook) && notice("hold", "It is off.", reasonOf(webhook)),
    acting(webhook, path, list),
    list.element,
  ]);
}

function acting(webhook, path, list) {
  const box = h("div", { class: "stack" });
  const isOn = webhook.status === "ACTIVE";
  const back = () =>
    put(
      box,
      h(
        "div",
        { class: "row wrap" },
        isOn && button("Send a test", { class: "button main", onclick: doing(() => post(`${path}/ping`), "A test is on its way.", list.again) }),
        button("Change", { onclick: () => put(box, changing(webhook, path, back)) }),
        button("New secret", { onclick: () => put(box, renewing(path, back)) }),
        button(isOn ? "Turn off" : "Turn on", { class: isOn ? "button" : "button main", onclick: doing(() => patch(path, { status: isOn ? "DISABLED" : "ACTIVE" }), isOn ? "It is off." : "It is on.", show) }),
        button("Remove", { class: "button wrong", onclick: () => put(box, removing(path, back)) }),
      ),
    );
  back();
  return sheet(h("h2", {}, "What you can do"), box);
}

// A button's act: done once, said, and then shown.
function doing(act, words, after) {
  return async ({ currentTarget: control }) => {
    if (control.getAttribute("aria-busy")) return;
    control.setAttribute("aria-busy", "true");
    try {
      await act();
      say(words);
      await after();
    } catch (error) {
      say(wordsOf(error).join(" "));
    } finally {
      control.removeAttribute("aria-busy");
    }
  };
}

function changing(webhook, path, back) {
  const made = form({
    fields: [addressField(webhook.url), noteField(webhook.description ?? ""), typesField(saysAll(webhook) ? [] : webhook.types)],
    submit: "Save",
    cancel: button("Cancel", { onclick: back }),
    send: async ({ url, description, types }) => {
      await patch(path, { url: url.trim(), description: description.trim(), types });
      say("It is saved.");
      await show();
    },
    faults: (problem) => (problem.code === "webhook_url_refused" ? { url: "The bank cannot call this address. It has to be open to the internet, over https." } : problem.errors),
  });
  return h("div", { class: "narrow" }, made.element);
}

function renewing(path, back) {
  const box = h("div", { class: "stack" });
  const renew = async () => put(box, shownOnce((await post(`${path}/rotate-secret`)).secret), button("Done", { onclick: back }));
  put(box, h("p", { class: "soft" }, "For 24 hours what is sent is signed with the new secret and with the present one."), h("div", { class: "row wrap" }, button("Make a new secret", { class: "button main", onclick: doing(renew, "There is a new secret.", () => {}) }), button("Cancel", { onclick: back })));
  return box;
}

function removing(path, back) {
  const gone = async () => go("/webhooks");
  return h("div", { class: "stack" }, h("p", { class: "soft" }, "It is told nothing more, and what waits is not sent. This cannot be undone."), h("div", { class: "row wrap" }, button("Remove it", { class: "button wrong", onclick: doing(() => remove(path), "It is removed.", gone) }), button("Keep it", { onclick: back })));
}

const STATES = { DELIVERED: ["Taken", "proof"], PENDING: ["Waiting", ""], FAILED: ["Not taken", "hold"] };

function lines(deliveries, path, list) {
  return h("ul", { class: "lines" }, deliveries.map((delivery) => line(delivery, path, list)));
}

function line(delivery, path, list) {
  const last = delivery.attempts.at(-1);
  const tries = delivery.attempts.length;
  const told = last && (last.status === null ? "It could not be reached" : `It answered ${last.status}${last.durationMs === null ? "" : ` after ${last.durationMs} ms`}`);
  return h(
    "li",
    {},
    h("span", { class: "grow stack tight" }, h("span", {}, h("b", {}, happened(delivery.type)), " ", chip(...(STATES[delivery.status] ?? [delivery.status]))), h("span", { class: "small soft" }, when(delivery.createdAt), tries > 1 && ` · ${tries} attempts`, told && ` · ${told}`, delivery.status === "PENDING" && delivery.nextAttemptAt && tries > 0 && [" · next ", when(delivery.nextAttemptAt)])),
    delivery.status !== "PENDING" && button("Send again", { onclick: doing(() => post(`${path}/deliveries/${delivery.id}/resend`), "It is on its way again.", list.again) }),
  );
}
