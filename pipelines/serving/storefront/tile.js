// A picture for a product that has none: a woven cloth in the colour of its category, with its initials.

import { s } from "./dom.js";

function hash(text) {
  let value = 2166136261;
  for (const letter of text) value = Math.imul(value ^ letter.codePointAt(0), 16777619) >>> 0;
  return value;
}

function initials(words) {
  const parts = words.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  return (parts.length > 1 ? [...parts[0]][0] + [...parts[1]][0] : [...(parts[0] ?? "?")].slice(0, 2).join("")).toUpperCase();
}

/** Draw the tile of an item. */
export function tile(item) {
  const kind = item.category.at(-1) ?? item.title;
  const seed = hash(item.item_id);
  const warps = [];
  const wefts = [];
  const over = [];
  for (let column = 0; column < 5; column += 1) {
    const x = 8 + column * 32;
    const width = 8 + ((seed >>> (column * 3)) & 7) * 1.5;
    warps.push(s("rect", { class: "warp", x, y: 0, width, height: 120 }));
    for (let row = 0; row < 4; row += 1) {
      const y = 6 + row * 30;
      const height = 7 + ((seed >>> (row * 4 + 2)) & 7) * 1.4;
      if (column === 0) wefts.push(s("rect", { class: "weft", x: 0, y, width: 160, height }));
      if ((row + column) % 2) over.push(s("rect", { class: "warp", x, y: y - 1, width, height: height + 2 }));
    }
  }
  const drawn = s(
    "svg",
    { class: "tile", viewBox: "0 0 160 120", preserveAspectRatio: "xMidYMid slice", "aria-hidden": "true", focusable: "false" },
    s("rect", { class: "cloth", width: 160, height: 120 }),
    warps,
    wefts,
    over,
    s("circle", { class: "label", cx: 80, cy: 60, r: 27 }),
    s("text", { x: 80, y: 61, "text-anchor": "middle", "dominant-baseline": "central" }, initials(kind)),
  );
  // Through the CSSOM: the policy of the page lets no style attribute in.
  drawn.style.setProperty("--hue", String(hash(item.category.join("/")) % 360));
  drawn.style.setProperty("--turn", String(18 + (seed % 24)));
  return drawn;
}
