// The page: asks the service about one image, for one model or two. Whatever it shows is set as text, never as markup.

import { fetched, option, show } from "./asking.js";
import { Card } from "./card.js";

const at = (id) => document.getElementById(id);
const TINY = 128; // pixels; below, an image is shown enlarged
let models = [], image = null, round = null;

// Which image

async function take(file, name) {
  if (image) URL.revokeObjectURL(image.url);
  const taken = image = { file, name: name || file.name || "image", url: URL.createObjectURL(file) };
  const probe = new Image();
  probe.src = taken.url;
  taken.shown = await probe.decode().then(() => true, () => false); // else the service sends what it reads
  taken.tiny = taken.shown && Math.max(probe.naturalWidth, probe.naturalHeight) < TINY;
  if (image === taken) await answer(); // and not another, chosen meanwhile
}

async function answer() {
  if (!image) return;
  round?.abort();
  const own = round = new AbortController();
  const chosen = [at("first").value, at("second").value].filter((name, place, all) => name && all.indexOf(name) === place);
  show(at("problem"), "");
  at("status").classList.remove("unseen");
  show(at("status"), `Asking about ${image.name} …`);
  const known = (name) => models.find((model) => model.name === name);
  const cards = chosen.map((name) => new Card(known(name), image, at("calibrated").checked, own.signal));
  const outcomes = await Promise.allSettled(cards.map((card) => card.ask()));
  if (own.signal.aborted) return;
  const failed = outcomes.filter((one) => one.status === "rejected").map((one) => one.reason.message);
  const same = failed.length === cards.length && new Set(failed).size === 1;
  at("answers").replaceChildren(...(same ? [] : cards.map((card) => card.element)));
  show(at("problem"), same ? failed[0] : "");
  at("status").classList.add("unseen"); // the cards show it
  show(at("status"), same ? "" : `${image.name}: ${cards.map((card) => card.summary).join("; ")}`);
  if (!same) at("answers").firstElementChild.scrollIntoView({ block: "nearest" });
}

// Where images come from

function first(list) {
  return [...(list ?? [])].find((file) => file instanceof File);
}

async function photograph() {
  const dialog = at("shot"), video = dialog.querySelector("video");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    show(at("problem"), "There is no camera that this page may use. Choose an image instead.");
    return;
  }
  video.srcObject = stream;
  dialog.showModal();
  dialog.addEventListener("close", () => stream.getTracks().forEach((track) => track.stop()), { once: true });
  at("cancel").onclick = () => dialog.close();
  at("take").onclick = () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    dialog.close();
    canvas.toBlob((blob) => blob && take(blob, "photograph.png"));
  };
}

function listen() {
  const file = at("file");
  at("open").addEventListener("click", () => { file.removeAttribute("capture"); file.click(); });
  at("camera").addEventListener("click", () => {
    if (navigator.mediaDevices?.getUserMedia) return photograph();
    file.setAttribute("capture", "environment"); // a telephone's own camera, where the page's address is not https
    file.click();
  });
  file.addEventListener("change", () => { if (file.files[0]) take(file.files[0]); file.value = ""; });
  document.addEventListener("paste", (event) => {
    const pasted = first(event.clipboardData.files);
    if (pasted) take(pasted);
  });
  document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    const dropped = first(event.dataTransfer.files);
    if (dropped) take(dropped);
    else show(at("problem"), "What was dropped is no file. Save the image first, and drop its file.");
  });
  for (const name of ["first", "second", "calibrated"]) at(name).addEventListener("change", () => { choose(); answer(); });
}

function choose() {
  const chosen = models.filter((model) => [at("first").value, at("second").value].includes(model.name));
  at("calibrated-label").hidden = !chosen.some((model) => model.calibrated);
}

async function offer() {
  const { samples, credit } = await (await fetched("page/samples")).json();
  at("samples").hidden = !samples.length;
  at("credit").textContent = credit;
  for (const { name, number } of samples) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(Object.assign(new Image(), { src: `page/samples/${number}?small=true`, alt: name }));
    button.addEventListener("click", async () => {
      try {
        await take(await (await fetched(`page/samples/${number}`)).blob(), name);
      } catch (error) {
        show(at("problem"), error.message);
      }
    });
    const place = document.createElement("li");
    place.append(button);
    at("samples").querySelector("ul").append(place);
  }
}

async function begin() {
  listen();
  try {
    ({ models } = await (await fetched("v1/models")).json());
    for (const { name } of models) {
      option(at("first"), name, name);
      option(at("second"), name, name);
    }
    at("second-label").hidden = models.length < 2;
    choose();
    await offer();
  } catch (error) {
    show(at("problem"), error.message);
  }
}

begin();
