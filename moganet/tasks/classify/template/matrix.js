// A cell of the confusion matrix opens its images. One of them is reached by the tab key, the others by arrow keys.
{
  const matrix = document.querySelector(".matrix");
  const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  let reached = matrix.querySelector("button[data-cell]");
  if (reached) reached.tabIndex = 0;
  matrix.addEventListener("focusin", (event) => {
    const cell = event.target.closest("button[data-cell]");
    if (!cell) return;
    reached.tabIndex = -1;
    reached = cell;
    cell.tabIndex = 0;
  });
  matrix.addEventListener("keydown", (event) => {
    const step = steps[event.key], from = event.target.closest("td");
    if (!step || !from) return;
    event.preventDefault();
    let row = from.parentElement.rowIndex + step[0], column = from.cellIndex + step[1], cell;
    while ((cell = matrix.rows[row]?.cells[column])) {
      const button = cell.querySelector("button[data-cell]");
      if (button) return button.focus();
      row += step[0];
      column += step[1];
    }
    const all = [...matrix.querySelectorAll("button[data-cell]")]; // none lies there: the next or the one before
    all[all.indexOf(reached) + step[0] + step[1]]?.focus();
  });
  const opened = JSON.parse(document.getElementById("opened").textContent);
  const names = JSON.parse(document.getElementById("names").textContent);
  matrix.addEventListener("click", (event) => {
    const cell = event.target.closest("button[data-cell]");
    if (!cell) return;
    const pictures = opened[cell.dataset.cell];
    const [truth, predicted] = cell.dataset.cell.split(",").map((index) => names[index]);
    const total = Number(cell.dataset.count);
    const what = truth === predicted ? `“${truth}”, found` : `“${truth}”, taken for “${predicted}”`;
    showPictures(
      `${what}: ${total.toLocaleString("en")} image${total === 1 ? "" : "s"}`,
      pictures.length < total ? `${pictures.length} of them:` : "",
      pictures.map(([picture, caption]) => [picture, caption, `${truth}, predicted ${predicted}: ${caption}`]),
    );
  });
}
