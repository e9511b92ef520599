// Money: whole minor units as BigInt, and text. Nothing here is ever a float.

import { customs } from "./currencies.js";

export const AMOUNT_MAX = 9_007_199_254_740_991n;
const BLANKS = /[\s\u00a0\u2000-\u200b\u202f\u205f\u3000\ufeff'’`_]/g;

export function custom(currency) {
  const [digits, sign, last, other, separator, one, many] = customs[currency] ?? [2, `${currency}\u00a0`, 3, 3, ",", currency, currency];
  return { digits, sign, last, other, separator, one, many };
}

// The parts of an amount as people read it: ["−", "₹", "1,48,210", ".50"].
export function partsOf(amount, currency) {
  const { digits, sign, last, other, separator } = custom(currency);
  const value = BigInt(amount);
  const text = String(value < 0n ? -value : value).padStart(digits + 1, "0");
  const whole = digits ? text.slice(0, -digits) : text;
  return [value < 0n ? "−" : "", sign, grouped(whole, last, other, separator), digits ? `.${text.slice(-digits)}` : ""];
}

export function format(amount, currency) {
  return partsOf(amount, currency).join("");
}

// The number alone, for a field beside the currency's sign.
export function formatNumber(amount, currency) {
  return partsOf(amount, currency).slice(2).join("");
}

function grouped(whole, last, other, separator) {
  const groups = [whole.slice(-last)];
  for (let rest = whole.slice(0, -last); rest; rest = rest.slice(0, -other)) groups.unshift(rest.slice(-other));
  return groups.join(separator);
}

// Reads an amount as a person typed or pasted it. Returns { amount }, or { fault } in words, or, if it can be read in
// more than one way, { fault, choices } with each of them. Nothing is guessed.
export function parse(text, currency) {
  const { digits, many } = custom(currency);
  const typed = withoutSign(text.normalize("NFKC").replace(BLANKS, ""), currency);
  if (typed === null) return { fault: `This account is in ${many}.` };
  if (typed === "") return { fault: "Type an amount." };
  if (/^[-−(]/.test(typed)) return { fault: "Type the amount without a minus sign." };
  if (!/^[\d.,]*\d[\d.,]*$/.test(typed)) return { fault: "Type the amount in digits, such as 1250.50.".replace(".50", digits ? `.${"50".padEnd(digits, "0").slice(0, digits)}` : "") };
  const read = readings(typed, currency);
  if (read.fault) return read;
  const choices = [...new Set(read)];
  if (choices.length > 1) {
    return { fault: `This can be read as ${choices.map((one) => format(one, currency)).join(" or as ")}. Which is it?`, choices };
  }
  return within(choices[0]);
}

function within(amount) {
  if (amount === 0n) return { fault: "Type an amount above zero." };
  if (amount > AMOUNT_MAX) return { fault: "This is more than the bank can count." };
  return { amount };
}

// Removes the currency's own sign or code. Returns null if there is the sign of another one.
function withoutSign(text, currency) {
  const own = [currency, custom(currency).sign.replace(BLANKS, ""), NARROW[currency]].filter(Boolean);
  // A point after letters belongs to them, as in "Rs. 500".
  const [, before, rest, after] = /^([^\d.,\-−(]*)(.*?)([^\d.,]*)$/u.exec(text.replace(/^(\p{L}+)\./u, "$1"));
  const signs = [before, after].filter(Boolean);
  const isOwn = (sign) => own.some((one) => one.toUpperCase() === sign.toUpperCase());
  if (signs.length > 1 || (signs.length && !isOwn(signs[0]))) return isMoney(signs) ? null : text;
  return rest;
}

// Other ways in which people write a currency.
const NARROW = { INR: "RS", USD: "US$", CAD: "C$", AUD: "A$", JPY: "円", KWD: "KD", PKR: "RS", LKR: "RS", CHF: "FR" };

function isMoney(signs) {
  return signs.every((sign) => /^\p{Sc}$/u.test(sign) || sign.toUpperCase() in customs);
}

// All amounts that the digits and separators may mean, in minor units.
function readings(typed, currency) {
  const { digits, last, other, separator, many } = custom(currency);
  const tooFine = { fault: digits ? `${capital(many)} have ${digits} digits after the point.` : `${capital(many)} have no smaller unit. Type a whole number.` };
  const unclear = { fault: "Its commas and points do not fit together. Type it without separators." };
  const marks = typed.replace(/\d/g, "");
  const kinds = new Set(marks);
  const minor = (whole, fraction) => BigInt((whole || "0") + fraction.padEnd(digits, "0"));
  if (kinds.size === 0) return [minor(typed, "")];
  if (kinds.size === 2 || marks.length === 1) {
    const at = Math.max(typed.lastIndexOf("."), typed.lastIndexOf(","));
    const [whole, fraction, point] = [typed.slice(0, at), typed.slice(at + 1), typed[at]];
    if (kinds.size === 2) {
      if (marks.slice(0, -1).includes(point) || !isGrouped(whole, last, other)) return unclear;
      const exact = fraction.replace(/0+$/, "").length > digits ? null : fraction.slice(0, digits);
      return exact === null ? tooFine : [minor(whole.replace(/[.,]/g, ""), exact)];
    }
    const asGroup = /^[1-9]\d{0,2}$/.test(whole) && fraction.length === 3 ? minor(whole + fraction, "") : null;
    const asPoint = fraction.length <= digits ? minor(whole, fraction) : null;
    if (asGroup !== null && asPoint !== null) return point === "." && digits === 3 ? [asPoint] : [asGroup, asPoint];
    if (asGroup !== null && point === separator) return [asGroup];
    if (asGroup !== null) return { fault: `Is this ${format(asGroup, currency)}? ${tooFine.fault}`, choices: [asGroup] };
    return asPoint === null ? tooFine : [asPoint];
  }
  return isGrouped(typed, last, other) ? [minor(typed.replace(/[.,]/g, ""), "")] : unclear;
}

// Whether the separators stand where groups of digits end: in threes, or as in the currency's own country.
function isGrouped(text, last, other) {
  const groups = text.split(/[.,]/);
  const fits = (size) => groups.slice(1, -1).every((group) => group.length === size) && /^\d+$/.test(groups[0]) && groups[0].length <= size;
  return groups.length === 1 || (groups.at(-1).length === last && (fits(other) || fits(3)));
}

function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}
