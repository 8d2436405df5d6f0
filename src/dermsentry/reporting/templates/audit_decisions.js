"use strict";
// Filters what was found, keeps what is decided on this computer, and writes it as decisions.csv.
(() => {
  const part = document.getElementById("decide");
  const cards = [...part.querySelectorAll("figure[data-path]")];
  const show = document.getElementById("show-kind");
  const label = document.getElementById("show-label");
  const open = document.getElementById("show-open");
  const count = document.getElementById("decided");
  const save = document.getElementById("save-decisions");
  const place = "dermsentry-decisions-" + part.dataset.fingerprint;

  const decisionOf = (card) => {
    const chosen = card.querySelector("input[type=radio]:checked");
    const diagnosis = card.querySelector("select").value;
    if (!chosen || (chosen.value === "relabel" && !diagnosis)) return null;
    return [chosen.value, chosen.value === "relabel" ? diagnosis : ""];
  };

  const kept = () => {
    try { return JSON.parse(localStorage.getItem(place)) || {}; } catch { return {}; }
  };

  const draw = () => {
    let shown = 0;
    let decided = 0;
    for (const card of cards) {
      const done = decisionOf(card) !== null;
      decided += done;
      card.classList.toggle("done", done);
      const fits = (!show.value || card.dataset.kinds.split("|").includes(show.value))
        && (!label.value || card.dataset.given === label.value)
        && !(open.checked && done && !card.contains(document.activeElement));
      card.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} shown, ${decided} of ${cards.length} decided`;
    save.disabled = decided === 0;
  };

  const keep = () => {
    const all = {};
    for (const card of cards) {
      const decision = decisionOf(card);
      if (decision) all[card.dataset.path] = decision;
    }
    try { localStorage.setItem(place, JSON.stringify(all)); } catch { /* the page still writes the table */ }
  };

  const before = kept();
  for (const card of cards) {
    const [choice, diagnosis] = before[card.dataset.path] || [];
    const select = card.querySelector("select");
    if (choice) card.querySelector(`input[value="${choice}"]`).checked = true;
    if (diagnosis) select.value = diagnosis;
    card.addEventListener("change", (event) => {
      if (event.target === select && select.value) card.querySelector("input[value=relabel]").checked = true;
      if (event.target.value === "relabel" && !select.value) select.focus();
      keep();
      draw();
    });
  }
  for (const control of [show, label, open]) control.addEventListener("change", draw);

  const field = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  save.addEventListener("click", () => {
    const lines = [["path", "image_id", "decision", "diagnosis", "given", "found"]];
    for (const card of cards) {
      const decision = decisionOf(card);
      if (decision) {
        lines.push([card.dataset.path, card.dataset.image, ...decision, card.dataset.given,
          card.dataset.kinds.replaceAll("|", "; ")]);
      }
    }
    const text = lines.map((line) => line.map(field).join(",") + "\n").join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = "decisions.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
  part.querySelector(".filters").hidden = false;
  draw();
})();
