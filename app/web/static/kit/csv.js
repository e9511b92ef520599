// Reads and writes CSV as spreadsheets do: commas, semicolons or tabs, quotes, and a mark at the start.

const FORMULA = /(^|[;|\t])((?:[^\S\t]|")*)(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])/g;
// The apostrophe that `toCsv` set is not part of the text.
const MARKED = /^'(?=[\s"]*[=+\-@\uff1d\uff0b\uff0d\uff20])/;

export function parseCsv(text) {
  const body = text.replace(/^\ufeff/, "");
  const first = body.slice(0, (body.search(/\r?\n/) + 1 || body.length + 1) - 1);
  const separator = [";", "\t", ","].find((one) => first.includes(one)) ?? ",";
  const rows = [[""]];
  let isQuoted = false;
  for (let i = 0; i < body.length; i += 1) {
    const [one, row] = [body[i], rows.at(-1)];
    if (isQuoted && one === '"' && body[i + 1] === '"') row[row.length - 1] += body[(i += 1)];
    else if (one === '"' && (isQuoted || row.at(-1) === "")) isQuoted = !isQuoted;
    else if (isQuoted) row[row.length - 1] += one;
    else if (one === separator) row.push("");
    else if (one === "\n") rows.push([""]);
    else if (one !== "\r") row[row.length - 1] += one;
  }
  return rows.map((row) => row.map((cell) => cell.trim().replace(MARKED, "").trim())).filter((row) => row.some(Boolean));
}

// As in the bank's statements, a part of a cell that a spreadsheet would take for a formula gets an apostrophe.
export function toCsv(rows) {
  const cell = (value) => {
    const text = String(value).replace(FORMULA, "$1'$2");
    return /[",\r\n;|\t]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return `\ufeff${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}
