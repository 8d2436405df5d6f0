// A new alert shows in the title of every page until the list of cases or of alerts is looked at.
"use strict";
(() => {
  const EVERY_MS = 20000;
  const title = document.title;
  const { root } = document.documentElement.dataset;
  const lists = [root, `${root}alerts`].includes(location.pathname);
  const look = async () => {
    const since = Number(localStorage.getItem("alert") ?? -1);
    const answer = await fetch(`${root}alerts/new?since=${Math.max(0, since)}`, { headers: { "HX-Request": "true" } }).catch(() => null);
    if (!answer?.ok) return;
    const told = await answer.json();
    // In a browser that is new here, what is open already is not new; nor is what one looks at.
    if (since < 0 || (lists && document.hasFocus())) localStorage.setItem("alert", String(told.last));
    const fresh = since < 0 ? 0 : told.new;
    const words = fresh === 1 ? word("{number} new alert", { number: fresh }) : word("{number} new alerts", { number: fresh });
    document.title = fresh ? `(${words}) ${title}` : title;
  };
  look();
  setInterval(look, EVERY_MS);
  addEventListener("focus", look);
})();
