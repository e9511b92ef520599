// An account's number as a QR code, for somebody nearby with a phone. Version 1, error correction M,
// alphanumeric: 21 by 21 modules, which hold up to 20 characters (ISO/IEC 18004).

import { h, svg } from "./dom.js";
import { button } from "./forms.js";
import { spaced } from "./people.js";

const SIZE = 21, DATA_BYTES = 16, CHECK_BYTES = 10;
const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";
// Error correction M with mask 0, and its own check bits.
const FORMAT = "101010000010010";

function dataBytes(text) {
  const bits = ["0010", text.length.toString(2).padStart(9, "0")];
  for (let i = 0; i < text.length; i += 2) {
    const [a, b] = [ALPHABET.indexOf(text[i]), ALPHABET.indexOf(text[i + 1])];
    bits.push(i + 1 < text.length ? (a * 45 + b).toString(2).padStart(11, "0") : a.toString(2).padStart(6, "0"));
  }
  const stream = `${bits.join("")}0000`.slice(0, DATA_BYTES * 8);
  const bytes = stream.padEnd(Math.ceil(stream.length / 8) * 8, "0").match(/.{8}/g).map((byte) => parseInt(byte, 2));
  for (let pad = 0xec; bytes.length < DATA_BYTES; pad ^= 0xec ^ 0x11) bytes.push(pad);
  return bytes;
}

function times(a, b) {
  let product = 0;
  for (let bit = 7; bit >= 0; bit -= 1) {
    product = (product << 1) ^ ((product >> 7) * 0x11d);
    product ^= ((b >> bit) & 1) * a;
  }
  return product;
}

// The remainder of the data by Reed and Solomon's polynomial.
function checkBytes(data) {
  let divisor = [1];
  for (let i = 0, root = 1; i < CHECK_BYTES; i += 1, root = times(root, 2)) {
    divisor = [...divisor, 0].map((term, j) => term ^ (j > 0 ? times(divisor[j - 1], root) : 0));
  }
  const rest = Array(CHECK_BYTES).fill(0);
  for (const byte of data) {
    const factor = byte ^ rest.shift();
    rest.push(0);
    divisor.slice(1).forEach((term, i) => (rest[i] ^= times(term, factor)));
  }
  return rest;
}

// The picture's rows, true where it is dark.
export function modules(text) {
  const grid = Array.from({ length: SIZE }, () => Array(SIZE).fill(null));
  for (const [top, left] of [[0, 0], [0, SIZE - 7], [SIZE - 7, 0]]) finder(grid, top, left);
  for (let i = 8; i < SIZE - 8; i += 1) grid[6][i] = grid[i][6] = i % 2 === 0;
  format(grid);
  const data = dataBytes(text);
  const bits = [...data, ...checkBytes(data)].flatMap((byte) => [...byte.toString(2).padStart(8, "0")].map(Number));
  let next = 0;
  for (let right = SIZE - 1; right > 0; right -= right === 8 ? 3 : 2) {
    const isUp = ((SIZE - 1 - right - (right < 6 ? 1 : 0)) / 2) % 2 === 0;
    for (let step = 0; step < SIZE; step += 1) {
      const row = isUp ? SIZE - 1 - step : step;
      for (const column of [right, right - 1]) {
        if (grid[row][column] === null) grid[row][column] = Boolean((bits[next++] ?? 0) ^ ((row + column) % 2 === 0 ? 1 : 0));
      }
    }
  }
  return grid;
}

function finder(grid, top, left) {
  for (let row = -1; row <= 7; row += 1) {
    for (let column = -1; column <= 7; column += 1) {
      if (grid[top + row]?.[left + column] === undefined) continue;
      const ring = Math.max(Math.abs(row - 3), Math.abs(column - 3));
      grid[top + row][left + column] = ring !== 2 && ring <= 3;
    }
  }
}

function format(grid) {
  const bits = [...FORMAT].map((bit) => bit === "1");
  const around = [0, 1, 2, 3, 4, 5, 7, 8];
  for (let i = 0; i < 8; i += 1) {
    grid[8][around[i]] = bits[i];
    grid[SIZE - 1 - i][8] = i < 7 ? bits[i] : true;
    grid[8][SIZE - 8 + i] = bits[7 + i];
  }
  for (let i = 8; i < 15; i += 1) grid[around[14 - i]][8] = bits[i];
  grid[SIZE - 8][8] = true;
}

export function qrButton(number, whose) {
  return h("button", { type: "button", class: "quiet", onclick: () => open(number, whose) }, "QR");
}

function open(number, whose) {
  const path = modules(number).flatMap((row, y) => row.map((isDark, x) => (isDark ? `M${x + 4} ${y + 4}h1v1h-1z` : ""))).join("");
  const picture = svg("svg", { viewBox: `0 0 ${SIZE + 8} ${SIZE + 8}`, class: "qr", role: "img", "aria-label": `QR code of ${number}` }, svg("path", { d: path }));
  const close = button("Close", { class: "button main wide", onclick: () => dialog.close() });
  const dialog = h("dialog", { class: "sheet stack", "aria-label": `Number of ${whose}` }, h("h2", {}, whose), picture, h("p", { class: "num" }, spaced(number)), close);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
