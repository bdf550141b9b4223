// Two pictures on top of each other, and a slider that uncovers the one or the other; a button shows
// all of A or all of B.
const sliders = [...document.querySelectorAll(".pair input")];
document.querySelector("[data-flickers]")?.addEventListener("click", () => {
  const at = sliders[0].value === "100" ? "0" : "100";
  for (const slider of sliders) {
    slider.value = at;
    slider.dispatchEvent(new Event("input"));
  }
});
for (const slider of sliders) {
  const pictures = slider.closest(".pair").querySelector(".pair-pictures");
  const show = () => pictures.style.setProperty("--at", `${slider.value}%`);
  slider.addEventListener("input", show);
  show();
}
