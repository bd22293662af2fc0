// What answers a query: results, what the words were taken for, facets, pages.

import { GROUPS, PAGE_SIZE, go, searchAddress } from "./address.js";
import { ask } from "./api.js";
import { grid, listOf } from "./card.js";
import { count, h, money, titled } from "./dom.js";
import { searched } from "./events.js";
import { cartIds, whom } from "./whom.js";

const NAMES = { department: "Department", product_type: "Kind", brand: "Brand", size: "Size" };
const FEW = 6;
const MOST_PAGES = Math.floor(1000 / PAGE_SIZE) + 1;
let told = "";

function question(place, more = {}) {
  const filters = Object.fromEntries(GROUPS.map((group) => [group, place.filters[group]]));
  if (place.from !== null) filters.price_from = place.from;
  if (place.to !== null) filters.price_to = place.to;
  return {
    query: place.query,
    filters,
    offset: (place.page - 1) * PAGE_SIZE,
    k: PAGE_SIZE,
    correct: !place.exact,
    understand: !place.exact,
    cart: cartIds(),
    ...whom(),
    ...more,
  };
}

export async function search(place) {
  if (!place.query.trim()) return blank();
  const answer = await ask("/search", question(place));
  if (told !== place.query) searched(place.query);
  told = place.query;
  const list = listOf(answer, "search", () => ask("/search", question(place, { explain: true })));
  return {
    title: place.query,
    nodes: [
      h(
        "header",
        { class: "head" },
        h("h1", { tabindex: "-1" }, count(answer.total, "result"), " for \u201c", place.query, "\u201d"),
        heard(answer, place),
      ),
      h("div", { class: "found" }, facets(answer, place), h("div", { class: "results" }, answer.results.length ? grid(list, "h2") : await nothing(place), pages(answer, place))),
    ],
  };
}

function blank() {
  return { title: "Search", nodes: [h("header", { class: "head" }, h("h1", { tabindex: "-1" }, "What do you look for?"), h("p", { class: "quiet" }, "Type a word above."))] };
}

/** What the words were taken for, and what was not understood. */
function heard(answer, place) {
  const { understood } = answer;
  const lines = [];
  const mended = Object.entries(understood?.corrections ?? {});
  if (answer.corrected) {
    const words = mended.length ? mended.map(([from, to]) => `\u201c${to}\u201d, not \u201c${from}\u201d`).join(", ") : `\u201c${answer.query}\u201d`;
    lines.push(h("p", { class: "corrected" }, `Searched for ${words}. `, h("a", { href: searchAddress({ ...place, exact: true, page: 1 }), "data-view": true }, "Take my words as they are")));
  }
  const chips = (understood?.slots ?? []).map((slot) => h("span", { class: slot.negated ? "chip not" : "chip" }, h("span", { class: "quiet" }, slot.kind, " "), slot.negated && "not ", slot.value, bounds(slot)));
  const [intent, share] = Object.entries(understood?.intents ?? {}).sort((one, other) => other[1] - one[1])[0] ?? [];
  if (intent) chips.push(h("span", { class: "chip" }, h("span", { class: "quiet" }, "intent "), `${intent.replaceAll("_", " ")} ${Math.round(100 * share)} %`));
  if (chips.length) lines.push(h("p", { class: "chips", "aria-label": "Understood" }, chips));
  for (const { text, why } of understood?.not_understood ?? []) lines.push(h("p", { class: "not-understood" }, `Not understood: \u201c${text}\u201d \u2013 ${why}.`));
  if (understood?.let_go.length) lines.push(h("p", { class: "not-understood" }, `Nothing satisfies everything; let go: ${understood.let_go.join(", ")}.`));
  if (answer.taste_weight > 0) lines.push(h("p", { class: "quiet" }, `Personal: your taste can add up to ${answer.taste_weight.toFixed(2)} to a result.`));
  return lines;
}

function bounds(slot) {
  if (!slot.bounds) return "";
  const [low, high] = slot.bounds;
  const words = [low !== null && `from ${money(low)}`, high !== null && `to ${money(high)}`].filter(Boolean).join(" ");
  return words ? h("span", { class: "quiet" }, ` ${words}`) : "";
}

