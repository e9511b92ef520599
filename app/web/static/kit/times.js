// Times for people: relative where that helps, exact on hover or tap.

import { h } from "./dom.js";

const MINUTE = 60, HOUR = 3_600, DAY = 86_400;
const LOCALE = "en-GB";
const exactFormat = new Intl.DateTimeFormat(LOCALE, { dateStyle: "full", timeStyle: "medium" });
const clockFormat = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit" });
const relativeFormat = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

export const exact = (time) => exactFormat.format(new Date(time));
export const clock = (time) => clockFormat.format(new Date(time));

export function startOfDay(date, days = 0) {
  return new Date(date.getFullYear(), date.getMonth(), date.getDate() + days);
}

function daysAgo(time) {
  return Math.round((startOfDay(new Date()) - startOfDay(new Date(time))) / (DAY * 1_000));
}

// "Today", "Yesterday", "Wednesday, 25 November", with the year if it is another one.
export function dayName(time) {
  const ago = daysAgo(time);
  if (ago === 0) return "Today";
  if (ago === 1) return "Yesterday";
  return longDate(time);
}

export function longDate(time) {
  const date = new Date(time);
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return `${date.toLocaleDateString(LOCALE, { weekday: "long" })}, ${date.toLocaleDateString(LOCALE, { day: "numeric", month: "long", year })}`;
}

export function shortDate(time) {
  const date = new Date(time);
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return date.toLocaleDateString(LOCALE, { day: "numeric", month: "short", year });
}

export function monthName(time) {
  return new Date(time).toLocaleDateString(LOCALE, { month: "long", year: "numeric" });
}

// "2 minutes ago", "in 6 days", and the date if it is long ago.
export function relative(time) {
  const seconds = Math.round((new Date(time) - Date.now()) / 1_000);
  const size = Math.abs(seconds);
  if (size < 45) return seconds <= 0 ? "just now" : "in a moment";
  if (size < HOUR) return relativeFormat.format(Math.round(seconds / MINUTE), "minute");
  if (size < DAY) return relativeFormat.format(Math.round(seconds / HOUR), "hour");
  if (size < 14 * DAY) return relativeFormat.format(Math.round(seconds / DAY), "day");
  return shortDate(time);
}

// A time that shows itself exactly while a pointer is over it, and after a tap.
export function when(time, text = relative(time)) {
  const element = h("time", { datetime: time, title: exact(time) }, text);
  element.addEventListener("click", () => {
    element.textContent = element.textContent === text ? exact(time) : text;
  });
  return element;
}

// What <input type="date"> holds, in this browser's time zone.
export function isoDay(date) {
  const two = (number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

export function fromIsoDay(text, days = 0) {
  const [year, month, day] = text.split("-").map(Number);
  return new Date(year, month - 1, day + days);
}
