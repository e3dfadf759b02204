// A section opens pictures in a dialog: each its number in a sheet, its caption and its text for who can't see it. The sheet
// is the page's, or one of the section's own: the class of its pictures, and its columns.
const dialog = document.querySelector("dialog");
function showPictures(title, note, pictures, sheet = "t", columns = dialog.dataset.columns) {
  dialog.querySelector("h2").textContent = title;
  dialog.querySelector("p").textContent = note;
  const list = dialog.querySelector("ul");
  list.replaceChildren(...pictures.map(([picture, caption, label]) => {
    const item = document.createElement("li"), view = document.createElement("div"), text = document.createElement("div");
    view.className = sheet;
    view.setAttribute("role", "img");
    view.setAttribute("aria-label", label);
    view.style.setProperty("--x", picture % columns);
    view.style.setProperty("--y", Math.floor(picture / columns));
    text.className = "caption";
    text.textContent = caption;
    item.append(view, text);
    return item;
  }));
  dialog.showModal();
}
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
