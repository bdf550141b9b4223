// How bright a picture is: shares of 64 steps from black to white, and what is at either end.
const STEPS = 64;
const SIDE = 256; // it is looked at this small
const part = document.querySelector("[data-histogram]");
const picture = document.querySelector(".stage .frame img");

function show() {
  const scale = Math.min(1, SIDE / Math.max(picture.naturalWidth, picture.naturalHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(picture.naturalHeight * scale));
  const drawing = canvas.getContext("2d", { willReadFrequently: true });
  drawing.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const pixels = drawing.getImageData(0, 0, canvas.width, canvas.height).data;
  const counts = new Array(STEPS).fill(0);
  let black = 0, white = 0;
  for (let at = 0; at < pixels.length; at += 4) {
    const light = 0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2];
    counts[Math.floor((light * STEPS) / 256)]++;
    black += light < 4;
    white += light > 251;
  }
  // One step that stands out, such as a white background, does not flatten the others.
  const most = [...counts].sort((a, b) => b - a)[2] || Math.max(...counts);
  const heights = counts.map((count) => 64 * Math.min(1, count / most));
  const width = 256 / STEPS;
  const tops = heights.map((height, step) => `V${(64 - height).toFixed(1)}H${(step + 1) * width}`);
  part.querySelector("path").setAttribute("d", `M0 64${tops.join("")}V64Z`);
  const share = (count) => (count / (pixels.length / 4)).toLocaleString(document.documentElement.lang, { style: "percent", maximumFractionDigits: 1 });
  part.querySelector("p").textContent = part.dataset.words.replace("{black}", share(black)).replace("{white}", share(white));
}

if (part && picture) {
  if (picture.complete && picture.naturalWidth) show();
  else picture.addEventListener("load", show, { once: true });
}
