// The page: asks the service about one image, for one model or two. Whatever it shows is set as text, never as markup.

const at = (id) => document.getElementById(id);
const TITLES = {
  lime: "LIME", occlusion: "Occlusion", "integrated-gradients": "Integrated gradients", saliency: "Saliency",
  gradcam: "Grad-CAM", orders: "Branches and gates",
};
const COSTS = {
  lime: "Hides parts of the image and asks again, hundreds of times.", occlusion: "Hides one part after another: about 225 questions.",
  "integrated-gradients": "50 gradients.", saliency: "25 gradients.", gradcam: "One gradient: quick.",
  orders: "What the network gathers from near and far, whatever the class: quick.",
};
const TINY = 128; // pixels; below, an image is shown enlarged
let models = [], image = null, round = null;

class Problem extends Error {}

function percent(share) {
  return share > 0 && share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
}

function show(element, text) {
  element.textContent = text ?? "";
  element.hidden = !text;
}

function option(select, value, text) {
  const one = new Option(text, value); // which sets text, not markup
  select.append(one);
}

async function fetched(path, how = {}) {
  let reply;
  try {
    reply = await fetch(path, how);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The service does not answer. Is it still running?");
  }
  if (!reply.ok) throw new Problem(await reason(reply));
  return reply;
}

async function reason(reply) {
  try {
    return (await reply.json()).detail ?? `The service answered ${reply.status}.`;
  } catch {
    return `The service answered ${reply.status}.`;
  }
}

function ask(path, settings, signal) {
  const query = new URLSearchParams(Object.entries(settings).filter(([, value]) => value !== "" && value != null));
  const form = new FormData();
  form.append("image", image.file, image.name);
  return fetched(`${path}?${query}`, { method: "POST", body: form, signal });
}

// Which image

async function take(file, name) {
  if (image) URL.revokeObjectURL(image.url);
  image = { file, name: name || file.name || "image", url: URL.createObjectURL(file), preview: null, shown: true };
  const probe = new Image();
  probe.src = image.url;
  image.shown = await probe.decode().then(() => true, () => false);
  image.tiny = image.shown && Math.max(probe.naturalWidth, probe.naturalHeight) < TINY;
  await answer();
}

async function answer() {
  if (!image) return;
  round?.abort();
  const own = round = new AbortController();
  const chosen = [at("first").value, at("second").value].filter((name, place, all) => name && all.indexOf(name) === place);
  show(at("problem"), "");
  at("status").classList.remove("unseen");
  show(at("status"), `Asking about ${image.name} …`);
  const cards = chosen.map((name) => new Card(models.find((model) => model.name === name)));
  const outcomes = await Promise.allSettled(cards.map((card) => card.ask(own.signal)));
  if (own.signal.aborted) return;
  const failed = outcomes.filter((one) => one.status === "rejected").map((one) => one.reason.message);
  const same = failed.length === cards.length && new Set(failed).size === 1;
  at("answers").replaceChildren(...(same ? [] : cards.map((card) => card.element)));
  show(at("problem"), same ? failed[0] : "");
  at("status").classList.add("unseen"); // the cards show it
  show(at("status"), same ? "" : `${image.name}: ${cards.map((card) => card.summary).join("; ")}`);
  if (!same) at("answers").firstElementChild.scrollIntoView({ block: "nearest" });
}

// One model's answer

class Card {
  constructor(model) {
    this.model = model;
    this.element = at("card").content.firstElementChild.cloneNode(true);
    this.find = (selector) => this.element.querySelector(selector);
    this.summary = `${model.name} could not answer`;
    this.find("h2").textContent = model.name;
    const classes = model.classes.length === 1 ? "1 class" : `${model.classes.length} classes`;
    this.find(".about").textContent = [model.task, classes, ...model.accuracy.slice(0, 1), `trained on ${model.trained_on}`].join(" · ");
    this.find("h2").title = model.sha256;
  }

  async ask(signal) {
    const calibrated = this.model.calibrated && at("calibrated").checked;
    try {
      const reply = await ask("v1/page/answer", { model: this.model.name, calibrated, preview: !image.shown }, signal);
      this.fill(await reply.json());
    } catch (error) {
      show(this.find(".problem"), error.message);
      throw error;
    }
  }

  fill(given) {
    const first = given.bars[0];
    this.summary = `${this.model.name} says ${first ? `${first.name} ${percent(first.share)}` : given.text}` +
      (given.rejected ? ", but the image is unlike those it was trained on" : "");
    const doubt = [];
    if (given.rejected) doubt.push("This image is unlike those that the model was trained on: do not trust the answer.");
    if (given.untrained) doubt.push("This model is not trained: its answers mean nothing yet.");
    show(this.find(".unlike"), doubt.join(" "));
    const kind = given.calibrated ? `calibrated ${given.bars_of}` : given.bars_of;
    this.find(".heading").textContent = given.bars.length ? kind[0].toUpperCase() + kind.slice(1) : "Answer";
    this.find(".bars").replaceChildren(...given.bars.map(bar));
    show(this.find(".text"), given.bars.length ? "" : given.text);
    this.find(".notes").replaceChildren(...given.notes.map((note) => Object.assign(document.createElement("li"), { textContent: note })));
    this.picture(given);
    this.why(given);
    this.find(".said").hidden = false;
  }

