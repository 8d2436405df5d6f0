// Single keys: an element with data-key="x" is clicked, or focused where it is a field; j, k and o walk the list.
"use strict";
(() => {
  const on = () => localStorage.getItem("keys") !== "off";
  const writes = (element) =>
    element.isContentEditable ||
    element.matches("textarea, select, input:not([type=radio]):not([type=checkbox]):not([type=submit])");

  const walk = (step) => {
    const rows = [...document.querySelectorAll(".cases a.row")];
    if (!rows.length) return false;
    const here = rows.indexOf(document.activeElement.closest("a.row"));
    const next = rows[here < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, here + step))];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
    if (next === rows.at(-1) && step > 0) document.querySelector(".more a")?.click();
    return true;
  };

  const act = (key) => {
    if (key === "j" && walk(1)) return true;
    if (key === "k" && walk(-1)) return true;
    if (key === "o") {
      const row = document.activeElement.closest("a.row") || document.querySelector(".cases a.row");
      row?.click();
      return Boolean(row);
    }
    const wanted = key === "=" ? "+" : key;
    const element = document.querySelector(`[data-key="${CSS.escape(wanted)}"]`);
    if (!element || element.closest("[hidden]")) return false;
    if (element.matches("input[type=search], input[type=text], input:not([type])")) element.focus();
    else {
      if (element.matches("input")) element.focus({ preventScroll: true });
      element.click();
    }
    return true;
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.key.length !== 1) return;
    if (!on() || writes(event.target) || document.querySelector("dialog[open]")) return;
    if (act(event.key)) event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && writes(event.target)) event.target.blur();
  });

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-opens]");
    if (opener) document.getElementById(opener.dataset.opens).showModal();
    const menu = event.target.closest(".menu");
    if (menu) menu.setAttribute("aria-expanded", String(menu.getAttribute("aria-expanded") !== "true"));
  });
  const show = () => {
    const toggle = document.querySelector("[data-keys-toggle]");
    if (toggle) toggle.checked = on();
    document.documentElement.classList.toggle("no-keys", !on());
  };
  document.addEventListener("change", (event) => {
    if (!event.target.matches("[data-keys-toggle]")) return;
    localStorage.setItem("keys", event.target.checked ? "on" : "off");
    show();
  });
  show();
})();
