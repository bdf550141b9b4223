// Adapters: a file is imported as soon as it is chosen; texts are copied; tags are added.
import { notify } from "./studio.js";

document.addEventListener("change", (event) => {
  const form = event.target.closest("[data-import]");
  if (!form) return;
  form.classList.add("busy");
  form.submit();
});

document.addEventListener("click", async (event) => {
  const copier = event.target.closest("[data-copies]");
  if (copier) {
    await navigator.clipboard.writeText(document.getElementById(copier.dataset.copies).textContent);
    notify(copier.dataset.done);
  }
  const tag = event.target.closest("[data-adds-tag]");
  if (tag) {
    const field = document.getElementById("tags");
    const tags = field.value.split(",").map((word) => word.trim()).filter(Boolean);
    field.value = [...new Set([...tags, tag.dataset.addsTag])].join(", ");
    tag.closest("li").remove();
    field.focus();
  }
});
