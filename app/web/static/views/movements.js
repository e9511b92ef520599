// Every movement of all own accounts.

import { history } from "../kit/history.js";
import { head } from "../kit/parts.js";
import { acquainted } from "../kit/people.js";

export async function view(place, screen) {
  const { signal } = screen;
  const { accounts, nameFor } = await acquainted(signal);
  const list = history({ account: null, context: { own: new Set(accounts.map((one) => one.id)), nameFor }, place, signal });
  await list.fill();
  screen.show("Movements", [head({ title: "Movements", note: "Of all your accounts", up: ["/", "Accounts"] }), list.element]);
}