/** Nothing was found: what is popular, and a way out. */
async function nothing(place) {
  const filtered = GROUPS.some((group) => place.filters[group].length) || place.from !== null || place.to !== null;
  const instead = (more = {}) => ask("/recommend", { placement: "search-empty", k: PAGE_SIZE, cart: cartIds(), ...whom(), ...more });
  const answer = await instead();
  return [
    h("div", { class: "empty" }, h("p", {}, "Nothing here answers that."), filtered && h("a", { href: searchAddress({ query: place.query }), "data-view": true }, "Let go of all filters")),
    h("h2", {}, "Perhaps instead"),
    grid(listOf(answer, "search-empty", () => instead({ explain: true })), "h3"),
  ];
}

function facets(answer, place) {
  const wide = matchMedia("(min-width: 60rem)").matches;
  const chosen = GROUPS.reduce((sum, group) => sum + place.filters[group].length, 0) + Number(place.from !== null) + Number(place.to !== null);
  const form = h("form", { class: "facets", "aria-label": "Narrow the results", onsubmit: apply, onchange: apply });
  function apply(event) {
    event.preventDefault();
    const given = new FormData(form);
    const amount = (name) => (given.get(name) === "" || given.get(name) === null ? null : Math.max(0, Number(given.get(name))));
    const filters = Object.fromEntries(GROUPS.map((group) => [group, given.getAll(group)]));
    go(searchAddress({ ...place, filters, from: amount("from"), to: amount("to"), page: 1 }));
  }
  form.append(
    ...GROUPS.map((group) => facet(group, answer.facets[group] ?? [], place.filters[group])).filter(Boolean),
    prices(answer, place),
    chosen ? h("a", { class: "clear", href: searchAddress({ query: place.query, exact: place.exact }), "data-view": true }, "Let go of all filters") : "",
  );
  return h("details", { class: "narrow", open: wide || undefined }, h("summary", {}, "Narrow", chosen ? h("span", { class: "count" }, chosen) : ""), form);
}

function facet(group, values, chosen) {
  // What is chosen stays where it can be unchosen, even if nothing is left of it.
  const known = new Set(values.map(({ value }) => value.toLowerCase()));
  const all = [...values, ...chosen.filter((value) => !known.has(value.toLowerCase())).map((value) => ({ value, count: 0 }))];
  if (!all.length || (all.length === 1 && !chosen.length)) return null;
  const wanted = new Set(chosen.map((value) => value.toLowerCase()));
  const boxes = all.map(({ value, count: number }) =>
    h("label", {}, h("input", { type: "checkbox", name: group, value, checked: wanted.has(value.toLowerCase()) }), h("span", {}, titled(value)), h("span", { class: "quiet number" }, number)),
  );
  const rest = boxes.slice(FEW);
  return h("fieldset", { "data-group": group }, h("legend", {}, NAMES[group]), boxes.slice(0, FEW), rest.length ? h("details", { open: rest.some((box) => box.querySelector(":checked")) }, h("summary", {}, `${rest.length} more`), rest) : "");
}

function prices(answer, place) {
  const { least, most } = answer.prices ?? { least: null, most: null };
  if (least === null && place.from === null && place.to === null) return "";
  const field = (name, words, value, hint) => h("label", {}, h("span", {}, words), h("input", { type: "number", name, min: 0, step: "any", inputmode: "decimal", value: value ?? "", placeholder: hint === null ? "" : money(hint) }));
  return h("fieldset", { "data-group": "price" }, h("legend", {}, "Price"), h("div", { class: "span" }, field("from", "from", place.from, least), field("to", "to", place.to, most)), h("button", { type: "submit" }, "Apply"));
}

function pages(answer, place) {
  const last = Math.min(MOST_PAGES, Math.max(1, Math.ceil(answer.total / PAGE_SIZE)));
  if (last === 1 && place.page === 1) return "";
  const link = (page, words, rel) => (page < 1 || page > last ? h("span", { class: "quiet" }, words) : h("a", { href: searchAddress({ ...place, page }), "data-view": true, rel }, words));
  return h("nav", { class: "pages", "aria-label": "Pages" }, link(place.page - 1, "\u2190 Before", "prev"), h("span", { "aria-current": "page" }, `${place.page} of ${last}`), link(place.page + 1, "Next \u2192", "next"));
}
