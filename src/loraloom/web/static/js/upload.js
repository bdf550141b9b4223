// Files on their way to the studio: dropped or chosen, sent in parts that go on where they ended.
const PART = 4 * 1024 * 1024;
const WAIT_MS = [500, 1000, 2000, 4000, 8000, 15000];
const form = document.querySelector("[data-uploader]");
const dialog = form?.closest("dialog");
const list = form?.querySelector(".files");
const button = form?.querySelector("button.primary");
const chosen = [];
let sending = false;

async function entries(items) {
  const roots = [...items].map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile()).filter(Boolean);
  const found = [];
  for (const root of roots) await walk(root, "", found);
  return found;
}

async function walk(entry, folder, found) {
  if (entry instanceof File) return found.push({ file: entry, name: entry.name });
  if (entry.isFile) {
    const file = await new Promise((done, failed) => entry.file(done, failed));
    return found.push({ file, name: folder + entry.name });
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return;
    for (const one of some) await walk(one, `${folder}${entry.name}/`, found);
  }
}

function take(files) {
  for (const { file, name } of files) {
    const row = document.createElement("li");
    const title = document.createElement("span");
    title.textContent = name;
    title.title = name;
    const bar = Object.assign(document.createElement("progress"), { className: "bar", max: file.size || 1, value: 0 });
    bar.setAttribute("aria-label", name);
    row.append(title, bar);
    list.append(row);
    chosen.push({ file, name, row, title, bar, id: null });
  }
  list.hidden = !chosen.length;
  const dataset = form.querySelector("input[name=dataset]:not([type=hidden])");
  if (dataset && !dataset.value && files.length) {
    const first = files[0].name;
    dataset.value = (first.includes("/") ? first.split("/")[0] : first.replace(/\.[^.]*$/, "")).replace(/[\\/:*?"<>|@]/g, "_").slice(0, 64);
  }
}

async function ask(url, options = {}) {
  const answer = await fetch(url, options);
  const body = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (!answer.ok) throw Object.assign(new Error(body?.detail ?? answer.statusText), { status: answer.status });
  return body;
}

// Sends one file; a lost connection is waited for, and the server tells where to go on.
async function send(one) {
  const json = { "Content-Type": "application/json" };
  let lost = 0;
  for (let known = null; ;) {
    try {
      if (!one.id) {
        known = await ask("/api/v1/uploads", { method: "POST", headers: json, body: JSON.stringify({ name: one.name, size: one.file.size }) });
        one.id = known.id;
      }
      known ??= await ask(`/api/v1/uploads/${one.id}`);
      while (known.offset < known.size) {
        const part = one.file.slice(known.offset, known.offset + PART);
        known = await ask(`/api/v1/uploads/${one.id}?offset=${known.offset}`, { method: "PUT", body: part });
        one.bar.value = known.offset;
        lost = 0;
        one.title.title = one.name;
      }
      one.bar.value = one.bar.max;
      return;
    } catch (error) {
      if (error.status && error.status !== 409 && error.status < 500) throw error;
      if (lost >= 60) throw error;
      one.title.title = list.dataset.resume;
      await new Promise((done) => setTimeout(done, WAIT_MS[Math.min(lost++, WAIT_MS.length - 1)]));
      known = null;
    }
  }
}

async function sendAll() {
  sending = button.disabled = true;
  let failed = false;
  const queue = chosen.filter((one) => one.bar.value < one.bar.max || !one.id);
  const worker = async () => {
    for (let one = queue.shift(); one; one = queue.shift()) {
      try {
        await send(one);
        one.row.scrollIntoView({ block: "nearest" });
      } catch (error) {
        failed = true;
        one.row.classList.add("failed");
        one.title.textContent = `${one.name}: ${error.message || list.dataset.failed}`;
      }
    }
  };
  await Promise.all([worker(), worker(), worker()]);
  sending = button.disabled = false;
  if (failed) return;
  for (const one of chosen) {
    form.append(Object.assign(document.createElement("input"), { type: "hidden", name: "upload", value: one.id }));
  }
  for (const input of form.querySelectorAll("input[type=file]")) input.disabled = true;
  form.enctype = "application/x-www-form-urlencoded";
  form.submit();
}

if (form) {
  const folder = form.querySelector(".folder");
  folder.hidden = !("webkitdirectory" in HTMLInputElement.prototype);
  form.addEventListener("change", (event) => {
    if (event.target.type !== "file") return;
    take([...event.target.files].map((file) => ({ file, name: file.webkitRelativePath || file.name })));
    event.target.value = "";
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (chosen.length) sendAll();
    else form.querySelector(".drop input").click();
  });
  let inside = 0;
  const isFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (isFiles(event)) document.body.classList.toggle("dropping", ++inside > 0);
  });
  addEventListener("dragleave", (event) => {
    if (isFiles(event)) document.body.classList.toggle("dropping", --inside > 0);
  });
  addEventListener("dragover", (event) => isFiles(event) && event.preventDefault());
  addEventListener("drop", async (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    inside = 0;
    document.body.classList.remove("dropping");
    if (dialog && !dialog.open) dialog.showModal();
    take(await entries(event.dataTransfer.items));
  });
  addEventListener("beforeunload", (event) => sending && event.preventDefault());
  document.addEventListener("click", (event) => event.target.closest("[data-closes]")?.closest("dialog").close());
  addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select");
    if (event.key === "n" && !typing && !event.ctrlKey && !event.metaKey && !document.querySelector("dialog[open]")) {
      document.querySelector('[data-key="n"]')?.click();
    }
  });
}
