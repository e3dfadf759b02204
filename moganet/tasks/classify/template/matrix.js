// A cell of the confusion matrix opens its images.
{
  const opened = JSON.parse(document.getElementById("opened").textContent);
  const names = JSON.parse(document.getElementById("names").textContent);
  document.querySelector(".matrix").addEventListener("click", (event) => {
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
