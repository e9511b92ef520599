// Runs before anything is drawn, so that a chosen theme does not flash in later.
try {
  const chosen = localStorage.getItem("fincore.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Without storage the page follows the device.
}
