// Shared by both views of webhooks: the form, and the state of a webhook.

import { h } from "./dom.js";
import { field } from "./forms.js";
import { CHOICES } from "./happenings.js";
import { chip, copyButton, notice } from "./parts.js";

const REASONS = { owner: "You turned it off.", gone: "Its receiver said that it is gone.", failing: "No delivery arrived for five days.", secret_lost: "Its secret was lost. Make a new one." };

export const stateOf = (webhook) => (webhook.status === "ACTIVE" ? chip("On", "proof") : chip("Off", "hold"));
export const reasonOf = (webhook) => (webhook.disabledReason ? (REASONS[webhook.disabledReason] ?? "The bank turned it off.") : null);
export const saysAll = (webhook) => webhook.types.includes("*");
export const toldOf = (webhook) => (saysAll(webhook) ? "all events" : webhook.types.length === 1 ? "one kind of event" : `${webhook.types.length} kinds of events`);

export const addressField = (value = "") => field({ name: "url", label: "Address", type: "url", value, hint: "It begins with https and is open to the internet.", autocomplete: "off", required: "Type an address." });
export const noteField = (value = "") => field({ name: "description", label: "What it is for", optional: "for yourself", value, maxlength: "200", autocomplete: "off" });

// Boxes to choose kinds of events. None means all. A field like others, whose value is a list.
export function typesField(chosen = []) {
  const boxes = CHOICES.map(([type, text]) => [type, text, h("input", { type: "checkbox", checked: chosen.includes(type) })]);
  return {
    name: "types",
    control: boxes[0][2],
    get value() {
      const types = boxes.filter(([, , box]) => box.checked).map(([type]) => type);
      return types.length ? types : ["*"];
    },
    element: h("fieldset", {}, h("legend", {}, "Tell it of", h("span", { class: "soft light" }, " (choose none for everything)")), h("div", { class: "ticks" }, boxes.map(([, text, box]) => h("label", { class: "tick" }, box, text)))),
    hint() {},
    fault() {},
    check: () => null,
  };
}

// A new secret, which the bank never shows again.
export function shownOnce(secret) {
  const box = h("div", { class: "stack" }, notice("fine", "This is its secret.", "Keep it where its program finds it. It is not shown again; you can make a new one."), h("p", { class: "proof-text", tabindex: "0", role: "region", "aria-label": "Secret" }, secret), h("p", {}, copyButton(secret, "secret")));
  return box;
}
