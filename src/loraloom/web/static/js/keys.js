// Keys of the pages of runs. [data-key] presses what it stands on; [data-rows] has rows that the
// arrows go through, whose [data-row-key] is pressed in the row at hand; [data-cells] is a table of
// links that the arrows go through in both directions.
const typed = (event) =>
  event.ctrlKey || event.metaKey || event.altKey || event.isComposing ||
  document.querySelector("dialog[open]") ||
  event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");

const UP_OR_DOWN = { ArrowUp: -1, ArrowDown: 1 };
const SIDEWAYS = { ArrowLeft: -1, ArrowRight: 1 };

function inRows(event, rows) {
  const all = [...rows.querySelectorAll("tr[id]")];
  const row = document.activeElement.closest("tr[id]");
  const step = UP_OR_DOWN[event.key];
  if (step && !event.shiftKey) {
    const next = all[all.indexOf(row) + step] ?? (row ? null : all[0]);
    next?.querySelector("a")?.focus();
    return Boolean(next);
  }
  const key = (event.shiftKey ? "Shift+" : "") + event.key;
  const pressed = row?.querySelector(`[data-row-key="${CSS.escape(key)}"]`);
  pressed?.click();
  return Boolean(pressed);
}

function inCells(event, table) {
  const cell = document.activeElement.closest("td");
  const row = cell?.parentElement;
  if (!cell || !table.contains(cell)) {
    if (!SIDEWAYS[event.key]) return false;
    table.querySelector("td a")?.focus();
    return true;
  }
  const across = cell.cellIndex + (SIDEWAYS[event.key] ?? 0);
  const down = row.sectionRowIndex + (UP_OR_DOWN[event.key] ?? 0);
  const next = row.parentElement.rows[down]?.cells[across]?.querySelector("a");
  next?.focus();
  return Boolean(next) && next.closest("td") !== cell;
}

addEventListener("keydown", (event) => {
  if (typed(event)) return;
  const rows = document.querySelector("[data-rows]");
  const table = document.querySelector("[data-cells]");
  const pressed = event.shiftKey ? null : document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  pressed?.click();
  if (pressed || (rows && inRows(event, rows)) || (table && inCells(event, table))) event.preventDefault();
});
