// What one has begun to decide or to say is kept as a draft, a moment after each change and when the page is left.
"use strict";
document.querySelectorAll("form[data-draft]").forEach((form) => {
  let timer = 0;
  let changed = false;
  const said = form.querySelector("[data-draft-state]");
  const keep = async () => {
    clearTimeout(timer);
    if (!changed || form.dataset.sent) return;
    changed = false;
    const fields = new URLSearchParams(new FormData(form));
    fields.set("form", form.dataset.form);
    const answer = await fetch(form.dataset.draft, { method: "POST", body: fields, keepalive: true }).catch(() => null);
    if (answer?.ok) window.dermsentrySeen?.();
    else changed = true;
    said.textContent = answer?.ok
      ? word("Draft kept.")
      : answer?.status === 401
        ? word("The draft cannot be kept: you have been signed out. Sign in in another tab, then change something here.")
        : word("The draft cannot be kept at the moment.");
  };
  const soon = () => {
    changed = true;
    clearTimeout(timer);
    timer = setTimeout(keep, 700);
  };
  form.addEventListener("input", soon);
  form.addEventListener("change", soon);
  document.addEventListener("visibilitychange", () => { if (document.hidden) keep(); });
  addEventListener("pagehide", keep);
});
