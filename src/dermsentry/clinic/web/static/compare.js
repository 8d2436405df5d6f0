// Two photographs: a slider between them, flicker, or side by side; they zoom and move together.
"use strict";
document.querySelectorAll("[data-compare]").forEach((root) => {
  const panes = [...root.querySelectorAll(".pane")];
  const over = root.querySelector(".over");
  const slide = root.querySelector("#slide");
  const shown = root.querySelector("[data-shown]");
  const run = root.querySelector("[data-run]");
  const outlines = root.querySelector(".outlines");
  let scale = 1, x = 0, y = 0, from = null, timer = null, later = false; // x, y in shares of a pane

  const draw = () => {
    x = Math.min(0, Math.max(1 - scale, x));
    y = Math.min(0, Math.max(1 - scale, y));
    for (const pane of panes) {
      const box = pane.getBoundingClientRect();
      pane.querySelector(".layers").style.transform = `translate(${x * box.width}px, ${y * box.height}px) scale(${scale})`;
      pane.classList.toggle("zoomed", scale > 1);
    }
  };
  const zoom = (factor, atX = 0.5, atY = 0.5) => {
    const next = Math.min(12, Math.max(1, scale * factor));
    x = atX - (atX - x) * (next / scale);
    y = atY - (atY - y) * (next / scale);
    scale = next;
    draw();
  };
  const place = (pane, event) => {
    const box = pane.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  const stop = () => { clearInterval(timer); timer = null; if (run) { run.textContent = word("Start"); run.setAttribute("aria-pressed", "false"); } };
  const turn = () => {
    later = !later;
    over.style.visibility = later ? "visible" : "hidden";
    if (!timer) shown.textContent = later ? word("Later") : word("Earlier");
  };
  const choose = (mode) => {
    root.dataset.mode = mode;
    root.querySelectorAll("button[data-mode]").forEach((own) => own.setAttribute("aria-pressed", String(own.dataset.mode === mode)));
    root.querySelectorAll("[data-for]").forEach((own) => { own.hidden = own.dataset.for !== mode; });
    stop();
    if (!over) return draw();
    over.style.visibility = mode === "beside" ? "hidden" : "visible";
    over.style.clipPath = mode === "slider" ? `inset(0 0 0 ${slide.value}%)` : "none";
    later = true;
    draw();
  };
  for (const pane of panes) {
    pane.addEventListener("wheel", (event) => {
      if (scale === 1 && !event.ctrlKey && document.activeElement !== pane) return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, ...place(pane, event));
    }, { passive: false });
    pane.addEventListener("pointerdown", (event) => {
      if (scale === 1) return;
      from = place(pane, event);
      pane.setPointerCapture(event.pointerId);
    });
    pane.addEventListener("pointermove", (event) => {
      if (!from) return;
      const to = place(pane, event);
      x += to[0] - from[0];
      y += to[1] - from[1];
      from = to;
      draw();
    });
    for (const end of ["pointerup", "pointercancel"]) pane.addEventListener(end, () => { from = null; });
    pane.addEventListener("dblclick", (event) => (scale > 1 ? zoom(1 / scale) : zoom(3, ...place(pane, event))));
    pane.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
      if (!step || scale === 1) return;
      event.preventDefault();
      x += step[0];
      y += step[1];
      draw();
    });
  }
  root.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.mode) choose(button.dataset.mode);
    if (button.dataset.zoom === "in") zoom(1.5);
    if (button.dataset.zoom === "out") zoom(1 / 1.5);
    if (button.dataset.zoom === "fit") zoom(1 / scale);
    if ("turn" in button.dataset) { stop(); turn(); }
    if ("run" in button.dataset) {
      if (timer) return stop();
      timer = setInterval(turn, 800);
      shown.textContent = "";
      button.textContent = word("Stop");
      button.setAttribute("aria-pressed", "true");
    }
    if ("outlines" in button.dataset) {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      outlines.toggleAttribute("hidden", !on);
      root.querySelector("[data-for-outlines]").hidden = !on;
    }
  });
  slide?.addEventListener("input", () => choose("slider"));
  addEventListener("resize", draw);
  choose(root.dataset.mode);
});
