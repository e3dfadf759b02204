// One model's answer about one image, and why.

import { Problem, ask, option, show } from "./asking.js";

const TITLES = {
  lime: "LIME", occlusion: "Occlusion", "integrated-gradients": "Integrated gradients", saliency: "Saliency",
  gradcam: "Grad-CAM", orders: "Branches and gates",
};
const COSTS = {
  lime: "Hides parts of the image and asks again, hundreds of times.", occlusion: "Hides one part after another: about 225 questions.",
  "integrated-gradients": "50 gradients.", saliency: "25 gradients.", gradcam: "One gradient: quick.",
  orders: "What the network gathers from near and far, whatever the class: quick.",
};

function percent(share) {
  return share > 0 && share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
}

export class Card {
  // calibrated: whether probabilities shall be. signal: another image, or another question, ends what goes on.
  constructor(model, image, calibrated, signal) {
    Object.assign(this, { model, image, signal, calibrated: calibrated && model.calibrated });
    this.element = document.getElementById("card").content.firstElementChild.cloneNode(true);
    this.find = (selector) => this.element.querySelector(selector);
    this.summary = `${model.name} could not answer`;
    this.find("h2").textContent = model.name;
    const classes = model.classes.length === 1 ? "1 class" : `${model.classes.length} classes`;
    this.find(".about").textContent = [model.task, classes, ...model.accuracy.slice(0, 1), `training data: ${model.trained_on}`].join(" · ");
    this.find("h2").title = model.sha256;
  }

  async ask() {
    const settings = { model: this.model.name, calibrated: this.calibrated, preview: !this.image.shown };
    try {
      const reply = await ask("v1/page/answer", this.image, settings, this.signal);
      const given = await reply.json();
      if (given.problem) throw new Problem(given.problem);
      this.fill(given);
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
    photo.src = given.preview ?? this.image.url;
    photo.alt = this.image.name;
    photo.classList.toggle("tiny", Boolean(this.image.tiny));
    this.find("figure").hidden = false;
    this.find("figcaption").textContent = this.image.name;
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
    const control = new AbortController(), signal = AbortSignal.any([control.signal, this.signal]);
    const button = this.find(".why [type=submit]"), stop = this.find(".stop"), progress = this.find(".progress");
    stop.onclick = () => control.abort();
    button.disabled = true;
    stop.hidden = progress.hidden = false;
    show(this.find(".failed"), "");
    this.step(null);
    try {
      const reply = await ask("v1/page/explanation", this.image, { model: this.model.name, method, target, samples }, signal);
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

  step(done) {
    const bar = this.find("progress");
    if (!done || done.total < 2) bar.removeAttribute("value");
    else Object.assign(bar, { max: done.total, value: done.done });
    this.find(".progress span").textContent = done && done.total > 1 ? `${done.done} of at most ${done.total}` : "working";
  }

  overlay(found) {
    const part = this.find(".part"), which = this.find(".which"), [top, left, bottom, right] = found.part.map((side) => 100 * side);
    Object.assign(part.style, { top: `${top}%`, left: `${left}%`, width: `${right - left}%`, height: `${bottom - top}%` });
    const select = which.querySelector("select"), title = TITLES[found.method] ?? found.method;
    select.replaceChildren();
    found.layers.forEach((layer, place) => option(select, place, layer.name ? `${title}: ${layer.name.replace("_", " ")}` : title));
    option(select, "", "the answer alone");
    select.onchange = () => this.lay(found, found.layers[select.value]);
    which.hidden = this.find(".slide").hidden = false;
    this.lay(found, found.layers[0]);
    this.fade();
  }

  lay(found, layer) {
    const drawn = this.find(".drawn"), title = TITLES[found.method] ?? found.method;
    this.find(".part").hidden = !layer;
    this.find(".photo").classList.toggle("grey", Boolean(layer));
    drawn.hidden = Boolean(layer) || !drawn.getAttribute("src");
    this.find("figcaption").textContent = layer ? caption(found, title) : this.image.name;
    if (!layer) return;
    this.find(".layer").src = layer.picture;
    this.find(".layer").alt = `Map by ${title}`;
  }
}

function caption(found, title) {
  const legend = found.signed ? "orange speaks for the class, violet against it" : "bright: looked at";
  const whole = found.part.every((side, place) => Math.abs(side - (place > 1)) < 0.005);
  const said = [`${title}${found.method === "orders" ? "" : ` of ${found.target}`}: ${legend}`];
  if (!whole) said.push("darkened: outside of what the network sees");
  return [...said, ...found.lines].join("; ");
}

function bar({ name, share, colour }) {
  const line = document.createElement("li"), fill = document.createElement("i");
  if (colour) {
    const swatch = Object.assign(document.createElement("span"), { className: "swatch", ariaHidden: "true" });
    swatch.style.background = `rgb(${colour.join(" ")})`;
    line.append(swatch);
  }
  const label = document.createElement("span"), value = document.createElement("b");
  fill.style.width = `${100 * share}%`;
  fill.ariaHidden = "true";
  label.textContent = name;
  value.textContent = percent(share);
  line.append(fill, label, value);
  return line;
}
