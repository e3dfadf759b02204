// The map: a point opens its picture and those nearest to it; a layout moves the points, a class dims the others.
{
  const held = document.getElementById("map-points"), map = document.querySelector("svg.map");
  const points = JSON.parse(held.textContent), dots = [...map.querySelectorAll("circle")];
  let places = points.places[0], here = -1;
  const ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  ring.setAttribute("class", "here on");
  ring.setAttribute("r", 16);
  function go(number) {
    here = number;
    ring.setAttribute("cx", places[2 * here]);
    ring.setAttribute("cy", places[2 * here + 1]);
    map.append(ring);
    map.setAttribute("aria-label", points.captions[here]);
  }
  function open(number) {
    go(number);
    const shown = [number, ...points.near[number]];
    const pictures = shown.map((one) => [one, points.captions[one], `Image: ${points.captions[one]}`]);
    showPictures(points.captions[number], "The image, and those nearest to it by their features:", pictures, "t m", held.dataset.columns);
  }
  function nearest(x, y, most) {
    let best = -1, least = most * most;
    dots.forEach((dot, number) => {
      if (map.classList.contains("some") && !dot.classList.contains("on")) return;
      const apart = (places[2 * number] - x) ** 2 + (places[2 * number + 1] - y) ** 2;
      if (apart < least) [best, least] = [number, apart];
    });
    return best;
  }
  map.addEventListener("click", (event) => {
    const box = map.getBoundingClientRect(), scale = map.viewBox.baseVal.width / box.width;
    const number = nearest((event.clientX - box.left) * scale, (event.clientY - box.top) * scale, 22 * scale);
    if (number >= 0) open(number);
  });
  map.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) go((Math.max(here, step > 0 ? -1 : 0) + step + dots.length) % dots.length);
    else if (event.key === "Enter" && here >= 0) open(here);
    else return;
    event.preventDefault();
  });
  document.getElementById("map-layout")?.addEventListener("change", (event) => {
    places = points.places[event.target.value];
    dots.forEach((dot, number) => {
      dot.setAttribute("cx", places[2 * number]);
      dot.setAttribute("cy", places[2 * number + 1]);
    });
    ring.remove();
  });
  document.getElementById("map-class").addEventListener("change", (event) => {
    const chosen = event.target.value;
    map.classList.toggle("some", chosen !== "");
    dots.forEach((dot, number) => dot.classList.toggle("on", points.classes[number].includes(Number(chosen))));
  });
}
