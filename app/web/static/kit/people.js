// Accounts and their owners, by the names that this person knows.

import { get } from "./api.js";
import { Problem } from "./problems.js";
import { currentUser } from "./session.js";
import { custom } from "./money.js";

// FC, two check digits and twelve digits, checked like an IBAN (ISO 7064 mod 97-10). An id is taken too, as by the API.
export function readNumber(text) {
  const number = text.normalize("NFKC").replace(/[\s\u200b-\u200f-]/g, "").toUpperCase();
  if (/^[0-9A-F]{24}$/i.test(number)) return { number: number.toLowerCase() };
  if (!/^FC\d{14}$/.test(number)) return { fault: "An account number is FC and 14 digits, such as FC64 0012 7731 0949." };
  const digits = [...(number.slice(4) + number.slice(0, 4))].map((one) => parseInt(one, 36)).join("");
  return BigInt(digits) % 97n === 1n ? { number } : { fault: "There is a mistake in this account number. Compare it again." };
}

export function spaced(number) {
  return number ? number.replace(/(.{4})(?=.)/g, "$1\u00a0") : "";
}

// A number where there is little room: its start and its end.
export function shortNumber(number) {
  return number ? `${number.slice(0, 4)} …${number.slice(-4)}` : "";
}

export const handle = (account) => account.number ?? account.id;

export function nameOf(account) {
  return account.name ?? `${custom(account.currency).one[0].toUpperCase()}${custom(account.currency).one.slice(1)} account`;
}

export async function ownAccounts(signal) {
  return (await get("/api/accounts", null, { signal })).accounts;
}

// The own account that an address names, by its number or its id, and all of them.
export async function ownAccount(named, signal) {
  const accounts = await ownAccounts(signal);
  const account = accounts.find((one) => one.number === named.toUpperCase() || one.id === named);
  if (!account) throw new Problem("refused", { code: "account_not_found", status: 404 });
  return { account, accounts };
}

export async function savedPayees(signal) {
  return (await get("/api/payees", null, { signal })).payees;
}

const memory = () => `fincore.names.${currentUser().id}`;

function remembered() {
  try {
    return JSON.parse(localStorage.getItem(memory())) ?? {};
  } catch {
    return {};
  }
}

// Movements name the other account by its id. So the names of people who were paid from this browser are kept by id.
export function remember(accountId, name) {
  try {
    localStorage.setItem(memory(), JSON.stringify({ ...remembered(), [accountId]: name }));
  } catch {
    // Then the movement shows its note only.
  }
}

// Own accounts, saved payees, and what `namer` returns for them.
export async function acquainted(signal) {
  const [accounts, payees] = await Promise.all([ownAccounts(signal), savedPayees(signal)]);
  return { accounts, payees, nameFor: namer(accounts, payees) };
}

// Returns a function that names an account by its id: a payee or an own account as this person calls it, or whom they
// paid from this browser; null where the name is not known.
export function namer(accounts, payees = []) {
  const known = new Map(Object.entries(remembered()));
  for (const payee of payees) known.set(payee.accountId, payee.name);
  for (const account of accounts) known.set(account.id, nameOf(account));
  return (id) => known.get(id) ?? null;
}
