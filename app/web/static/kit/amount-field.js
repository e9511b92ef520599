// The large field for an amount, in the currency's own units. It repeats the amount in words, and asks again if it is
// ambiguous.

import { h, put } from "./dom.js";
import { field } from "./forms.js";
import { custom, format, formatNumber, parse } from "./money.js";
import { inWords } from "./numerals.js";

// Like a field of `forms`. In addition, `amount` is the BigInt that was read or null, and `setCurrency` changes the currency.
export function amountField({ label = "Amount", name = "amount", currency, value = "", onChange = () => {} }) {
  let [present, isMade] = [currency, false];
  const unit = h("span", { class: "unit", "aria-hidden": "true" });
  const box = h("div", { class: "big" });
  const choices = h("div", { class: "row wrap" });
  const made = field({ label, name, inputmode: "decimal", autocomplete: "off", value, wrap: (input) => put(box, unit, input), check: (text) => parse(text, present).fault ?? null });
  made.element.append(choices);

  function read() {
    const { amount = null, fault, choices: several = [] } = made.control.value.trim() ? parse(made.control.value, present) : {};
    made.amount = amount;
    put(choices, several.map((one) => h("button", { type: "button", class: "button", onclick: () => choose(one) }, format(one, present))));
    if (amount !== null) made.hint(inWords(amount, present));
    else made.hint(fault && several.length ? fault : null);
    // While it is being made, nobody can look at it yet.
    if (isMade) onChange(amount);
  }

  function choose(amount) {
    made.control.value = formatNumber(amount, present);
    made.fault(null);
    read();
    made.control.focus();
  }

  made.control.addEventListener("input", read);
  // The amount is rewritten as the bank writes it.
  made.control.addEventListener("change", () => {
    if (made.amount !== null) made.control.value = formatNumber(made.amount, present);
  });
  made.setCurrency = (next) => {
    present = next;
    const { sign, digits } = custom(present);
    unit.textContent = sign.trim();
    box.classList.toggle("long", sign.length > 1);
    made.control.placeholder = digits ? `0.${"0".repeat(digits)}` : "0";
    read();
  };
  made.amount = null;
  made.setCurrency(currency);
  isMade = true;
  return made;
}
