// The form of a new run: finding a setting, starting by key. The server does all the rest.
const form = () => document.getElementById("start");

function find(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of document.querySelectorAll(".section")) {
    let shown = 0;
    for (const setting of section.querySelectorAll(".setting")) {
      const own = setting.dataset.words.toLowerCase();
      setting.hidden = !words.every((word) => own.includes(word));
      shown += !setting.hidden;
    }
    section.hidden = words.length > 0 && !shown;
  }
}

document.addEventListener("input", (event) => event.target.id === "find" && find(event.target.value));
document.addEventListener("htmx:after:swap", () => {
  const input = document.getElementById("find");
  if (input?.value) find(input.value);
});

// Search is not a setting: it changes nothing on the server.
document.addEventListener("change", (event) => event.target.id === "find" && event.stopPropagation(), true);

addEventListener("keydown", (event) => {
  const command = event.ctrlKey || event.metaKey;
  if (command && event.key === "Enter") {
    event.preventDefault();
    document.activeElement?.blur();
    const go = document.getElementById("go");
    if (go.disabled) go.closest("section").scrollIntoView({ block: "nearest" });
    else form().requestSubmit(go);
  } else if (command && event.key === "k") {
    event.preventDefault();
    const all = document.getElementById("all");
    if (!all.checked) { all.checked = true; all.dispatchEvent(new Event("change", { bubbles: true })); }
    const input = document.getElementById("find");
    input.focus();
    input.select();
  } else if (event.key === "Enter" && event.target.matches?.("#start input:not([type=checkbox], [type=radio])")) {
    event.preventDefault(); // it would press a button; what was typed is taken over instead
    const input = event.target;
    if (input.id !== "find") input.blur(), input.focus();
  }
});

// One start a click: the server makes it once anyway, by the form's key.
document.addEventListener("submit", (event) => {
  if (event.target.id === "start" && event.submitter?.id === "go") setTimeout(() => (event.submitter.disabled = true));
});
addEventListener("pageshow", (event) => event.persisted && location.reload());
