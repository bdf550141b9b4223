// Two pictures on top of each other, and a slider that uncovers the one or the other.
for (const slider of document.querySelectorAll(".pair input")) {
  const pictures = slider.closest(".pair").querySelector(".pair-pictures");
  const show = () => pictures.style.setProperty("--at", `${slider.value}%`);
  slider.addEventListener("input", show);
  show();
}
