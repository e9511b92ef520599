// Every address of the page, and the module that shows it. The server knows the first words (PLACES in routes.py).
// A module exports `view(place, screen)`, and `skeleton()` for while it loads. A place that anybody may see is open.
// What is used often is fetched before it is wanted.

export const PLACES = [
  { path: "/", tab: "accounts", isOften: true, load: () => import("./views/accounts.js") },
  { path: "/sign-in", isOpen: true, load: () => import("./views/sign-in.js") },
  { path: "/register", isOpen: true, load: () => import("./views/register.js") },
  { path: "/forgotten", isOpen: true, load: () => import("./views/forgotten.js") },
  { path: "/reset", isOpen: true, load: () => import("./views/reset.js") },
  { path: "/accounts/new", tab: "accounts", load: () => import("./views/open-account.js") },
  { path: "/accounts/:account", tab: "accounts", isOften: true, load: () => import("./views/account.js") },
  { path: "/accounts/:account/settings", tab: "accounts", load: () => import("./views/account-settings.js") },
  { path: "/movements", tab: "accounts", load: () => import("./views/movements.js") },
  { path: "/movements/:transaction", tab: "accounts", isOften: true, load: () => import("./views/movement.js") },
  { path: "/pay", tab: "pay", isOften: true, load: () => import("./views/pay.js") },
  { path: "/pay/many", tab: "pay", load: () => import("./views/batch.js") },
  { path: "/payees", tab: "payees", load: () => import("./views/payees.js") },
  { path: "/holds", tab: "holds", load: () => import("./views/holds.js") },
  { path: "/statements", tab: "statements", isOften: true, load: () => import("./views/statements.js") },
  { path: "/settings", tab: "settings", isOften: true, load: () => import("./views/settings.js") },
  { path: "/settings/letters", tab: "settings", load: () => import("./views/notifications.js") },
  { path: "/inbox", tab: "inbox", load: () => import("./views/inbox.js") },
  { path: "/webhooks", tab: "settings", load: () => import("./views/webhooks.js") },
  { path: "/webhooks/:webhook", tab: "settings", load: () => import("./views/webhook.js") },
  { path: "/operator/people", tab: "people", load: () => import("./views/people.js") },
  { path: "/operator/people/:user", tab: "people", load: () => import("./views/person.js") },
  { path: "/operator/accounts", tab: "all-accounts", load: () => import("./views/bank-accounts.js") },
  { path: "/operator/accounts/:account", tab: "all-accounts", load: () => import("./views/bank-account.js") },
  { path: "/operator/movements/:transaction", tab: "all-accounts", load: () => import("./views/bank-movement.js") },
  { path: "/operator/audit-log", tab: "audit-log", load: () => import("./views/audit-log.js") },
  { path: "/operator/books", tab: "books", load: () => import("./views/books.js") },
  { path: "/operator/letters", tab: "letters", load: () => import("./views/letters.js") },
  { path: "/operator/status", tab: "status", load: () => import("./views/status.js") },
];

// The rail. On a phone the tabs at the thumb are those with `thumb`; the others are reached from settings.
export const TABS = [
  { name: "accounts", href: "/", text: "Accounts", thumb: true },
  { name: "pay", href: "/pay", text: "Pay", thumb: true },
  { name: "payees", href: "/payees", text: "Payees" },
  { name: "holds", href: "/holds", text: "Holds" },
  { name: "statements", href: "/statements", text: "Statements", thumb: true },
  { name: "inbox", href: "/inbox", text: "Inbox", icon: "bell" },
  { name: "settings", href: "/settings", text: "Settings", thumb: true },
];

// What is rarely needed is linked from the settings: { href, text, icon }.
export const MORE = [
  { href: "/settings/letters", text: "Letters and their language", icon: "letter" },
  { href: "/pay/many", text: "Pay many at once", icon: "pay" },
  { href: "/accounts/new", text: "Open an account", icon: "accounts" },
  { href: "/webhooks", text: "Webhooks", icon: "link" },
];

// What operators see besides: { name, href, text, icon }, `brief` at the thumb.
export const OPERATOR_TABS = [
  { name: "people", href: "/operator/people", text: "People", icon: "payees", thumb: true },
  { name: "all-accounts", href: "/operator/accounts", text: "All accounts", brief: "Accounts", icon: "accounts", thumb: true },
  { name: "audit-log", href: "/operator/audit-log", text: "Audit log", icon: "statements", thumb: true },
  { name: "books", href: "/operator/books", text: "Books", icon: "books" },
  { name: "letters", href: "/operator/letters", text: "Letters", icon: "letter" },
  { name: "status", href: "/operator/status", text: "Status", icon: "pulse", thumb: true },
];
