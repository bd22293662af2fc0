// Offers that the shop holds for the shopper: what each is worth to both, to be used or given back.

import { itemAddress } from "./address.js";
import { ask } from "./api.js";
import { announce, byId, h, money } from "./dom.js";
import { cartIds, whom } from "./whom.js";

const WANTED = 3;
const panel = byId("panel-offers");
let held = null;

/** Nothing is asked for before somebody looks: what is told of is held for the shopper, out of a budget. */
export function forgetOffers() {
  held = null;
  if (panel.hidden) draw(h("p", { class: "quiet" }, "Looking for offers\u2026"));
  else lookForOffers();
}

export async function lookForOffers() {
  const mine = (held = { ...whom() });
  try {
    const answer = await ask("/offers", { placement: "home", k: WANTED, cart: cartIds(), ...whom() });
    if (mine === held) drawAll(answer);
  } catch (problem) {
    if (mine === held) draw(h("p", { class: "wrong" }, `${problem.message} ${problem.mend ?? ""}`), again());
  }
}

function draw(...nodes) {
  panel.replaceChildren(h("h2", { class: "hidden" }, "Offers"), ...nodes);
}

function again() {
  return h("button", { type: "button", onclick: lookForOffers }, "Look again");
}

function drawAll({ offers, chances_from: source, known_user: known }) {
  if (!offers.length) {
    draw(
      h("p", {}, "No offer is worth its cost to the shop for you now."),
      h("p", { class: "quiet" }, "The shop sets offers by ", h("code", {}, "PUT /offers/terms"), "; what would be bought anyway, or is in the cart, is not offered."),
      again(),
    );
    return;
  }
  const basis = source === "model" ? "a model of real campaigns" : "how often offers here were used";
  draw(
    h("ul", { class: "offers" }, offers.map(offer)),
    h("p", { class: "quiet" }, `Chances from ${basis}${known ? "" : "; your purchases are not known"}.`),
    again(),
  );
}

function share(words, value) {
  const fill = h("span", { class: "fill" });
  fill.style.inlineSize = `${(100 * value).toFixed(1)}%`;
  return h("li", { class: "bar-line" }, h("span", {}, words), h("span", { class: "track", "aria-hidden": "true" }, fill), h("span", { class: "number" }, `${(100 * value).toFixed(0)} %`));
}

function offer(each) {
  const [item] = each.item_ids;
  const end = h("p", { class: "offer-end", "aria-live": "polite" });
  const buttons = h(
    "div",
    { class: "offer-actions" },
    h("button", { type: "button", class: "primary", "aria-label": `Use it: ${each.title}`, onclick: () => finish("redeem") }, "Use it"),
    h("button", { type: "button", "aria-label": `Give back: ${each.title}`, onclick: () => finish("release") }, "Give back"),
  );

  async function finish(action) {
    for (const button of buttons.children) button.disabled = true;
    try {
      const done = await ask("/reservations", { reservation_id: each.reservation_id, action });
      const words = done.status === "redeemed" ? `Used: ${money(done.amount)} off.` : "Given back: its budget is free again.";
      buttons.remove();
      end.textContent = words;
      announce(words);
    } catch (problem) {
      for (const button of buttons.children) button.disabled = false;
      end.textContent = `${problem.message} ${problem.mend ?? ""}`;
    }
  }

  return h(
    "li",
    { class: "offer", "data-offer": each.offer_id },
    h("p", { class: "off" }, h("strong", {}, money(each.cost), " off"), h("span", { class: "chip" }, each.kind)),
    h("p", {}, item ? h("a", { href: itemAddress(item), "data-view": true }, each.title) : each.title),
    h("ul", { class: "bars" }, share("chance to be used", each.chance), share("bought anyway", each.bought_anyway)),
    h("p", { class: "quiet" }, `Expected to bring the shop ${each.expected_value < 0.01 ? "less than 0.01" : money(each.expected_value)}. Held for you until ${new Date(each.expires).toLocaleTimeString()}${each.again ? ", as before" : ""}.`),
    buttons,
    end,
  );
}
