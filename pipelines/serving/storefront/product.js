// One product: what the catalogue says, what is like it, what is bought with it.

import { searchAddress } from "./address.js";
import { Problem, ask } from "./api.js";
import { addButton, grid, listOf, opinions, seenBefore } from "./card.js";
import { capital, h, money, titled } from "./dom.js";
import { did } from "./events.js";
import { tile } from "./tile.js";
import { cartIds, whom } from "./whom.js";

const NEAR = 8;
const SECTIONS = [
  ["bought-together", "Bought together", "Nothing is bought together with it often enough."],
  ["similar", "Similar", "Nothing here is like it."],
];

export async function product(place) {
  const ids = [place.item];
  const about = (placement, more = {}) => ask("/recommend", { placement, items: ids, k: NEAR, cart: cartIds(), ...whom(), ...more });
  const { items } = await ask("/items", { items: ids });
  if (!items.length) throw new Problem({ code: "unknown_item", reason: "The catalogue has no such product.", mend: "Search for it by name." }, 404);
  const [item] = items;
  const seen = seenBefore(item.item_id);
  const near = await Promise.all(SECTIONS.map(([placement]) => about(placement)));
  return {
    title: item.title,
    nodes: [
      h("article", { class: "product" }, tile(item), h("div", {}, crumbs(item), h("h1", { tabindex: "-1" }, item.title), h("p", { class: "price" }, money(item.price)), h("div", { class: "actions" }, item.in_stock ? addButton(item, seen, true) : h("p", { class: "sold-out" }, "Sold out"), opinions(item, seen)), facts(item))),
      ...SECTIONS.map(([placement, title, none], at) => {
        const list = listOf(near[at], placement, () => about(placement, { explain: true }));
        const id = `about-${placement}`;
        return h("section", { class: "near", "aria-labelledby": id }, h("h2", { id }, title), near[at].results.length ? grid(list, "h3") : h("p", { class: "quiet" }, none));
      }),
    ],
    // The look itself shapes what comes next.
    arrived: () => did("view", [{ item, seen }]),
  };
}

function crumbs(item) {
  return h("p", { class: "crumbs" }, item.category.flatMap((level, at) => [at ? " \u203a " : "", h("a", { href: searchAddress({ query: level }), "data-view": true }, titled(level))]));
}

function facts(item) {
  const pairs = [["Brand", item.brand], ["Size", item.size], ...Object.entries(item.attributes).map(([name, value]) => [capital(name.replaceAll("_", " ")), value]), ["Number", item.item_id]];
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}
