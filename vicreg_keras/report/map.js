// Shows the image of the point that is pointed at, tapped or reached with the keys.
(() => {
  const byId = (name) => document.getElementById(name);
  const map = byId("map");
  if (!map) return;
  const data = JSON.parse(byId("map-data").textContent);
  const [canvas, sheet] = [byId("map-image"), byId("map-sheet")];
  const rings = map.querySelectorAll(".ring");
  // A point has a place in every panel: places begin again after the last point.
  const places = data.places.flat();
  const numPoints = data.texts.length;
  let shown = -1;

  const show = (place) => {
    if (place < 0 || place === shown) return;
    shown = place;
    const number = place % numPoints;
    rings.forEach((ring, panel) => {
      const [x, y] = data.places[panel][number];
      ring.setAttribute("cx", x);
      ring.setAttribute("cy", y);
      ring.removeAttribute("hidden");
    });
    byId("map-words").textContent = data.texts[number];
    canvas.setAttribute("aria-label", `image of ${data.texts[number]}`);
    // Resolved at once but for the first time, while the sheet is being read.
    sheet.decode().then(() => {
      if (shown !== place) return;
      const { tile, columns } = data;
      const context = canvas.getContext("2d");
      context.imageSmoothingEnabled = false;
      context.drawImage(
        sheet,
        (number % columns) * tile, Math.floor(number / columns) * tile, tile, tile,
        0, 0, canvas.width, canvas.height,
      );
    });
  };

  // The place for which `cost` is least; costs of Infinity are none.
  const best = (cost) => {
    let [found, least] = [-1, Infinity];
    places.forEach(([x, y], number) => {
      const value = cost(x, y, number);
      if (value < least) [found, least] = [number, value];
    });
    return found;
  };

  const point = (event) => {
    const box = map.getBoundingClientRect();
    const scale = map.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * scale;
    const y = (event.clientY - box.top) * scale;
    // A finger covers more than an arrow does.
    const reach = (event.pointerType === "touch" ? 24 : 12) * scale;
    show(best((left, top) => {
      const distance = Math.hypot(left - x, top - y);
      return distance <= reach ? distance : Infinity;
    }));
  };
  map.addEventListener("pointermove", point);
  map.addEventListener("pointerdown", point);

  const directions = {
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
  };
  map.addEventListener("keydown", (event) => {
    const direction = directions[event.key];
    if (!direction) return;
    event.preventDefault();
    if (shown < 0) return show(0);
    const [x, y] = places[shown];
    // The nearest that lies rather in this direction than across it.
    show(best((left, top, number) => {
      const along = (left - x) * direction[0] + (top - y) * direction[1];
      const distance = Math.hypot(left - x, top - y);
      const isAhead = number !== shown && along > 0 && along >= 0.7 * distance;
      return isAhead ? distance : Infinity;
    }));
  });
})();
