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

// Rarely needed views are linked from the settings: { href, text, icon }.
export const MORE = [
  { href: "/settings/letters", text: "Letters and their language", icon: "letter" },
  { href: "/pay/many", text: "Pay many at once", icon: "pay" },
  { href: "/accounts/new", text: "Open an account", icon: "accounts" },
  { href: "/webhooks", text: "Webhooks", icon: "link" },
];

// Additional tabs for operators: { name, href, text, icon }, with `brief` at the thumb.
export const OPERATOR_TABS = [
  { name: "people", href: "/operator/people", text: "People", icon: "payees", thumb: true },
  { name: "all-accounts", href: "/operator/accounts", text: "All accounts", brief: "Accounts", icon: "accounts", thumb: true },
  { name: "audit-log", href: "/operator/audit-log", text: "Audit log", icon: "statements", thumb: true },
  { name: "books", href: "/operator/books", text: "Books", icon: "books" },
  { name: "letters", href: "/operator/letters", text: "Letters", icon: "letter" },
  { name: "status", href: "/operator/status", text: "Status", icon: "pulse", thumb: true },
];
