// Rename an account, or close it.

import { h, name } from "../kit/dom.js";
import { patch, post } from "../kit/api.js";
import { field, form } from "../kit/forms.js";
import { format } from "../kit/money.js";
import { buttonLink, head, notice, say, sheet } from "../kit/parts.js";
import { handle, nameOf, ownAccount } from "../kit/people.js";
import { go } from "../kit/router.js";

export async function view(place, screen) {
  const { account } = await ownAccount(place.params.account, screen.signal);
  const home = `/accounts/${handle(account)}`;
  screen.show(nameOf(account), [head({ title: ["Change ", name(nameOf(account))], up: [home, nameOf(account)] }), h("div", { class: "column" }, rename(account, home), account.status !== "CLOSED" && close(account))]);
}

function rename(account, home) {
  const made = form({
    fields: [field({ name: "name", label: "New name", value: account.name ?? "", maxlength: "100", autocomplete: "off", required: "Type a name." })],
    submit: "Rename",
    send: async (values) => {
      await patch(`/api/accounts/${account.id}`, { name: values.name });
      say("The account has its new name.");
      await go(home);
    },
  });
  return sheet(h("h2", {}, "Rename"), h("div", { class: "narrow" }, made.element));
}

function close(account) {
  const held = BigInt(account.balance) - BigInt(account.availableBalance);
  if (account.balance !== 0 || held > 0n) {
    return sheet(
      h("h2", {}, "Close the account"),
      h("p", { class: "soft" }, held > 0n ? `It can be closed when it is empty and nothing is held. ${format(held, account.currency)} are held now.` : `It can be closed when it is empty. It still has ${format(account.balance, account.currency)}.`),
      h("div", { class: "row" }, account.status === "ACTIVE" && buttonLink(`/pay?from=${handle(account)}`, "Pay the rest to another account")),
    );
  }
  if (account.status === "FROZEN") return sheet(h("h2", {}, "Close the account"), notice("frozen", "The account is frozen.", "Only the bank can close it now."));
  const made = form({
    fields: [field({ name: "reason", label: "Reason", optional: "if you like to tell", maxlength: "200", autocomplete: "off" })],
    submit: "Close it for good",
    send: async ({ reason }) => {
      await post(`/api/accounts/${account.id}/close`, { reason: reason.trim() || undefined });
      say(`${nameOf(account)} is closed.`);
      await go("/");
    },
  });
  made.main.className = "button wrong";
  return sheet(h("h2", {}, "Close the account"), h("p", { class: "soft" }, "A closed account cannot be opened again. Its movements and statements stay."), h("div", { class: "narrow" }, made.element));
}
