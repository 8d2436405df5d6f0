// Agreeing with the tier chooses the diagnosis that it implies, if it implies one and none was chosen already.
"use strict";
document.querySelectorAll("[data-decide]").forEach((form) => {
  let implied = null;
  form.addEventListener("change", (event) => {
    if (event.target.name === "diagnosis") implied = null;
    if (event.target.name !== "agrees") return;
    if (event.target.value !== "yes") {
      if (implied) implied.checked = false;
      implied = null;
    } else if (form.dataset.agreed && !form.querySelector("input[name=diagnosis]:checked")) {
      implied = form.querySelector(`input[name=diagnosis][value="${CSS.escape(form.dataset.agreed)}"]`);
      if (implied) implied.checked = true;
    }
  });
});

// What is opened in the form is scrolled to: in a low window all of it would open below the edge.
document.querySelectorAll(".asked .further > summary").forEach((summary) => {
  const asked = summary.closest(".asked");
  summary.addEventListener("click", () => {
    if (summary.parentElement.open) return;
    requestAnimationFrame(() => {
      asked.scrollTop += summary.getBoundingClientRect().top - asked.getBoundingClientRect().top;
    });
  });
});

// Beside the photograph the form takes what is left of the window's height, so that saving is always on the screen.
(() => {
  const panel = document.querySelector(".panel.decide");
  const header = document.querySelector(".top");
  if (!panel) return;
  const GAP = 10;
  const fit = () => {
    const beside = getComputedStyle(panel).position === "sticky";
    const top = Math.max(panel.getBoundingClientRect().top, header.offsetHeight);
    panel.style.maxHeight = beside ? `${Math.max(240, innerHeight - top - GAP)}px` : "";
  };
  addEventListener("resize", fit);
  addEventListener("scroll", fit, { passive: true });
  fit();
})();
