// The page's icons: lines of one weight on a field of 24 by 24.

import { svg } from "./dom.js";

const LINES = {
  accounts: "M3 11l9-7 9 7M6 9v10h12V9",
  pay: "M4 12h15M13 6l6 6-6 6",
  payees: "M12.500 8a3.500 3.500 0 1 1-7 0 3.500 3.500 0 1 1 7 0zM2.500 20c.6-4 3-6 6.500-6s5.900 2 6.500 6M16 4.800a3.500 3.500 0 010 6.400M18.500 14.500c1.800.8 2.800 2.600 3 5.500",
  holds: "M7 10h10a2 2 0 012 2v6a2 2 0 01-2 2H7a2 2 0 01-2-2v-6a2 2 0 012-2zM8 10V7a4 4 0 018 0v3",
  statements: "M6 3h9l4 4v14H6zM9 12h7M9 16h7",
  settings: "M4 7h10M18 7h2M4 17h2M10 17h10M18 7a2 2 0 1 1-4 0 2 2 0 1 1 4 0zM10 17a2 2 0 1 1-4 0 2 2 0 1 1 4 0z",
  shield: "M12 3l8 3v6c0 5-3.500 8-8 9-4.500-1-8-4-8-9V6z",
  check: "M5 12.500l4.500 4.500L19 7.500",
  back: "M20 12H5M11 6l-6 6 6 6",
  on: "M9 6l6 6-6 6",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  books: "M12 4v16M5 8h14M5 8l-3 6a3 3 0 006 0zM19 8l-3 6a3 3 0 006 0zM8 20h8",
  letter: "M3 6h18v12H3zM3 7l9 7 9-7",
  bell: "M6 17V11a6 6 0 0112 0v6l1.500 2h-15zM10 21h4",
  link: "M10 14a4 4 0 005.600 0l3-3a4 4 0 00-5.600-5.600l-1 1M14 10a4 4 0 00-5.600 0l-3 3a4 4 0 005.600 5.600l1-1",
  pulse: "M3 12h4l3-8 4 16 3-8h4",
};

export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, svg("path", { d: LINES[name] }));
}
