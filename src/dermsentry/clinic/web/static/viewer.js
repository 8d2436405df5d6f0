// Zoom and pan of a photograph: wheel, drag, pinch, buttons, keys. The saliency map moves with it.
"use strict";
document.querySelectorAll("[data-viewer]").forEach((viewer) => {
  const stage = viewer.querySelector(".stage");
  const canvas = viewer.querySelector(".canvas");
  const saliency = viewer.querySelector(".saliency");
  const help = viewer.querySelector(".saliency-help");
  const MOST = 12;
  let scale = 1, x = 0, y = 0;
  const fingers = new Map();

  const view = viewer.querySelector(".view");
  // As large as it fits: a small photograph is enlarged, a large one made smaller, its shape kept.
  const fit = () => {
    if (!view.naturalWidth) return;
    const most = Math.min(innerHeight * 0.7, 900);
    const width = Math.min(stage.clientWidth, (most * view.naturalWidth) / view.naturalHeight);
    view.style.width = `${Math.floor(width)}px`;
    view.style.maxHeight = "none";
    draw();
  };
  const draw = () => {
    const { width, height } = stage.getBoundingClientRect();
    x = Math.min(0, Math.max(width * (1 - scale), x));
    y = Math.min(0, Math.max(height * (1 - scale), y));
    canvas.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    stage.classList.toggle("zoomed", scale > 1);
  };
  const zoom = (factor, atX, atY) => {
    const box = stage.getBoundingClientRect();
    const px = atX === undefined ? box.width / 2 : atX - box.left;
    const py = atY === undefined ? box.height / 2 : atY - box.top;
    const next = Math.min(MOST, Math.max(1, scale * factor));
    x = px - (px - x) * (next / scale);
    y = py - (py - y) * (next / scale);
    scale = next;
    draw();
  };
  const whole = () => { scale = 1; x = 0; y = 0; draw(); };

  stage.addEventListener("wheel", (event) => {
    // The wheel scrolls the page until one has turned to the photograph.
    if (scale === 1 && !event.ctrlKey && document.activeElement !== stage) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, event.clientX, event.clientY);
  }, { passive: false });
  stage.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (scale > 1) stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    const from = fingers.get(event.pointerId);
    if (!from) return;
    const to = [event.clientX, event.clientY];
    if (fingers.size === 2) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
      const apart = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]) || 1;
      zoom(apart(to) / apart(from), (to[0] + other[0]) / 2, (to[1] + other[1]) / 2);
    } else if (scale > 1) {
      x += to[0] - from[0];
      y += to[1] - from[1];
      draw();
    }
    fingers.set(event.pointerId, to);
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"])
    stage.addEventListener(end, (event) => fingers.delete(event.pointerId));
  stage.addEventListener("dblclick", (event) => (scale > 1 ? whole() : zoom(3, event.clientX, event.clientY)));
  stage.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
    if (!step || scale === 1) return;
    event.preventDefault();
    x += step[0];
    y += step[1];
    draw();
  });
  viewer.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.zoom === "in") zoom(1.5);
    if (button.dataset.zoom === "out") zoom(1 / 1.5);
    if (button.dataset.zoom === "fit") whole();
    if ("saliency" in button.dataset) {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      saliency.hidden = help.hidden = !shown;
    }
  });
  addEventListener("resize", fit);
  view.addEventListener("load", fit);
  fit();
  viewer.querySelectorAll("img").forEach((image) => image.addEventListener("error", () => {
    image.hidden = true;
    window.dermsentrySay(word("An image of this case cannot be shown."));
  }));
});
