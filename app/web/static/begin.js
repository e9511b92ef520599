// Stands in the document and runs before anything is drawn.
{
  const root = document.documentElement;
  let mayBeKnown = true;
  try {
    const theme = localStorage.getItem("fincore.theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    mayBeKnown = localStorage.getItem("fincore.session") !== null;
  } catch {
    // Without storage the page follows the device, and everybody may be known.
  }
  const begun = (globalThis.begun = { mayBeKnown, session: null, isSent: false });
  if (mayBeKnown) {
    // What takes a round trip and does not need the page's modules; they take the answer up.
    const asked = { method: "POST", headers: { "X-Requested-With": "fincore" }, signal: AbortSignal.timeout(30_000) };
    // Read at once, because the time limit would end an answer that is here but waits for the modules to be read.
    begun.session = fetch("/session/refresh", asked).then(async (answer) => new Response(answer.status === 204 ? null : await answer.text(), answer));
    begun.session.catch(() => {});
    const home = document.createElement("link");
    home.rel = "modulepreload";
    home.href = document.currentScript.dataset.home;
    document.head.append(home);
  } else if (location.pathname === "/" || location.pathname === "/sign-in") {
    // Somebody new sees the form that the document has. After they signed out, the view says so above it.
    if (!location.search.includes("told=")) root.dataset.door = "";
  }
  // A form that is sent before the modules are there is sent by them. No password goes into an address.
  addEventListener("submit", (event) => {
    if (event.defaultPrevented) return;
    event.preventDefault();
    begun.isSent = true;
    event.submitter?.setAttribute("aria-busy", "true");
  });
  const tell = ({ target }) => {
    if (target.matches?.("script, [rel=stylesheet]")) document.getElementById("lost").hidden = false;
  };
  addEventListener("error", tell, true);
}
