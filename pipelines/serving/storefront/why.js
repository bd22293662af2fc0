// "Why this?": what is behind one result.

import { count, h, openDialog } from "./dom.js";

const MOST = 8;

/** Contributions of features that are about the same, in one line each, the strongest first. */
function summed(contributions) {
  const totals = new Map();
  for (const { words, log_odds: added } of contributions) totals.set(words, (totals.get(words) ?? 0) + added);
  return [...totals].sort(([, one], [, other]) => Math.abs(other) - Math.abs(one));
}

/** A bar whose length is a share of the greatest. */
function bar(words, value, most, told) {
  const fill = h("span", { class: value < 0 ? "fill against" : "fill" });
  fill.style.inlineSize = `${Math.max(2, (100 * Math.abs(value)) / (most || 1)).toFixed(1)}%`;
  return h("li", { class: "bar-line" }, h("span", {}, words), h("span", { class: "track", "aria-hidden": "true" }, fill), h("span", { class: "number" }, told));
}

function signed(value) {
  return `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(2)}`;
}

function part(title, ...children) {
  return h("section", { class: "why-part" }, h("h3", {}, title), children);
}

function ranking(result) {
  const totals = summed(result.contributions);
  if (!totals.length) return h("p", { class: "quiet" }, "The ranking of your past does not speak of this product.");
  const most = Math.abs(totals[0][1]);
  const shown = totals.slice(0, MOST).map(([words, value]) => bar(words, value, most, signed(value)));
  const rest = totals.length - shown.length;
  return [
    h("ul", { class: "bars" }, shown),
    h("p", { class: "quiet" }, "In log odds of a purchase: above 0 it speaks for the product, below 0 against it.", rest > 0 && ` ${rest} smaller ones are left out.`),
  ];
}

/** Of a search result: what of the words it fits, and what its score is the sum of. */
function queryPart(result, explained) {
  const moved = result.moved ? `Your taste moved it ${result.moved > 0 ? "up" : "down"} ${count(Math.abs(result.moved), "place")}.` : "Your taste did not move it.";
  const parts = explained?.score_parts ?? [];
  const most = Math.max(...parts.map((each) => Math.abs(each.added)));
  return [
    result.fits.length > 0 && h("p", {}, "It fits: ", h("span", { class: "chips" }, result.fits.map((words) => h("span", { class: "chip" }, words)))),
    h(
      "ul",
      { class: "bars" },
      parts.length ? parts.map((each) => bar(each.words, each.added, most, signed(each.added))) : bar("how well its text answers the query", result.relevance, 1, result.relevance.toFixed(2)),
    ),
    h("p", {}, moved),
  ];
}

/** Open the dialog of a result; what takes longer to tell comes a moment later. */
export async function openWhy(result, list) {
  const told = h("div", { "aria-live": "polite" }, h("p", { class: "quiet" }, "Taking the ranking apart\u2026"));
  const words = h("ul", { class: "reasons" });
  const say = (reasons) => {
    // The relevance stands among the bars, in the same number.
    const said = reasons.filter((reason) => !reason.startsWith("relevance "));
    words.replaceChildren(...(said.length ? said : ["It answers your words."]).map((reason) => h("li", {}, reason)));
  };
  say(result.reasons);
  const query = result.relevance === undefined ? null : part("Your words", queryPart(result));
  openDialog(
    "Why this?",
    h("p", { class: "why-title" }, h("strong", {}, result.title), ` \u00b7 place ${result.position}`),
    part("In words", words),
    query,
    list.explain && part("Your past, taken apart", told),
    part(
      "Rules and offers",
      h("p", {}, result.rule ? `Moved by the shop's rule: ${result.rule}.` : "No rule of the shop moved it."),
      result.offer && h("p", {}, `You hold an offer for it: ${result.offer}.`),
    ),
    h("p", { class: "quiet provenance" }, `Model version ${list.answer.model.version}, run commit `, h("code", {}, list.answer.model.run.slice(0, 12)), `, request `, h("code", {}, list.answer.request_id.slice(0, 12)), list.answer.model.override && `, let out by an override: ${list.answer.model.override}`),
  );
  if (!list.explain) return;
  try {
    const explained = (await list.explain()).results.find((other) => other.item_id === result.item_id);
    if (explained) say(explained.reasons);
    if (explained && query) query.replaceWith(part("Your words", queryPart(explained, explained)));
    const parts = explained ? ranking(explained) : [h("p", { class: "quiet" }, "It is no longer on this list.")];
    told.replaceChildren(...[parts].flat());
  } catch (problem) {
    told.replaceChildren(h("p", {}, `${problem.message} ${problem.mend ?? ""}`));
  }
}
