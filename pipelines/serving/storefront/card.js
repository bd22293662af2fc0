// A product in a list.

import { itemAddress } from "./address.js";
import { h, money, titled } from "./dom.js";
import { did, exposed } from "./events.js";
import { tile } from "./tile.js";
import { cart, opinion, setCart, setOpinion } from "./whom.js";
import { openWhy } from "./why.js";

/** What a list is: the answer it shows, where, and how to ask for it again with everything told. */
export function listOf(answer, placement, explain) {
  let asked;
  return { answer, placement, explain: explain && (() => (asked ??= explain())) };
}

function seenAt(result, list) {
  return { requestId: list.answer.request_id, placement: list.placement, position: result.position };
}

/** Where the products of the list that was left last were seen, for the page that one of them opens. */
const origin = new Map();

export function seenBefore(item) {
  return origin.get(item);
}

function attempt(promise) {
  promise.catch((problem) => dispatchEvent(new CustomEvent("failed", { detail: problem })));
}

/** Like and dislike; a dislike that is pressed again is taken back by a like, which stays. */
export function opinions(item, seen) {
  const buttons = [
    ["like", "\u2665", "Like"],
    ["dislike", "\u2298", "Not for me:"],
  ].map(([kind, sign, words]) =>
    h("button", { type: "button", class: `icon ${kind}`, "aria-label": `${words} ${item.title}`, title: words.replace(":", ""), "data-does": kind, "aria-pressed": String(opinion(item.item_id) === kind), onclick: () => set(kind) }, sign),
  );
  function set(kind) {
    if (kind === "like" && opinion(item.item_id) === "like") return;
    const wanted = kind === "dislike" && opinion(item.item_id) === "dislike" ? "like" : kind;
    setOpinion(item.item_id, wanted);
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.does === wanted));
    attempt(did(wanted, [{ item, seen }]));
  }
  return buttons;
}

export function addButton(item, seen, wide = false) {
  return h("button", { type: "button", class: wide ? "primary wide" : "add", "aria-label": `Add to cart: ${item.title}`, "data-does": "cart", onclick: () => add(item, seen) }, wide ? "Add to cart" : "Add");
}

function add(item, seen) {
  // The cart changes within, so that the recommendations before it are those of before.
  attempt(
    did("cart", [{ item, seen, more: item.price === null ? {} : { price: item.price } }], () => {
      const lines = cart();
      setCart({ ...lines, [item.item_id]: (lines[item.item_id] ?? 0) + 1 });
    }),
  );
}

function marks(result) {
  const moved = result.moved ?? 0;
  return [
    moved > 0 && h("span", { class: "mark-up", title: "Your taste moved it up" }, h("span", { class: "hidden" }, "Your taste moved it up by "), `\u25b2 ${moved}`),
    moved < 0 && h("span", { class: "mark-down", title: "Your taste moved it down" }, h("span", { class: "hidden" }, "Your taste moved it down by "), `\u25bc ${-moved}`),
    result.rule && h("span", { class: "mark-rule" }, result.rule),
    result.offer && result.offer !== result.rule && h("span", { class: "mark-rule" }, `offer ${result.offer}`),
  ];
}

function kindOf(result) {
  return [result.category.at(-1), result.brand].filter(Boolean).map(titled).join(" \u00b7 ");
}

/** One result as a card. */
export function card(result, list, heading = "h3") {
  const seen = seenAt(result, list);
  const open = () => origin.set(result.item_id, seen);
  const node = h(
    "li",
    { class: "card", "data-item": result.item_id },
    tile(result),
    h(
      "div",
      { class: "body" },
      h("p", { class: "kind" }, kindOf(result)),
      h(heading, {}, h("a", { class: "title", href: itemAddress(result.item_id), "data-view": true, onclick: open }, result.title)),
      h("p", { class: "reason" }, result.fits?.length ? `fits: ${result.fits.join(", ")}` : (result.reasons.find((words) => !words.startsWith("relevance ")) ?? "")),
      h("p", { class: "price" }, h("span", {}, money(result.price)), marks(result)),
    ),
    h(
      "div",
      { class: "actions" },
      addButton(result, seen),
      opinions(result, seen),
      h("button", { type: "button", class: "why", "aria-haspopup": "dialog", "aria-label": `Why this? ${result.title}`, "data-does": "why", onclick: () => openWhy(result, list) }, "Why this?"),
    ),
  );
  exposed(node, result, seen);
  return node;
}

/** Results as a grid of cards; arrow keys walk from title to title. */
export function grid(list, heading) {
  const cards = list.answer.results.map((result) => card(result, list, heading));
  return h("ul", { class: "grid", onkeydown: walk }, cards);
}

/** One result as a line, where there is little room. */
export function row(result, list) {
  const seen = seenAt(result, list);
  const node = h(
    "li",
    { class: "row", "data-item": result.item_id },
    tile(result),
    h("div", {}, h("a", { href: itemAddress(result.item_id), "data-view": true, onclick: () => origin.set(result.item_id, seen) }, result.title), h("p", { class: "quiet" }, [money(result.price), ...(result.fits ?? [])].join(" \u00b7 "))),
    h("button", { type: "button", class: "why", "aria-haspopup": "dialog", "aria-label": `Why this? ${result.title}`, onclick: () => openWhy(result, list) }, "Why?"),
  );
  exposed(node, result, seen);
  return node;
}

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

function walk(event) {
  const step = STEPS[event.key];
  if (!step || !event.target.matches(".title")) return;
  const links = [...event.currentTarget.querySelectorAll(".title")];
  const next = links[links.indexOf(event.target) + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}

/** Cards of nothing yet, of the same size, so that nothing moves when the products come. */
export function waitingGrid(number = 12) {
  return h("ul", { class: "grid waiting", "aria-hidden": "true" }, Array.from({ length: number }, () => h("li", { class: "card" })));
}
