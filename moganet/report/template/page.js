// A section opens pictures in a dialog: each its number in the page's sheet, its caption and its text for who can't see it.
const dialog = document.querySelector("dialog");
function showPictures(title, note, pictures) {
  dialog.querySelector("h2").textContent = title;
  dialog.querySelector("p").textContent = note;
  const list = dialog.querySelector("ul");
  list.replaceChildren(...pictures.map(([picture, caption, label]) => {
    const item = document.createElement("li"), view = document.createElement("div"), text = document.createElement("div");
    view.className = "t";
    view.setAttribute("role", "img");
    view.setAttribute("aria-label", label);
    view.style.setProperty("--x", picture % dialog.dataset.columns);
    view.style.setProperty("--y", Math.floor(picture / dialog.dataset.columns));
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
