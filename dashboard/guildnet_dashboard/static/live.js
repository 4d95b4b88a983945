// Keeps a page as new as the repository: relative times, and a swap of the page's parts when a
// commit touches what it shows. Without it every page still reads, with absolute times.
"use strict";

const STEPS = [[60, "second"], [60, "minute"], [24, "hour"], [30, "day"], [12, "month"], [Infinity, "year"]];
const words = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });

function relative(then) {
  let amount = (then - Date.now()) / 1000;
  if (Math.abs(amount) < 5) return "now";
  for (const [size, unit] of STEPS) {
    if (Math.abs(amount) < size) return words.format(Math.round(amount), unit);
    amount /= size;
  }
  return "";
}

function tellTimes() {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const then = Date.parse(element.dateTime);
    if (!Number.isNaN(then)) element.textContent = relative(then);
  }
}

function addCopyButtons() {
  if (!navigator.clipboard) return;
  for (const code of document.querySelectorAll("[data-copy]:not([data-copied])")) {
    code.dataset.copied = "";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    code.after(button);
  }
}

function decorate() {
  tellTimes();
  addCopyButtons();
}

function tell(state, word) {
  const element = document.querySelector("[data-live-state]");
  element.dataset.liveState = state;
  element.querySelector("[data-live-word]").textContent = word;
}

// What people opened, typed or scrolled to stays as they left it.
function replacePart(old, fresh) {
  for (const details of fresh.querySelectorAll("details[id]")) {
    const before = old.querySelector(`#${CSS.escape(details.id)}`);
    if (before) details.open = before.open;
  }
  const focus = document.activeElement;
  const typed = focus && focus.id && old.contains(focus) && "value" in focus ? focus : null;
  old.replaceWith(document.importNode(fresh, true));
  if (typed) {
    const again = document.getElementById(typed.id);
    if (again) {
      again.value = typed.value;
      again.focus();
      again.setSelectionRange?.(typed.selectionStart, typed.selectionEnd);
    }
  }
}

let fetching = false;
let again = false;

async function refresh() {
  if (fetching) { again = true; return; }
  fetching = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok && answer.status !== 404 && answer.status !== 503) throw new Error(answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (page.body.dataset.build !== document.body.dataset.build) { location.reload(); return; }
    for (const fresh of page.querySelectorAll("[data-swap]")) {
      const old = document.querySelector(`[data-swap="${fresh.dataset.swap}"]`);
      if (old && old.innerHTML !== fresh.innerHTML) replacePart(old, fresh);
    }
    document.title = page.title;
    document.body.dataset.live = page.body.dataset.live;
    document.body.dataset.revision = page.body.dataset.revision;
    decorate();
    if (events?.readyState === EventSource.OPEN) tell("on", "Live");
  } catch {
    tell("lost", "Trying again");
    setTimeout(refresh, 3000);
  } finally {
    fetching = false;
    if (again) { again = false; refresh(); }
  }
}

function concerns(places) {
  const live = document.body.dataset.live;
  if (live === "*" || !places) return true;
  if (live.includes("/")) return places.includes(live) || places.includes(live.split("/")[0]);
  return places.some((place) => place === live || place.startsWith(`${live}/`));
}

let events = null;

// Only a page that is looked at listens: browsers open few connections to one host, and a
// listener in each of many tabs would leave none for pages.
function listen() {
  events?.close();
  events = new EventSource("/api/events");
  events.addEventListener("hello", (event) => {
    tell("on", "Live");
    if (JSON.parse(event.data).revision !== document.body.dataset.revision) refresh();
  });
  events.addEventListener("change", (event) => {
    const data = JSON.parse(event.data);
    if (concerns(data.places)) refresh();
    else document.body.dataset.revision = data.revision;
  });
  events.addEventListener("error", () => {
    tell("lost", "Reconnecting");
    if (events.readyState === EventSource.CLOSED) setTimeout(listenIfSeen, 3000);
  });
}

function listenIfSeen() {
  const isSeen = !document.hidden && document.body.dataset.live;
  if (isSeen) listen();
  else events?.close();
}

document.addEventListener("visibilitychange", listenIfSeen);
window.addEventListener("pagehide", () => events?.close());
window.addEventListener("pageshow", (event) => { if (event.persisted) listenIfSeen(); });
decorate();
setInterval(tellTimes, 15000);
listenIfSeen();
