// A case that one has open to read stays one's own while one works on it; it is given up when the page is left.
"use strict";
document.querySelectorAll("[data-lock]").forEach((place) => {
  const EVERY_MS = 60000;
  const AWAY_MS = 4 * 60000;
  const fields = () => new URLSearchParams({ csrf: JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRF-Token"], key: place.dataset.key });
  let last = Date.now();
  for (const name of ["pointermove", "pointerdown", "keydown", "scroll", "input"])
    addEventListener(name, () => { last = Date.now(); }, { passive: true });
  const renew = async () => {
    if (Date.now() - last > AWAY_MS) return; // whoever went away keeps no case from the others
    const answer = await fetch(place.dataset.lock, { method: "POST", headers: { "HX-Request": "true" }, body: fields() }).catch(() => null);
    if (answer?.status === 409) window.dermsentrySay((await answer.json()).detail);
  };
  setInterval(renew, EVERY_MS);
  addEventListener("pagehide", () => {
    fetch(`${place.dataset.lock}/release`, { method: "POST", headers: { "HX-Request": "true" }, body: fields(), keepalive: true }).catch(() => null);
  });
});
