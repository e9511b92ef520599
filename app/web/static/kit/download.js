// Saves a file that needs the access token, which a plain link could not send.

import { call } from "./api.js";
import { h } from "./dom.js";

export async function download(path, query, filename) {
  save(await call("GET", path, { query, as: "blob" }), filename);
}

export function save(blob, filename) {
  const address = URL.createObjectURL(blob);
  const link = h("a", { href: address, download: filename, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
