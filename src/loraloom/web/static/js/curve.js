// The course of one run, or of two: loss, loss with fixed noise, learning rate.
const place = document.getElementById("curve");
const words = place.dataset;
const switches = Object.fromEntries([...document.querySelectorAll("[data-curve]")].map((one) => [one.dataset.curve, one]));
const MOST = 4000; // of points that came live; then the server is asked for fewer again
let runs = [];
let plot = null;

async function load() {
  const urls = [words.url, words.other].filter(Boolean);
  runs = await Promise.all(urls.map(async (url) => (await fetch(url)).json()));
  draw();
}

// An average of the past that forgets; unbiased at the beginning.
function smooth(values, share) {
  let sum = 0, weight = 0;
  return values.map((value) => {
    sum = share * sum + (1 - share) * value;
    weight = share * weight + (1 - share);
    return sum / weight;
  });
}

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Tables of columns, each with the steps first, and a look for every column.
function tables() {
  const share = switches.smooth.value / 100;
  const series = [], parts = [];
  runs.forEach((run, number) => {
    const colour = token(`--thread-${number + 1}`);
    const name = (key) => words[number ? `other${key[0].toUpperCase()}${key.slice(1)}` : key];
    const columns = [run.steps];
    if (runs.length === 1) {
      columns.push(run.loss);
      series.push({ label: name("loss"), stroke: colour + "55", width: 1, points: { show: false } });
    }
    columns.push(smooth(run.loss, share));
    series.push({ label: name("mean"), stroke: colour, width: 2, points: { show: run.steps.length < 3 } });
    if (switches.rate?.checked) {
      columns.push(run.learning_rate);
      series.push({ label: words.rate, stroke: token("--ink-soft"), width: 1, dash: [4, 4], scale: "rate", points: { show: false } });
    }
    parts.push(columns);
    if (run.validated.length) {
      const measured = [run.validated];
      const look = (label, stroke) => series.push({ label, stroke, width: 2, spanGaps: true, points: { show: true, size: 7, fill: stroke } });
      if (runs.length === 1) {
        measured.push(run.train_loss);
        look(words.train, token("--thread-3"));
      }
      if (run.held_out_loss.some((value) => value !== null)) {
        measured.push(run.held_out_loss);
        look(name("held"), runs.length === 1 ? token("--thread-2") : token(`--thread-${number + 3}`));
      }
      if (measured.length > 1) parts.push(measured);
    }
  });
  return { series, data: uPlot.join(parts) };
}

function axis(more) {
  return { stroke: token("--ink-soft"), grid: { stroke: token("--line"), width: 1 }, ticks: { stroke: token("--line") }, ...more };
}

function draw() {
  plot?.destroy();
  plot = null;
  place.replaceChildren();
  if (!runs.some((run) => run.steps.length)) {
    const note = document.createElement("div");
    note.className = "curve-empty";
    note.textContent = words.empty;
    place.append(note);
    return;
  }
  const { series, data } = tables();
  const small = (value) => (value === null || value === undefined ? "–" : Math.abs(value) < 0.01 && value ? value.toExponential(2) : value.toPrecision(4));
  const axes = [axis({}), axis({ size: 62 })];
  if (switches.rate?.checked) axes.push(axis({ scale: "rate", side: 1, size: 70, grid: { show: false }, values: (_, all) => all.map((value) => value.toExponential(0)) }));
  plot = new uPlot({
    width: place.clientWidth, height: 300, axes,
    scales: { x: { time: false }, y: { distr: switches.log.checked ? 3 : 1 } },
    series: [{ label: words.step }, ...series.map((one) => ({ value: (_, value) => small(value), ...one }))],
    hooks: { drawClear: [marks] },
  }, data, place);
}

// Where samples were drawn: a thin line.
function marks(self) {
  const { ctx, bbox } = self;
  ctx.save();
  ctx.strokeStyle = token("--line-strong");
  ctx.globalAlpha = 0.5;
  ctx.setLineDash([2, 4]);
  for (const step of runs.length === 1 ? runs[0].sampled : []) {
    const x = self.valToPos(step, "x", true);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

// News: single steps are added to the columns; a run that began anew is asked for again.
function hear(events) {
  const [run] = runs;
  if (!run) return;
  let news = false;
  for (const event of events) {
    if (event.id <= run.last) continue;
    if (event.event === "started") return load();
    if (event.event === "step") {
      run.steps.push(event.step);
      run.loss.push(event.loss);
      run.learning_rate.push(event.learning_rate);
    } else if (event.event === "validated") {
      run.validated.push(event.step);
      run.train_loss.push(event.train_loss);
      run.held_out_loss.push(event.held_out_loss);
    } else if (event.event === "sampled") {
      run.sampled.push(event.step);
    } else continue;
    run.last = event.id;
    news = true;
  }
  if (run.steps.length > MOST) load();
  else if (news) draw();
}

for (const one of Object.values(switches)) one.addEventListener("input", draw);
new ResizeObserver(() => plot && plot.width !== place.clientWidth && plot.setSize({ width: place.clientWidth, height: 300 })).observe(place);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
if (words.job) {
  document.body.addEventListener(`job:${words.job}`, ({ detail }) => hear(detail));
  document.body.addEventListener("jobs", ({ detail }) => { // the connection is back
    if (detail.length) return;
    load();
    document.body.dispatchEvent(new CustomEvent(`job:${words.job}`, { detail: [] }));
  });
}
if (location.hash === "#cancel") {
  history.replaceState(null, "", location.pathname);
  document.getElementById("cancel")?.showModal();
}
load();
