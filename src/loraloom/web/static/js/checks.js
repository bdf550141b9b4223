// Findings one by one by keyboard: [data-item] is one, [data-item-key] what a key presses in it.
const items = () => [...document.querySelectorAll("[data-item]")];
const current = () => document.activeElement.closest("[data-item]");

function go(by) {
  const all = items();
  const at = all.indexOf(current());
  const next = at < 0 ? all[0] : all[Math.max(0, Math.min(all.length - 1, at + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

// A page settles one thing: keys pressed after that would be for what comes in its place.
let sent = false;
addEventListener("submit", (event) => { sent = !event.defaultPrevented && event.target.method !== "dialog"; });
addEventListener("pageshow", () => { sent = false; });

addEventListener("keydown", (event) => {
  if (event.repeat || sent || event.isComposing || document.querySelector("dialog[open]") || event.target.closest("input, textarea, select")) return;
  if ((event.ctrlKey || event.metaKey) && event.key === "z") {
    const undo = document.querySelector('[data-key="undo"]');
    if (undo) { event.preventDefault(); undo.form.requestSubmit(); }
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "n" || event.key === "p") {
    event.preventDefault();
    go(event.key === "n" ? 1 : -1);
    return;
  }
  const item = current() ?? (event.key === "x" ? null : document.querySelector(".twin"));
  const pressed = item?.querySelector(`[data-item-key="${CSS.escape(event.key)}"]`);
  if (pressed) {
    event.preventDefault();
    pressed.click();
  }
});

// After one pair the next one is at hand; later than the browser goes to the fragment, which takes
// the focus away.
addEventListener("load", () => {
  if (location.hash !== "#near-duplicate") return;
  setTimeout(() => document.querySelector("#near-duplicate [data-item]")?.focus(), 50);
});
