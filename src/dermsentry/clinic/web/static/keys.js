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

  // What a key would change must be seen first; a part of the photograph is enough to zoom into it.
  const seen = (element) => {
    const shown = element.closest("[data-viewer]") || element.closest("label") || element;
    const own = shown.getBoundingClientRect();
    const top = document.querySelector(".top").getBoundingClientRect().bottom;
    if (shown.matches("[data-viewer]")) return own.bottom > top && own.top < innerHeight;
    if (own.top < top - 1 || own.bottom > innerHeight + 1) return false; // a fraction of a pixel is no matter
    // Nothing lies over it, such as the bar that saves; a notice may, which people can close.
    return [own.top + 2, own.bottom - 2].every((y) => {
      const found = document.elementsFromPoint(own.left + Math.min(own.width / 2, 12), y);
      const first = found.find((one) => !one.closest("#notices"));
      return Boolean(first) && shown.contains(first);
    });
  };

  const act = (key) => {
    if (key === "j" && walk(1)) return true;
    if (key === "k" && walk(-1)) return true;
    if (key === "o") {
      const row = document.activeElement.closest("a.row") || document.querySelector(".cases a.row");
      row?.click();
      return Boolean(row);
    }
    if (key === "m") {
      const box = document.activeElement.closest("a.row")?.parentElement.querySelector("input.choose");
      box?.click();
      return Boolean(box);
    }
    const wanted = key === "=" ? "+" : key;
    const element = document.querySelector(`[data-key="${CSS.escape(wanted)}"]`);
    if (!element || element.closest("[hidden]")) return false;
    if (element.matches("input[type=search], input[type=text], input:not([type])")) element.focus();
    else if (!element.matches("a, [data-opens]") && !seen(element)) {
      // The whole form where it fits, so that the next keys act at once.
      const form = element.closest("form[data-decide]");
      const room = innerHeight - document.querySelector(".top").offsetHeight;
      if (form && form.offsetHeight < room) form.closest(".panel").scrollIntoView({ block: "start" });
      dispatchEvent(new Event("scroll")); // what follows the window's height does so at once
      if (!seen(element)) (element.closest("fieldset") || element).scrollIntoView({ block: "center" });
      window.dermsentrySay(word("This is what the key is for. Press it again to use it."));
    } else {
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
