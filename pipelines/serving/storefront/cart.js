// The cart: what is in it, what is recommended beside it, and buying it.

import { itemAddress } from "./address.js";
import { ask } from "./api.js";
import { grid, listOf } from "./card.js";
import { announce, count, h, money } from "./dom.js";
import { did } from "./events.js";
import { tile } from "./tile.js";
import { cart, cartIds, setCart, whom } from "./whom.js";

const NEAR = 8;
let bought = "";
addEventListener("moved", () => (bought = ""));

export async function cartPage() {
  const ids = cartIds();
  const done = bought && h("p", { class: "done" }, bought);
  if (!ids.length) return { title: "Cart", nodes: [h("header", { class: "head" }, h("h1", { tabindex: "-1" }, "Cart"), done), h("div", { class: "empty" }, h("p", {}, "The cart is empty."), h("a", { href: "/", "data-view": true }, "See what is recommended to you"))] };
  const goesWith = (more = {}) => ask("/recommend", { placement: "cart", cart: ids, k: NEAR, ...whom(), ...more });
  const [{ items }, near] = await Promise.all([ask("/items", { items: ids }), goesWith()]);
  const list = listOf(near, "cart", () => goesWith({ explain: true }));
  const lines = cart();
  const buyable = items.filter((item) => item.in_stock);
  const total = buyable.reduce((sum, item) => sum + (item.price ?? 0) * lines[item.item_id], 0);
  const number = items.reduce((sum, item) => sum + lines[item.item_id], 0);
  return {
    title: "Cart",
    nodes: [
      h("header", { class: "head" }, h("h1", { tabindex: "-1" }, "Cart"), done, h("p", { class: "quiet" }, count(number, "product"))),
      h("ul", { class: "lines" }, items.map((item) => line(item, lines))),
      h("div", { class: "total" }, h("p", {}, "Together ", h("strong", {}, money(total))), h("button", { type: "button", class: "primary", id: "buy", disabled: !buyable.length, onclick: (event) => buy(buyable, event.currentTarget) }, "Buy")),
      h("section", { class: "near", "aria-labelledby": "about-cart" }, h("h2", { id: "about-cart" }, "Perhaps also"), near.results.length ? grid(list, "h3") : h("p", { class: "quiet" }, "Nothing more to recommend.")),
    ],
  };
}

function line(item, lines) {
  const change = (step) => {
    const { [item.item_id]: now, ...rest } = cart();
    setCart(now + step > 0 ? { ...rest, [item.item_id]: now + step } : rest);
    announce(`${item.title}: ${Math.max(0, now + step)} in the cart`);
  };
  return h(
    "li",
    { class: "row", "data-item": item.item_id },
    tile(item),
    h("div", {}, h("a", { href: itemAddress(item.item_id), "data-view": true }, item.title), h("p", { class: "quiet" }, money(item.price), !item.in_stock && h("span", { class: "sold-out" }, " \u00b7 sold out"))),
    h(
      "div",
      { class: "stepper" },
      h("button", { type: "button", "data-does": "fewer", "aria-label": `One less: ${item.title}`, onclick: () => change(-1) }, "\u2212"),
      h("span", {}, lines[item.item_id]),
      h("button", { type: "button", "data-does": "more", "aria-label": `One more: ${item.title}`, onclick: () => change(1) }, "+"),
    ),
  );
}

async function buy(items, button) {
  button.disabled = true;
  const lines = cart();
  const told = items.map((item) => ({ item, more: { quantity: lines[item.item_id], ...(item.price === null ? {} : { price: item.price }) } }));
  try {
    await did("purchase", told, ({ receipts }) => {
      const offers = receipts.map(({ offer }) => offer).filter(Boolean);
      bought = `Bought ${count(items.length, "product")}.${offers.length ? ` Used: ${count(offers.length, "offer")} (${offers.join(", ")}).` : ""}`;
      setCart(Object.fromEntries(Object.entries(cart()).filter(([id]) => !items.some((item) => item.item_id === id))));
      dispatchEvent(new CustomEvent("bought"));
    });
    announce(bought);
  } catch (problem) {
    button.disabled = false;
    dispatchEvent(new CustomEvent("failed", { detail: problem }));
  }
}
