// The list renews itself: counts and order, while the row that is being read stays where it is on the screen.
"use strict";
(() => {
  const list = () => document.getElementById("list");
  const seconds = Number(list()?.dataset.renew);
  if (!seconds) return;
  const FIRST_PAGE = 50;
  const numberOf = (row) => row?.getAttribute("href").match(/\/cases\/(\d+)/)?.[1];
  const rows = (from) => [...from.querySelectorAll("a.row")];
  const say = (text, late) => {
    const place = document.querySelector("[data-renewed]");
    if (!place) return;
    place.textContent = text;
    place.classList.toggle("warn", Boolean(late));
  };
  let over = false;
  document.addEventListener("pointerover", (event) => { over = Boolean(event.target.closest?.("#list .cases")); });
  let last = new Date();
  const { lang, dataset } = document.documentElement;
  const clock = (moment) => moment.toLocaleTimeString(lang, { timeZone: dataset.zone || undefined });

  // The row that has the focus, or else the first that is seen, unless one is at the top and only looks on.
  const anchor = () => {
    const focused = document.activeElement.closest?.("#list a.row");
    if (focused) return focused;
    if (scrollY === 0 && !over) return null;
    const top = document.querySelector(".top").getBoundingClientRect().bottom;
    return rows(list()).find((row) => row.getBoundingClientRect().bottom > top) ?? null;
  };
  const replace = (fresh) => {
    const kept = anchor();
    const number = numberOf(kept);
    const place = kept?.getBoundingClientRect().top;
    const focus = kept && kept === document.activeElement;
    const now = fresh.querySelector("#list");
    // What is being read has left the list: nothing moves until one looks elsewhere.
    const same = number && rows(now).find((row) => numberOf(row) === number);
    if (kept && !same) return false;
    const chosen = new Set([...list().querySelectorAll("input.choose:checked")].map((box) => box.value));
    for (const box of now.querySelectorAll("input.choose")) box.checked = chosen.has(box.value);
    list().replaceWith(now);
    window.htmx?.process(now);
    if (same) {
      scrollBy({ top: same.getBoundingClientRect().top - place, behavior: "instant" });
      if (focus) same.focus({ preventScroll: true });
    }
    return true;
  };
  const renew = async () => {
    const answer = await fetch(location.href, { headers: { "HX-Request": "true" } }).catch(() => null);
    if (!answer?.ok) {
      say(`. ${word("Not renewed since {time}.", { time: clock(last) })}`, true);
      return;
    }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const lanes = fresh.getElementById("lanes");
    if (lanes) document.getElementById("lanes").replaceWith(document.adoptNode(lanes));
    last = new Date();
    const before = rows(list()).map(numberOf);
    const after = rows(fresh.querySelector("#list")).map(numberOf);
    // Further rows were asked for: they stay, and only what changed at the top is said.
    const longer = before.length > FIRST_PAGE;
    const changed = (longer ? before.slice(0, after.length) : before).join() !== after.join();
    const done = longer ? !changed : replace(fresh);
    say(done ? `, ${word("renewed at {time}", { time: clock(last) })}` : `. ${word("The list has changed at {time}; open it again to see the new order.", { time: clock(last) })}`, !done);
  };
  setInterval(renew, seconds * 1000);
})();

// Routine cases that are chosen to be discharged together, or alerts to be acknowledged.
document.addEventListener("click", (event) => {
  const all = event.target.closest("[data-choose-all]");
  if (!all && !event.target.closest("[data-choose-none]")) return;
  for (const box of document.querySelectorAll("input.choose")) box.checked = Boolean(all);
});
