"use strict";
// Filters the findings and shows a page of them; pictures are read for what is shown alone.
(() => {
  const DRAWN = 6;
  const NAMED = 50;
  const { kinds, names, photographs, findings } = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filters");
  const list = document.getElementById("list");
  const where = document.getElementById("where");
  const { kind, label, split, text, size } = form.elements;
  const count = new Intl.NumberFormat("en-GB");
  let page = 0;
  let fitting = [];

  const made = (name, content, className) => {
    const own = document.createElement(name);
    if (content) own.append(content);
    if (className) own.className = className;
    return own;
  };
  const splitName = (one) => (one ? one[0].toUpperCase() + one.slice(1) : "");
  const noted = ([, diagnosis, part]) => [names[diagnosis] || "no label", splitName(part)].filter(Boolean).join(", ");

  const choices = (select, values, told) => {
    for (const value of values) {
      const option = made("option", told(value) || "none");
      option.value = value;
      select.append(option);
    }
  };

  const picture = (number) => {
    const one = photographs[number];
    const figure = made("figure");
    if (one[3]) {
      const image = new Image();
      image.alt = noted(one);
      image.src = `findings/${number}.jpg`;
      figure.append(image);
    }
    const caption = made("figcaption");
    caption.append(made("b", noted(one)), made("br"));
    one[0].split("/").forEach((part, place) => {
      if (place) caption.append("/", made("wbr"));
      caption.append(part);
    });
    figure.append(caption);
    return figure;
  };

  const shown = (number) => {
    const [of, told, members] = findings[number];
    const item = made("li");
    const title = made("h2", kinds[of]);
    title.append(made("span", ` · ${count.format(number + 1)}${told ? ` · ${told}` : ""}`));
    const pictures = made("div", "", "shown");
    for (const member of members.slice(0, DRAWN)) pictures.append(picture(member));
    item.append(title, pictures);
    const rest = members.slice(DRAWN);
    if (rest.length) {
      const further = rest.slice(0, NAMED).map((member) => `${photographs[member][0]} (${noted(photographs[member])})`);
      if (rest.length > NAMED) further.push(`${count.format(rest.length - NAMED)} more in findings.csv`);
      item.append(made("p", further.join(" · "), "rest"));
    }
    return item;
  };

  const draw = () => {
    const most = Number(size.value);
    const last = Math.max(0, Math.ceil(fitting.length / most) - 1);
    page = Math.min(Math.max(page, 0), last);
    const first = page * most;
    const few = fitting.slice(first, first + most);
    list.replaceChildren(...few.map(shown));
    list.start = first + 1;
    where.textContent = few.length
      ? `${count.format(first + 1)} to ${count.format(first + few.length)} of ${count.format(fitting.length)} findings`
      : "No finding fits.";
    for (const button of document.querySelectorAll(".pages button")) {
      button.disabled = button.dataset.step < 0 ? page === 0 : page === last;
    }
  };

  const filter = () => {
    const wanted = text.value.trim().toLowerCase();
    const fits = ([of, told, members]) => {
      if (kind.value && of !== kind.value) return false;
      if (!label.value && split.value === "*" && !wanted) return true;
      if (label.value && !members.some((member) => photographs[member][1] === label.value)) return false;
      if (split.value !== "*" && !members.some((member) => photographs[member][2] === split.value)) return false;
      return !wanted || told.toLowerCase().includes(wanted)
        || members.some((member) => photographs[member][0].toLowerCase().includes(wanted));
    };
    fitting = [];
    findings.forEach((one, number) => { if (fits(one)) fitting.push(number); });
    page = 0;
    draw();
  };

  choices(label, Object.keys(names).sort((one, other) => names[one].localeCompare(names[other])), (own) => names[own]);
  choices(split, [...new Set(photographs.map((one) => one[2]))].sort(), splitName);
  const asked = () => {
    const own = decodeURIComponent(location.hash.slice(1));
    if (own in kinds) kind.value = own;
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  for (const button of document.querySelectorAll(".pages button")) {
    button.addEventListener("click", () => {
      page += Number(button.dataset.step);
      draw();
      document.getElementById("pages").scrollIntoView({ block: "start" });
    });
  }
  addEventListener("hashchange", () => { asked(); filter(); });
  for (const part of [form, ...document.querySelectorAll(".pages")]) part.hidden = false;
  asked();
  filter();
})();
