// A photograph at its original size (OpenSeadragon), its saliency map over it, a scale, and points that measure.
"use strict";
document.querySelectorAll("[data-closely]").forEach((root) => {
  const { width, height, tile, levels, tiles, spacing } = root.dataset;
  const W = Number(width), H = Number(height), last = Number(levels) - 1, mm = spacing ? Number(spacing) : null;
  // The viewer would add a style that hides the keyboard's focus, which the pages' policy refuses, and adds none where
  // it finds one: this is an element of that name, and no style.
  const style = document.createElementNS(null, "style");
  style.setAttribute("data-openseadragon-mobile-css", "");
  document.head.append(style);
  const viewer = OpenSeadragon({
    element: root.querySelector("#deep"),
    showNavigationControl: false,
    drawer: "canvas",
    animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.4,
    visibilityRatio: 0.6,
    maxZoomPixelRatio: 8,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
    tileSources: {
      width: W, height: H, tileSize: Number(tile), minLevel: 0, maxLevel: last,
      getLevelScale: (level) => 0.5 ** (last - level),
      getTileUrl: (level, x, y) => `${tiles}${level}/${x}_${y}.jpg`,
    },
  });
  const failed = () => window.dermsentrySay(word("A part of this photograph cannot be shown."));
  viewer.addHandler("tile-load-failed", failed);
  viewer.canvas.setAttribute("role", "group");
  viewer.canvas.setAttribute("aria-label", word("Photograph: plus and minus zoom, arrow keys pan, 0 shows the whole image"));

  const saliency = root.querySelector(".saliency");
  const opacity = root.querySelector("#opacity");
  const veil = () => {
    saliency.hidden = opacity.value === "0";
    saliency.style.opacity = opacity.value / 100;
  };
  viewer.addHandler("open", () => {
    if (!saliency) return;
    viewer.addOverlay({ element: saliency, location: new OpenSeadragon.Rect(0, 0, 1, H / W) });
    veil();
  });
  opacity?.addEventListener("input", veil);

  // The scale: a round length, about a fifth of the view.
  const line = root.querySelector(".scale span"), length = root.querySelector(".scale b");
  const shown = (value) => value.toLocaleString(document.documentElement.lang, { maximumFractionDigits: value >= 100 ? 0 : value >= 10 ? 1 : 2, useGrouping: false });
  const scale = () => {
    const perPixel = viewer.viewport.viewportToImageZoom(viewer.viewport.getZoom(true)); // screen pixels of one of the image
    const most = (viewer.container.clientWidth / 4 / perPixel) * (mm ?? 1);
    const power = 10 ** Math.floor(Math.log10(most));
    const round = [5, 2, 1].find((own) => own * power <= most) * power;
    line.style.width = `${(round / (mm ?? 1)) * perPixel}px`;
    length.textContent = mm ? `${shown(round)} mm` : `${shown(round)} px`;
  };

  // Points, in pixels of the photograph.
  const svg = root.querySelector(".measure"), panel = root.querySelector(".measured"), told = root.querySelector("[data-read]");
  const button = root.querySelector("[data-measure]");
  let points = [], dragged = -1;
  const make = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const onScreen = ([x, y]) => viewer.viewport.imageToViewerElementCoordinates(new OpenSeadragon.Point(x, y));
  const inImage = (event) => {
    const box = viewer.container.getBoundingClientRect();
    const at = viewer.viewport.viewerElementToImageCoordinates(new OpenSeadragon.Point(event.clientX - box.left, event.clientY - box.top));
    return [Math.min(W, Math.max(0, at.x)), Math.min(H, Math.max(0, at.y))];
  };
  const apart = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
  const inUnits = (pixels, power = 1) => `${shown(pixels)} px${power === 2 ? "²" : ""}` + (mm ? ` (${shown(pixels * mm ** power)} mm${power === 2 ? "²" : ""})` : "");
  const read = () => {
    if (points.length < 2) return points.length ? word("One point: add another.") : word("Click on the photograph, or add points.");
    if (points.length === 2) return word("Length {length}.", { length: inUnits(apart(...points)) });
    let area = 0, around = 0, across = 0;
    points.forEach((a, i) => {
      const b = points[(i + 1) % points.length];
      area += (a[0] * b[1] - b[0] * a[1]) / 2;
      around += apart(a, b);
      for (const c of points) across = Math.max(across, apart(a, c));
    });
    return word("Area {area}, perimeter {around}, greatest diameter {across}.", { area: inUnits(Math.abs(area), 2), around: inUnits(around), across: inUnits(across) });
  };
  const draw = () => {
    scale();
    if (svg.hasAttribute("hidden")) return;
    const at = points.map(onScreen);
    const focused = [...svg.querySelectorAll("circle")].indexOf(document.activeElement);
    svg.replaceChildren(make(at.length > 2 ? "polygon" : "polyline", { points: at.map((p) => `${p.x},${p.y}`).join(" ") }),
      ...at.map((p, i) => make("circle", { cx: p.x, cy: p.y, r: 8, tabindex: 0, role: "button", "aria-label": word("Point {number}: arrow keys move it", { number: i + 1 }) })));
    if (focused >= 0) svg.querySelectorAll("circle")[focused]?.focus({ preventScroll: true });
    told.textContent = read();
  };
  const add = (point) => { points.push(point); draw(); };
  viewer.addHandler("open", draw);
  viewer.addHandler("update-viewport", draw);
  viewer.addHandler("canvas-click", (event) => {
    if (button.getAttribute("aria-pressed") !== "true" || !event.quick) return;
    event.preventDefaultAction = true;
    add(inImage(event.originalEvent));
  });
  svg.addEventListener("pointerdown", (event) => {
    dragged = [...svg.querySelectorAll("circle")].indexOf(event.target);
    if (dragged >= 0) svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => { if (dragged >= 0) { points[dragged] = inImage(event); draw(); } });
  for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => { dragged = -1; });
  svg.addEventListener("keydown", (event) => {
    const which = [...svg.querySelectorAll("circle")].indexOf(event.target);
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (which < 0 || !step) return;
    event.preventDefault();
    const by = event.shiftKey ? 10 : 1;
    const [x, y] = points[which];
    points[which] = [Math.min(W, Math.max(0, x + by * step[0])), Math.min(H, Math.max(0, y + by * step[1]))];
    draw();
  });
  root.addEventListener("click", (event) => {
    const own = event.target.closest("button");
    if (!own) return;
    if (own.dataset.zoom === "in") viewer.viewport.zoomBy(1.5);
    if (own.dataset.zoom === "out") viewer.viewport.zoomBy(1 / 1.5);
    if (own.dataset.zoom === "fit") viewer.viewport.goHome();
    if (own.dataset.zoom === "original") viewer.viewport.zoomTo(viewer.viewport.imageToViewportZoom(1));
    if (own.dataset.zoom) viewer.viewport.applyConstraints();
    if ("measure" in own.dataset) {
      const on = own.getAttribute("aria-pressed") !== "true";
      own.setAttribute("aria-pressed", String(on));
      svg.toggleAttribute("hidden", !on);
      panel.hidden = !on;
      draw();
    }
    if (own.dataset.point === "add") {
      const { x, y } = viewer.viewport.viewportToImageCoordinates(viewer.viewport.getCenter());
      const far = (W * viewer.viewport.getBounds().width) / 8, turn = points.length * 2.4; // round the middle of the view
      add([Math.min(W, Math.max(0, x - far * Math.cos(turn))), Math.min(H, Math.max(0, y - far * Math.sin(turn)))]);
    }
    if (own.dataset.point === "remove") { points.pop(); draw(); }
    if (own.dataset.point === "clear") { points = []; draw(); }
  });
});
