// Makes elements. Text is always text: there is no way here to turn a string into markup.

const SVG = "http://www.w3.org/2000/svg";

// h("p", { class: "soft" }, "text", element, null): attributes, listeners (onclick) and children, of which null, false
// and undefined are left out.
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" && "value" in element) element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...present(children));
  return element;
}

// Replaces all children by these.
export function put(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

let count = 0;

// An id that no other element of the page has.
export function newId(word) {
  count += 1;
  return `${word}-${count}`;
}

// A person's or an account's name, which may run from right to left inside a line that does not.
export function name(text) {
  return h("bdi", {}, text);
}
