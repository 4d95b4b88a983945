// Keeps a page up to date: shows relative times, and replaces parts of the page when a commit
// changes what it shows. Pages also work without it, with absolute times.
"use strict";

const STEPS = [[60, "second"], [60, "minute"], [24, "hour"], [30, "day"], [12, "month"], [Infinity, "year"]];
const relativeTime = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });

function relative(then) {
  let amount = (then - Date.now()) / 1000;
  if (Math.abs(amount) < 5) return "now";
  for (const [size, unit] of STEPS) {
    if (Math.abs(amount) < size) return relativeTime.format(Math.round(amount), unit);
    amount /= size;
  }
  return "";
}

function showRelativeTimes() {
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
  showRelativeTimes();
  addCopyButtons();
}

function setLiveState(state, text) {
  const element = document.querySelector("[data-live-state]");
  element.dataset.liveState = state;
  element.querySelector("[data-live-text]").textContent = text;
}

// Keeps open details, typed text and the cursor.
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
let refreshAgain = false;

async function refresh() {
  if (fetching) { refreshAgain = true; return; }
  fetching = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    // The session ended: loading the page leads to sign-in, and back.
    if (answer.status === 401) { location.reload(); return; }
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
    if (events?.readyState === EventSource.OPEN) setLiveState("on", "Live");
  } catch {
    setLiveState("lost", "Retrying");
    setTimeout(refresh, 3000);
  } finally {
    fetching = false;
    if (refreshAgain) { refreshAgain = false; refresh(); }
  }
}

function isAffected(places) {
  const live = document.body.dataset.live;
  if (live === "*" || !places) return true;
  if (live.includes("/")) return places.includes(live) || places.includes(live.split("/")[0]);
  return places.some((place) => place === live || place.startsWith(`${live}/`));
}

let events = null;

// Only a visible page listens: browsers limit the connections to one host, and listeners in many
// tabs would use them up.
function listen() {
  events?.close();
  events = new EventSource("/api/events");
  events.addEventListener("hello", (event) => {
    setLiveState("on", "Live");
    if (JSON.parse(event.data).revision !== document.body.dataset.revision) refresh();
  });
  events.addEventListener("change", (event) => {
    const data = JSON.parse(event.data);
    if (isAffected(data.places)) refresh();
    else document.body.dataset.revision = data.revision;
  });
  events.addEventListener("error", () => {
    setLiveState("lost", "Reconnecting");
    if (events.readyState === EventSource.CLOSED) setTimeout(() => { refresh(); listenIfVisible(); }, 3000);
  });
}

function listenIfVisible() {
  const isVisible = !document.hidden && document.body.dataset.live;
  if (isVisible) listen();
  else events?.close();
}

document.addEventListener("visibilitychange", listenIfVisible);
window.addEventListener("pagehide", () => events?.close());
window.addEventListener("pageshow", (event) => { if (event.persisted) listenIfVisible(); });
decorate();
setInterval(showRelativeTimes, 15000);
listenIfVisible();
