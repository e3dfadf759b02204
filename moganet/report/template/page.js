// A cell of the confusion matrix opens its images.
const opened = JSON.parse(document.getElementById("opened").textContent);
const names = JSON.parse(document.getElementById("names").textContent);
const dialog = document.querySelector("dialog");
document.querySelector(".matrix").addEventListener("click", (event) => {
  const cell = event.target.closest("button[data-cell]");
  if (!cell) return;
  const pictures = opened[cell.dataset.cell];
  const [truth, predicted] = cell.dataset.cell.split(",").map((index) => names[index]);
  const total = Number(cell.dataset.count);
  const what = truth === predicted ? `“${truth}”, found` : `“${truth}”, taken for “${predicted}”`;
  dialog.querySelector("h2").textContent = `${what}: ${total.toLocaleString("en")} image${total === 1 ? "" : "s"}`;
  dialog.querySelector("p").textContent = pictures.length < total ? `${pictures.length} of them:` : "";
  const list = dialog.querySelector("ul");
  list.replaceChildren(...pictures.map(([picture, caption]) => {
    const item = document.createElement("li"), view = document.createElement("div"), text = document.createElement("div");
    view.className = "t";
    view.setAttribute("role", "img");
    view.setAttribute("aria-label", `${truth}, predicted ${predicted}: ${caption}`);
    view.style.setProperty("--x", picture % dialog.dataset.columns);
    view.style.setProperty("--y", Math.floor(picture / dialog.dataset.columns));
    text.className = "caption";
    text.textContent = caption;
    item.append(view, text);
    return item;
  }));
  dialog.showModal();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
