// The page: which view is shown, and what all views share.

import { followLinks, go, here, searchAddress } from "./address.js";
import { hasKey, keep } from "./api.js";
import { waitingGrid } from "./card.js";
import { cartPage } from "./cart.js";
import { byId, h, openDialog } from "./dom.js";
import { home } from "./home.js";
import { draw as drawLearned, forgetLessons } from "./learned.js";
import { forgetOffers, lookForOffers } from "./offers.js";
import { drawWhom, openWhom } from "./person.js";
import { product } from "./product.js";
import { startRail } from "./rail.js";
import { search } from "./search.js";
import { draw as drawTalk, forget } from "./talk.js";
import { cart } from "./whom.js";

const VIEWS = { home: (_, answer) => home(answer), search, product, cart: cartPage };
const main = byId("main");
let turn = 0;
let going = null;

/** Show what the address asks for.
 *
 * `arrived` tells that somebody went there: the heading is then read out, and a look at a product counts. `top` is how
 * far down they were when they left it, `answer` what is at hand already.
 */
async function show(arrived, top = 0, answer = undefined) {
  if (!arrived && going !== null) {
    // Somebody who is just arriving still does, with what changed meanwhile.
    show(true, going, answer);
    return;
  }
  const place = here();
  const mine = (turn += 1);
  const from = document.activeElement;
  byId("query").value = place.query;
  if (arrived) {
    going = top;
    main.replaceChildren(h("header", { class: "head" }, h("h1", { tabindex: "-1" }, "\u00a0")), waitingGrid());
    main.setAttribute("aria-busy", "true");
    scrollTo(0, 0);
  }
  let view;
  try {
    view = await VIEWS[place.view](place, answer);
  } catch (problem) {
    if (mine === turn) fill(broken(problem));
    if (!("code" in problem)) throw problem;
    return;
  }
  if (mine !== turn) return;
  const kept = arrived ? null : focused();
  fill(view);
  if (top) scrollTo(0, top);
  if (!arrived) refocus(kept);
  else if (turn > 1 && idle(from, place)) main.querySelector("h1").focus({ preventScroll: true });
  if (arrived && view.arrived) view.arrived().catch(failed);
}

/** Whether nobody went on to something else meanwhile, such as typing the next query. */
function idle(from, place) {
  const now = document.activeElement;
  return now === document.body || (now === from && (now !== byId("query") || now.value.trim() === place.query));
}

function fill(view) {
  main.replaceChildren(...view.nodes);
  main.removeAttribute("aria-busy");
  going = null;
  document.title = `${view.title} \u00b7 shoploom`;
}

function broken(problem) {
  return {
    title: "No answer",
    nodes: [
      h(
        "div",
        { class: "empty problem" },
        h("h1", { tabindex: "-1" }, problem.code === "unknown_item" ? "No such product" : "This did not work"),
        h("p", {}, problem.message),
        h("p", { class: "quiet" }, problem.mend ?? ""),
        problem.requestId && h("p", { class: "quiet" }, "Request ", h("code", {}, problem.requestId)),
        h("button", { type: "button", class: "primary", onclick: () => show(true) }, "Try again"),
      ),
    ],
  };
}

/** Where the focus is, by product and button, for when the list is drawn anew. */
function focused() {
  const at = document.activeElement;
  if (!main.contains(at)) return null;
  return { item: at.closest("[data-item]")?.dataset.item, does: at.dataset.does };
}

function refocus(kept) {
  if (!kept) return;
  const same = kept.item && main.querySelector(`[data-item="${CSS.escape(kept.item)}"]`);
  const target = same ? same.querySelector(`[data-does="${kept.does}"]`) ?? same.querySelector("a") : main.querySelector("h1");
  target?.focus({ preventScroll: true });
}

function failed(problem) {
  byId("alert").replaceChildren(h("p", {}, problem.message, " ", problem.mend ?? ""));
}

function drawCart() {
  const number = Object.values(cart()).reduce((sum, many) => sum + many, 0);
  byId("cart-count").textContent = String(number);
}

function wantKey(problem) {
  keep(null);
  const field = h("input", { id: "key", type: "password", autocomplete: "off", required: true });
  const dialog = openDialog(
    "An API key, please",
    h(
      "form",
      { class: "person", onsubmit: (event) => {
        event.preventDefault();
        keep(field.value.trim());
        dialog.close();
        show(true);
      } },
      h("p", {}, problem.message, "."),
      h("label", { for: "key" }, "API key"),
      field,
      h("p", { class: "quiet" }, "It needs the scopes read and events, and admin to be a household. It is kept in this tab until the tab is closed."),
      h("button", { type: "submit", class: "primary" }, "Use it"),
    ),
  );
  field.focus();
}

byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const query = byId("query").value.trim();
  if (query) go(searchAddress({ query }));
});
byId("whom").addEventListener("click", openWhom);
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || typing || byId("dialog").open || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  byId("query").focus();
  byId("query").select();
});
addEventListener("moved", (event) => show(true, event.detail));
addEventListener("whom", (event) => {
  drawWhom();
  drawCart();
  if (event.detail.anew) {
    forget();
    forgetLessons();
  }
  forgetOffers();
  show(false);
});
addEventListener("cart", () => {
  drawCart();
  if (here().view === "cart") show(false);
});
addEventListener("bought", forgetOffers);
addEventListener("learned", (event) => {
  if (here().view === "home") show(false, 0, event.detail);
});
addEventListener("panel", (event) => event.detail === "tab-offers" && lookForOffers());
addEventListener("failed", (event) => failed(event.detail));
addEventListener("keywanted", (event) => {
  if (!byId("key")?.closest("dialog[open]")) wantKey(event.detail);
});
addEventListener("answered", (event) => {
  byId("alert").replaceChildren();
  const { model } = event.detail;
  if (model) byId("model").textContent = `Model version ${model.version}, run ${model.run.slice(0, 12)}${model.override ? `, let out by an override: ${model.override}` : ""}${hasKey() ? ", by key" : ""}`;
});

followLinks();
startRail();
drawWhom();
drawCart();
drawLearned();
drawTalk();
forgetOffers();
show(true);
