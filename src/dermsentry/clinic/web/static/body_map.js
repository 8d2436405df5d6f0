// A click on the body map chooses the region and the point to file a lesion at; choosing a region does without a point.
"use strict";
document.querySelectorAll("[data-body-map]").forEach((map) => {
  const form = map.querySelector("form.file");
  if (!form) return;
  const { region, lesion, x, y } = form.elements;
  const told = form.querySelector("[data-aim]");
  const naming = form.querySelector("[data-new]");
  map.classList.add("clickable");

  const show = (svg, point) => {
    map.querySelectorAll(".aim").forEach((own) => own.remove());
    map.querySelectorAll(".region").forEach((own) => own.classList.toggle("chosen", own.dataset.region === region.value));
    const name = region.value ? region.selectedOptions[0].textContent : "";
    told.textContent = name ? word("At: {region}", { region: name }) : "";
    if (!point) return;
    const aim = document.createElementNS("http://www.w3.org/2000/svg", "path");
    aim.setAttribute("class", "aim");
    aim.setAttribute("d", `M${point.x - 6},${point.y} h12 M${point.x},${point.y - 6} v12`);
    svg.append(aim);
  };
  map.addEventListener("click", (event) => {
    const hit = event.target.closest(".region");
    if (!hit) return;
    const svg = hit.ownerSVGElement;
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    region.value = hit.dataset.region;
    x.value = point.x.toFixed(1);
    y.value = point.y.toFixed(1);
    show(svg, point);
    form.scrollIntoView({ block: "nearest" });
    lesion.focus({ preventScroll: true });
  });
  region.addEventListener("change", () => { x.value = y.value = ""; show(); });
  const choose = () => { naming.hidden = lesion.value !== ""; };
  lesion.addEventListener("change", choose);
  choose();
});
