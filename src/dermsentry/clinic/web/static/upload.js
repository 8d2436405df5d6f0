// One request for each photograph, three at a time, each with its progress; one that fails can be sent again.
"use strict";
document.querySelectorAll("[data-upload]").forEach((form) => {
  const input = form.querySelector("#photographs");
  const list = form.querySelector("[data-progress]");
  const drop = form.querySelector("[data-drop]");
  const AT_ONCE = 3;
  const waiting = [];
  let busy = 0;

  const fields = [...form.querySelectorAll("[data-about]")];
  const labels = Object.fromEntries(fields.map((field) => [field.name, field.labels[0].textContent]));
  const whose = (about) => about.filter(([name, value]) => value && name !== "note").map(([name, value]) => `${labels[name]} ${value}`).join(", ");

  const line = (file, about) => {
    const item = document.createElement("li");
    const name = document.createElement("b");
    name.textContent = file.name;
    const bar = document.createElement("progress");
    bar.max = 100;
    bar.value = 0;
    bar.setAttribute("aria-label", word("Uploading {file}", { file: file.name }));
    const words = document.createElement("span");
    words.textContent = ` ${word("waiting")}`;
    const of = document.createElement("span");
    of.className = "soft";
    of.textContent = whose(about) ? ` ${whose(about)} ` : " ";
    item.append(name, of, bar, words);
    list.append(item);
    return { item, bar, words };
  };
  const done = (shown, kind, text, job) => {
    shown.item.className = kind;
    shown.bar.remove();
    shown.words.textContent = text;
    const offer = (label, act) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.addEventListener("click", act);
      shown.item.append(" ", button);
    };
    if (kind === "failed") offer(word("Try again"), () => { shown.item.remove(); add(job.file, job.about); });
    // Only when asked for: details that stay by themselves would go to the next patient's photographs.
    if (kind === "refused" && job.about.some(([, value]) => value))
      offer(word("Use its details again"), () => {
        for (const [name, value] of job.about) form.elements[name].value = value;
        input.focus();
      });
  };
  const send = (job) => {
    const { file, about, shown } = job;
    const data = new FormData();
    for (const [name, value] of about) data.append(name, value);
    data.append("photographs", file, file.name);
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("X-CSRF-Token", form.elements.csrf.value);
    shown.words.textContent = ` ${word("uploading")}`;
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) shown.bar.value = (100 * event.loaded) / event.total;
    });
    const over = (kind, text) => {
      done(shown, kind, text, job);
      busy -= 1;
      next();
      document.body.dispatchEvent(new Event("sent"));
    };
    request.addEventListener("load", () => {
      let told = null;
      try { told = JSON.parse(request.responseText); } catch { /* said below */ }
      if (request.status === 200 && Array.isArray(told)) {
        const one = told[0];
        if (one.held) over("held", word("is held: {problem}", { problem: one.problem }));
        else if (one.problem) over("refused", word("was refused: {problem}", { problem: one.problem }));
        else over("kept", one.new ? word("saved as case {number}.", { number: one.case_id }) : word("already uploaded: case {number}.", { number: one.case_id }));
      } else if (request.status === 422 || request.status === 413) over("refused", word("was refused: {problem}", { problem: told?.detail ?? request.status }));
      else over("failed", told?.detail ? word("was not saved: {problem}", { problem: told.detail }) : word("was not saved: the service responded with status {status}.", { status: request.status }));
    });
    request.addEventListener("error", () => over("failed", word("was not uploaded: the service cannot be reached.")));
    request.send(data);
  };
  const next = () => {
    while (busy < AT_ONCE && waiting.length) {
      busy += 1;
      send(waiting.shift());
    }
  };
  const add = (file, about) => {
    const shown = line(file, about);
    if (file.size > Number(form.dataset.mostBytes)) {
      done(shown, "refused", word("was not uploaded: it is too large."), { file, about });
      return;
    }
    waiting.push({ file, about, shown });
    next();
  };
  const take = (files) => {
    const about = fields.map((field) => [field.name, field.value]);
    for (const file of files) add(file, about);
    input.value = "";
    for (const field of fields) field.value = "";
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    take([...input.files]);
  });
  for (const name of ["dragenter", "dragover"])
    drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  const choose = (files) => {
    const transfer = new DataTransfer();
    for (const file of [...input.files, ...files]) transfer.items.add(file);
    input.files = transfer.files;
  };
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    choose(event.dataTransfer.files);
    form.querySelector("button[type=submit]").focus();
  });
  // A phone's camera; with `multiple`, or DICOM among the types, many phones offer none.
  const camera = form.querySelector("[data-camera]");
  camera.hidden = !matchMedia("(pointer: coarse)").matches;
  camera.firstElementChild.addEventListener("change", (event) => {
    choose(event.target.files);
    event.target.value = "";
  });
  addEventListener("beforeunload", (event) => { if (busy) event.preventDefault(); });
});
