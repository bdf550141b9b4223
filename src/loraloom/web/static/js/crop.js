// The part of a picture that is used, drawn on it; the four numbers of the form are what counts.
const frame = document.querySelector("[data-crop] svg");
const form = document.getElementById("crop");
const area = document.querySelector("#words textarea");

if (frame && form) {
  const size = [Number(form.dataset.width), Number(form.dataset.height)];
  const names = ["left", "top", "width", "height"];
  const box = frame.querySelector(".box");
  const bucket = frame.querySelector(".bucket");
  const read = () => names.map((name) => Number(form.elements[name].value) || 0);
  let drag = null;

  const point = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(frame.getScreenCTM().inverse());
    return [at.x, at.y].map((value, side) => Math.round(Math.max(0, Math.min(size[side], value))));
  };
  const show = ([left, top, width, height]) => {
    box.setAttribute("x", left);
    box.setAttribute("y", top);
    box.setAttribute("width", width);
    box.setAttribute("height", height);
    frame.querySelector(".shade").setAttribute("d", `M0 0H${size[0]}V${size[1]}H0Z M${left} ${top}h${width}v${height}h-${width}Z`);
    bucket?.setAttribute("visibility", "hidden");
  };
  const write = (values) => {
    names.forEach((name, number) => (form.elements[name].value = values[number]));
    show(values);
  };

  frame.addEventListener("pointerdown", (event) => {
    const at = point(event);
    const now = read();
    const whole = now[2] === size[0] && now[3] === size[1];
    const inside = at[0] > now[0] && at[0] < now[0] + now[2] && at[1] > now[1] && at[1] < now[1] + now[3];
    drag = { at, now, moves: inside && !whole };
    frame.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  frame.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [x, y] = point(event);
    if (drag.moves) {
      const left = Math.max(0, Math.min(size[0] - drag.now[2], drag.now[0] + x - drag.at[0]));
      const top = Math.max(0, Math.min(size[1] - drag.now[3], drag.now[1] + y - drag.at[1]));
      write([left, top, drag.now[2], drag.now[3]]);
    } else if (Math.abs(x - drag.at[0]) > 15 && Math.abs(y - drag.at[1]) > 15) {
      write([Math.min(x, drag.at[0]), Math.min(y, drag.at[1]), Math.abs(x - drag.at[0]), Math.abs(y - drag.at[1])]);
    }
  });
  frame.addEventListener("pointerup", () => (drag = null));
  form.addEventListener("input", () => show(read()));
}

addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.isComposing) return;
  if (event.target === area) {
    if (event.key === "Escape") area.blur();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (area.dataset.next) area.form.elements.then.value = new URL(area.dataset.next, location).pathname + location.search;
      area.form.requestSubmit();
    }
    return;
  }
  if (event.target.closest("input, textarea, select") || event.altKey) return;
  if ((event.ctrlKey || event.metaKey) && event.key === "z") return document.querySelector('[data-key="undo"]')?.click();
  if (event.ctrlKey || event.metaKey) return;
  if (event.key === "ArrowLeft") document.querySelector('[rel="prev"]')?.click();
  if (event.key === "ArrowRight") document.querySelector('[rel="next"]')?.click();
  if (event.repeat) return;
  if (event.key === "[") document.querySelector('[name="quarters"][value="-1"]')?.click();
  if (event.key === "]") document.querySelector('[name="quarters"][value="1"]')?.click();
  if (event.key === "Escape") document.querySelector(".tabs a[aria-current]").click();
  if (event.key === "e") { event.preventDefault(); area.focus(); }
});

// A picture that is being rotated has another address afterwards: one turn at a time.
let turning = false;
addEventListener("submit", (event) => {
  if (!event.target.action.endsWith("/rotation")) return;
  if (turning) event.preventDefault();
  turning = true;
});
addEventListener("pageshow", () => (turning = false));
