// What every page has: live news of jobs, keys that work everywhere, dialogs and notices.
const script = document.querySelector("script[data-worker]");

// One event stream for all tabs: browsers open only six connections to a host.
// Tells the page "jobs" (something changed) and "job:3" with the list of what happened; "back" after
// the connection was lost.
function listen() {
  if (!window.SharedWorker) return fallback();
  const worker = new SharedWorker(script.dataset.worker, { name: "loraloom-live" });
  worker.port.onmessage = ({ data }) => (data === "lost" || data === "back" ? connection(data) : tell(data));
  worker.port.start();
  addEventListener("pagehide", () => worker.port.postMessage("bye"), { once: true });
}

function fallback() {
  const source = new EventSource("/api/v1/events");
  let lost = false;
  source.onmessage = ({ data }) => tell(JSON.parse(data));
  source.onopen = () => { if (lost) { lost = false; connection("back"); } };
  source.onerror = () => { lost = true; connection("lost"); };
}

function tell(events) {
  const jobs = Map.groupBy(events, (event) => event.job);
  for (const [job, own] of jobs) {
    document.body.dispatchEvent(new CustomEvent(`job:${job}`, { detail: own }));
  }
  document.body.dispatchEvent(new CustomEvent("jobs", { detail: events }));
}

// Told only where it lasts, and where it is the server that is away: who is signed out gets an answer.
const offline = document.getElementById("offline");
let asking = 0;
async function askWhetherOffline() {
  const reached = await fetch("/api/v1/health", { cache: "no-store" }).then(({ status }) => status < 500, () => false);
  if (asking) offline.firstElementChild.hidden = reached;
}

function connection(state) {
  clearTimeout(asking);
  asking = state === "lost" ? setTimeout(askWhetherOffline, 2000) : 0;
  if (state !== "back") return;
  offline.firstElementChild.hidden = true;
  for (const name of ["jobs", "back"]) document.body.dispatchEvent(new CustomEvent(name, { detail: [] }));
}

export function notify(text, bad = false) {
  const notice = document.createElement("div");
  notice.className = bad ? "notice bad" : "notice";
  notice.dataset.passes = "";
  const words = document.createElement("p");
  words.textContent = text;
  notice.append(words);
  document.getElementById("notices").append(notice);
  pass(notice);
}

function pass(notice) {
  setTimeout(() => notice.remove(), 8000);
}

const isTyping = (element) => element.closest("input:not([type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable]");

let going = false;
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || event.isComposing) return;
  if (document.querySelector("dialog[open]") && event.key !== "?") return;
  if (going) {
    going = false;
    const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
    if (link) { event.preventDefault(); location.assign(link.href); }
  } else if (event.key === "g") {
    going = true;
    setTimeout(() => (going = false), 1500);
  } else if (event.key === "?") {
    document.getElementById("keys").showModal();
  } else if (event.key === "/") {
    const search = document.querySelector("[data-search]");
    if (search) { event.preventDefault(); search.focus(); search.select?.(); }
  }
});

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) {
    event.preventDefault(); // without script a link shows what its fragment names
    document.getElementById(opener.dataset.opens).showModal();
  }
  const closer = event.target.closest("dialog[open] [data-closes]");
  if (closer) {
    event.preventDefault();
    closer.closest("dialog").close();
  }
  event.target.closest("[data-dismisses]")?.closest(".notice").remove();
  if (event.target.closest("[data-collapses]")) {
    localStorage.narrow = document.body.classList.toggle("narrow") ? "1" : "";
  }
  for (const open of document.querySelectorAll("details.menu[open], details.help[open]")) {
    if (!open.contains(event.target)) open.open = false;
  }
  if (event.target.matches("dialog")) event.target.close();
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const open of document.querySelectorAll("details.menu[open], details.help[open]")) open.open = false;
});

document.body.classList.toggle("narrow", Boolean(localStorage.narrow));
document.querySelectorAll(".notice[data-passes]").forEach(pass);
addEventListener("pageshow", (event) => event.persisted && listen());
listen();
