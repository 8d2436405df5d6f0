// Says before a session ends for want of use, or at its end, and lets one stay; any page of this browser counts.
"use strict";
(() => {
  const place = document.getElementById("session");
  const { idle, ends } = document.body.dataset;
  const { root } = document.documentElement.dataset;
  if (!place || !idle) return;
  const WARN_MS = 5 * 60 * 1000;
  const end = Date.now() + Number(ends) * 1000;
  const note = () => localStorage.setItem("seen", String(Date.now()));
  const left = () => {
    const used = Number(localStorage.getItem("seen")) + Number(idle) * 1000;
    return { ms: Math.min(used, end) - Date.now(), idle: used < end };
  };
  window.dermsentrySeen = note;
  note();

  const show = (text, action) => {
    const line = document.createElement("p");
    line.append(text, " ");
    if (action) line.append(action);
    place.replaceChildren(line);
  };
  const button = () => {
    const stay = document.createElement("button");
    stay.type = "button";
    stay.className = "primary";
    stay.textContent = word("Stay signed in");
    stay.addEventListener("click", async () => {
      const headers = JSON.parse(document.body.getAttribute("hx-headers"));
      const answer = await fetch(`${root}account/stay`, { method: "POST", headers }).catch(() => null);
      if (answer?.ok) note();
      look();
    });
    return stay;
  };
  const link = () => {
    const again = document.createElement("a");
    again.href = `${root}sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;
    again.textContent = word("Sign in again");
    return again;
  };
  let shown = "";
  const look = () => {
    const now = left();
    const minutes = Math.max(1, Math.ceil(now.ms / 60000));
    const time = minutes === 1 ? word("{number} minute", { number: minutes }) : word("{number} minutes", { number: minutes });
    const next = now.ms > WARN_MS ? "" : now.ms <= 0 ? "over" : `${now.idle} ${minutes}`;
    if (next === shown) return;
    shown = next;
    if (!next) place.replaceChildren();
    else if (next === "over") show(word("You have been signed out. A decision or comment that you began is kept as a draft."), link());
    else if (now.idle) show(word("You will be signed out in {time}, since nothing was done here.", { time }), button());
    else show(word("Your session ends in {time}. Save what you are writing, and sign in again.", { time }), null);
  };
  setInterval(look, 5000);
  document.addEventListener("visibilitychange", look);
})();
