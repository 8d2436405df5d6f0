// Runs before anything is drawn: applies the theme chosen in this browser, if any.
"use strict";
// A text of the scripts in the page's language; `words.CODE.js` holds those that are not English.
window.word = (text, values = {}) =>
  (window.words?.[text] ?? text).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
(() => {
  const root = document.documentElement;
  const kept = localStorage.getItem("theme");
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-toggle]")) return;
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    root.dataset.theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
  });
})();
