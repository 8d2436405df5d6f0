// Agreeing means the model's likeliest diagnosis, unless one was chosen already.
"use strict";
document.querySelectorAll("[data-decide]").forEach((form) => {
  form.addEventListener("change", (event) => {
    if (event.target.name !== "agrees" || event.target.value !== "yes" || !form.dataset.likeliest) return;
    const likeliest = form.querySelector(`input[name=diagnosis][value="${CSS.escape(form.dataset.likeliest)}"]`);
    if (likeliest && !form.querySelector("input[name=diagnosis]:checked")) likeliest.checked = true;
  });
});
