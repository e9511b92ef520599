// Finds values that the bank would refuse, before they are sent.

const EMAIL = /^[^\s@]+@[^\s@]+\.[^\s@]+$/;
const PASSWORD_BYTES_MIN = 8, PASSWORD_BYTES_MAX = 72;

export function emailFault(text) {
  if (!text.trim()) return "Type your e-mail address.";
  return EMAIL.test(text.trim()) ? null : "This is no e-mail address, such as asha@example.com.";
}

export function passwordFault(text) {
  const bytes = new TextEncoder().encode(text.normalize("NFKC")).length;
  if (bytes < PASSWORD_BYTES_MIN) return "Choose a password of at least 8 characters.";
  return bytes > PASSWORD_BYTES_MAX ? "This password is too long. Choose one of at most 72 characters." : null;
}
