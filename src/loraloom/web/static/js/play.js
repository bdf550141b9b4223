// Playground: triggers into the prompt, sliders with their numbers, seeds, keys.
const form = document.getElementById("ask");

function insert(words) {
  const prompt = document.getElementById("prompt");
  if (prompt.value.toLowerCase().includes(words.toLowerCase())) return prompt.focus();
  prompt.value = prompt.value.trim() ? `${words}, ${prompt.value}` : `${words}, `;
  prompt.focus();
}

document.addEventListener("click", (event) => {
  const chip = event.target.closest("[data-inserts]");
  if (chip) insert(chip.dataset.inserts);
  const idea = event.target.closest("[data-fills]");
  if (idea) document.getElementById(idea.dataset.fills).value = idea.textContent;
  const clearing = event.target.closest("[data-clears]");
  if (clearing) document.getElementById(clearing.dataset.clears).value = "";
});

// A slider and the number beside it are one value; only the number is sent.
document.addEventListener("input", (event) => {
  const both = event.target.closest(".strength");
  if (both) for (const field of both.querySelectorAll("input")) if (field !== event.target) field.value = event.target.value;
});

const isTyping = (element) => element.closest("input:not([type=checkbox], [type=range]), textarea, select");

addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && form) {
    event.preventDefault();
    document.getElementById("draw").click();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || document.querySelector("dialog[open]")) return;
  const go = (selector) => document.querySelector(selector)?.click();
  if (event.key === "r") go("[data-reuse]");
  else if (event.key === "ArrowLeft") go("[rel=prev]");
  else if (event.key === "ArrowRight") go("[rel=next]");
  else if (event.key === "Escape") go("[data-back]");
  else if (event.key === "b" && form) {
    const boxes = [...form.querySelectorAll("[name=on]")];
    const on = !boxes.some((box) => box.checked);
    for (const box of boxes) box.checked = on;
  }
});
