// Choosing pictures and writing captions by keyboard; everything also works without this.
const gallery = document.getElementById("gallery");
const bar = document.getElementById("bulk");
const boxes = () => [...gallery.querySelectorAll(".pick input")];
const shots = () => [...gallery.querySelectorAll(".shot")];
let last = null;

function tell() {
  const count = boxes().filter((box) => box.checked).length;
  const all = bar.elements.everything.checked;
  const words = bar.querySelector(".chosen");
  words.textContent = all ? "" : count === 1 ? words.dataset.one : count ? words.dataset.many.replace("#", count) : "";
  bar.classList.toggle("idle", !count && !all);
}

function choose(box, { range = false } = {}) {
  const known = boxes();
  if (range && last && known.includes(last)) {
    const [from, to] = [known.indexOf(last), known.indexOf(box)].sort((a, b) => a - b);
    for (const one of known.slice(from, to + 1)) one.checked = box.checked;
  }
  last = box;
  tell();
}

function columns() {
  const all = shots();
  return all.filter((shot) => shot.offsetTop === all[0].offsetTop).length || 1;
}

function go(from, by) {
  const all = shots();
  const next = all[Math.max(0, Math.min(all.length - 1, all.indexOf(from) + by))];
  next?.querySelector(".look").focus();
  next?.scrollIntoView({ block: "nearest" });
}

if (gallery && bar) {
  tell();
  addEventListener("pageshow", tell);
  gallery.addEventListener("click", (event) => {
    const box = event.target.closest(".pick input");
    if (box) choose(box, { range: event.shiftKey });
    const look = event.target.closest(".look");
    if (look && (event.ctrlKey || event.metaKey || event.shiftKey)) {
      event.preventDefault();
      const own = look.closest(".shot").querySelector(".pick input");
      own.checked = !own.checked;
      choose(own, { range: event.shiftKey });
    }
  });
  bar.addEventListener("change", tell);
  bar.addEventListener("click", (event) => {
    if (!event.target.closest("[data-unchoose]")) return;
    for (const box of boxes()) box.checked = false;
    bar.elements.everything.checked = false;
    tell();
  });
  document.body.addEventListener("htmx:after:swap", tell);
  addEventListener("keydown", keys);
}

function keys(event) {
  if (document.querySelector("dialog[open]") || event.isComposing) return;
  const shot = event.target.closest?.(".shot");
  if (event.target.matches(".caption textarea")) {
    if (event.key === "Escape") shot.querySelector(".look").focus();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      const all = shots();
      const next = all[all.indexOf(shot) + 1]?.dataset.sha;
      event.target.blur();
      if (next) document.querySelector(`[data-sha="${next}"] textarea`).focus();
    }
    return;
  }
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && !event.target.closest("input, textarea, select")) {
    const undo = document.querySelector('[data-key="undo"]');
    if (undo) { event.preventDefault(); undo.form.requestSubmit(); }
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=checkbox]), textarea, select, summary, button")) return;
  const current = shot ?? shots()[0];
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() };
  if (event.key in moves) {
    event.preventDefault();
    go(current, shot ? moves[event.key] : 0);
  } else if (event.key === " " && shot) {
    event.preventDefault();
    const box = shot.querySelector(".pick input");
    box.checked = !box.checked;
    choose(box, { range: event.shiftKey });
  } else if (event.key === "e" && current) {
    event.preventDefault();
    const area = current.querySelector(".caption textarea");
    if (area.offsetParent) area.focus();
    else current.querySelector(".look").click(); // small pictures have no caption beside them
  } else if (event.key === "x" && current) {
    if (!boxes().some((box) => box.checked)) current.querySelector(".pick input").checked = true;
    bar.querySelector('[value="take-out"]').click();
  }
}
