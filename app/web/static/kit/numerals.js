// Amounts in words, as on a cheque, so that people notice an extra zero.

import { custom } from "./money.js";

const SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split(" ");
const TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split(" ");
// How large numbers are named, by the size of a currency's groups: in lakhs and crores, or in thousands.
const SCALES = {
  2: [[10_000_000n, "crore"], [100_000n, "lakh"], [1_000n, "thousand"], [100n, "hundred"]],
  3: [[1_000_000_000_000n, "trillion"], [1_000_000_000n, "billion"], [1_000_000n, "million"], [1_000n, "thousand"], [100n, "hundred"]],
};
const MINOR = {
  INR: ["paisa", "paise"], USD: ["cent", "cents"], EUR: ["cent", "cents"], AUD: ["cent", "cents"], CAD: ["cent", "cents"],
  GBP: ["penny", "pence"], KWD: ["fils", "fils"], BHD: ["fils", "fils"], CHF: ["rappen", "rappen"], AED: ["fils", "fils"],
};

// "Twelve thousand five hundred rupees and fifty paise".
export function inWords(amount, currency) {
  const { digits, other } = custom(currency);
  const unit = 10n ** BigInt(digits);
  const [whole, fraction] = [amount / unit, amount % unit];
  const major = `${spell(whole, SCALES[other] ?? SCALES[3])} ${unitName(currency, whole)}`;
  const text = fraction === 0n ? major : `${major} ${minorPart(fraction, digits, currency)}`;
  return text[0].toUpperCase() + text.slice(1);
}

function minorPart(fraction, digits, currency) {
  const names = MINOR[currency];
  return names ? `and ${spell(fraction, SCALES[3])} ${fraction === 1n ? names[0] : names[1]}` : `and ${fraction}/1${"0".repeat(digits)}`;
}

// "rupees" of "Indian rupees": the short name that people say.
export function unitName(currency, count = 2n) {
  const { one, many } = custom(currency);
  const full = count === 1n ? one : many;
  return full.endsWith(")") ? full : full.split(" ").at(-1);
}

function spell(number, scales) {
  if (number < 20n) return SMALL[number];
  if (number < 100n) return TENS[number / 10n] + (number % 10n ? `-${SMALL[number % 10n]}` : "");
  const [size, name] = scales.find(([scale]) => number >= scale);
  const rest = number % size;
  return `${spell(number / size, scales)} ${name}${rest ? ` ${rest < 100n ? "and " : ""}${spell(rest, scales)}` : ""}`;
}