  picture(given) {
    const photo = this.find(".photo"), drawn = this.find(".drawn");
    photo.src = given.preview ?? image.url;
    photo.alt = image.name;
    photo.classList.toggle("tiny", Boolean(image.tiny));
    this.find("figure").hidden = false;
    this.find("figcaption").textContent = image.name;
    this.slide = this.find(".slide input");
    this.slide.addEventListener("input", () => this.fade());
    if (!given.drawn) return;
    drawn.src = given.drawn;
    drawn.hidden = false;
    this.find(".slide").hidden = false;
    this.fade();
  }

  fade() {
    for (const one of [this.find(".drawn"), this.find(".layer")]) one.style.opacity = this.slide.value / 100;
  }

  // Why

  why(given) {
    const form = this.find(".why"), method = this.find(".method"), target = this.find(".target");
    form.hidden = !this.model.methods.length;
    for (const name of this.model.methods) option(method, name, TITLES[name] ?? name);
    if (this.model.methods.includes("gradcam")) method.value = "gradcam";
    for (const one of given.bars) option(target, one.name, one.name);
    const chosen = () => {
      this.find(".cost").textContent = COSTS[method.value] ?? "";
      this.find(".samples").hidden = method.value !== "lime";
      target.disabled = method.value === "orders";
    };
    method.addEventListener("change", chosen);
    chosen();
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.explain(method.value, target.value, method.value === "lime" ? this.find(".samples input").value : "");
    });
  }

  async explain(method, target, samples) {
    const control = new AbortController(), signal = AbortSignal.any([control.signal, round.signal]);
    const button = this.find(".why [type=submit]"), stop = this.find(".stop"), progress = this.find(".progress");
    stop.onclick = () => control.abort();
    button.disabled = true;
    stop.hidden = progress.hidden = false;
    show(this.find(".failed"), "");
    this.step(null);
    try {
      const reply = await ask("v1/page/explanation", { model: this.model.name, method, target, samples }, signal);
      this.overlay(await this.last(reply));
    } catch (error) {
      if (error.name !== "AbortError") show(this.find(".failed"), error.message);
    } finally {
      button.disabled = false;
      stop.hidden = progress.hidden = true;
    }
  }

  async last(reply) {
    let rest = "", found = null;
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const lines = (rest + part.value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        found = JSON.parse(line);
        if (found.problem) throw new Problem(found.problem);
        if (found.total) this.step(found);
      }
    }
    if (!found?.layers) throw new Problem("The service broke off; its log says more.");
    return found;
  }

  step(at) {
    const bar = this.find("progress");
    if (!at || at.total < 2) bar.removeAttribute("value");
    else Object.assign(bar, { max: at.total, value: at.done });
    this.find(".progress span").textContent = at && at.total > 1 ? `${at.done} of at most ${at.total}` : "working";
  }

  overlay(found) {
    const part = this.find(".part"), which = this.find(".which"), [top, left, bottom, right] = found.part.map((side) => 100 * side);
    Object.assign(part.style, { top: `${top}%`, left: `${left}%`, width: `${right - left}%`, height: `${bottom - top}%` });
    const select = which.querySelector("select");
    select.replaceChildren();
    found.layers.forEach((layer, place) => option(select, place, layer.name ? layer.name.replace("_", " ") : "all together"));
    which.hidden = found.layers.length < 2;
    select.onchange = () => { this.find(".layer").src = found.layers[select.value].picture; };
    this.find(".layer").src = found.layers[0].picture;
    this.find(".layer").alt = `${TITLES[found.method] ?? found.method} map`;
    this.find(".photo").classList.add("grey");
    this.find(".drawn").hidden = true;
    part.hidden = this.find(".slide").hidden = false;
    const legend = found.signed ? "orange speaks for the class, violet against it" : "bright: looked at";
    const whole = found.part.every((side, place) => Math.abs(side - (place > 1)) < 0.005);
    const whose = found.method === "orders" ? "" : ` of ${found.target}`;
    const said = [`${TITLES[found.method] ?? found.method}${whose}: ${legend}`];
    if (!whole) said.push("darkened: outside of what the network sees");
    this.find("figcaption").textContent = [...said, ...found.lines].join("; ");
    this.fade();
  }
}

function bar({ name, share }) {
  const line = document.createElement("li"), fill = document.createElement("i");
  const label = document.createElement("span"), value = document.createElement("b");
  fill.style.width = `${100 * share}%`;
  fill.ariaHidden = "true";
  label.textContent = name;
  value.textContent = percent(share);
  line.append(fill, label, value);
  return line;
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
