// Every movement of all own accounts.

import { history } from "../kit/history.js";
import { head } from "../kit/parts.js";
import { namer, ownAccounts } from "../kit/people.js";

export async function view(place, screen) {
  const { signal } = screen;
  const accounts = await ownAccounts(signal);
  const list = history({ account: null, context: { own: new Set(accounts.map((one) => one.id)), nameFor: namer(accounts) }, place, signal });
  await list.fill();
  screen.show("Movements", [head({ title: "Movements", note: "Of all your accounts", up: ["/", "Accounts"] }), list.element]);
}
