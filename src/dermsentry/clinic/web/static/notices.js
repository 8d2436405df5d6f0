// Errors while a part of a page is fetched are shown until they are closed.
"use strict";
(() => {
  const say = (text) => {
    const line = document.createElement("p");
    line.textContent = text + " ";
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = word("Close");
    close.addEventListener("click", () => line.remove());
    line.append(close);
    document.getElementById("notices").replaceChildren(line);
  };
  window.dermsentrySay = say;
  document.addEventListener("htmx:responseError", (event) => {
    let text = word("The request was refused.");
    try {
      const told = JSON.parse(event.detail.xhr.responseText);
      text = word("{problem} (request {number})", { problem: told.detail, number: told.request_id });
    } catch {
      text = word("The service responded with status {status}.", { status: event.detail.xhr.status });
    }
    say(text);
  });
  document.addEventListener("htmx:sendError", () => say(word("The service cannot be reached. Check the connection; retrying.")));
  // A form that was sent is not sent twice.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || event.defaultPrevented || form.matches("[data-upload]")) return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
  });
  addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));
  // After more rows have loaded, keyboard focus moves to the first of them.
  let before = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    const more = event.detail.target;
    before = more?.matches?.("li.more") ? more.previousElementSibling : null;
  });
  document.addEventListener("htmx:afterSettle", () => {
    const focused = document.activeElement;
    if (before && (!focused || focused === document.body)) before.nextElementSibling?.querySelector("a.row")?.focus();
    before = null;
  });
})();
