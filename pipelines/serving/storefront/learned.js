// What the system just learned: the shopper's recommendations before and after what they did, and how soon it counted.

import { ask } from "./api.js";
import { itemAddress } from "./address.js";
import { announce, byId, count, h } from "./dom.js";
import { cartIds, whom } from "./whom.js";

const LENGTH = 12;
const KEPT = 6;
const SHOWN = 9;
const MOST_OF_A_KIND = 4;
const entries = [];
let queue = Promise.resolve();

/** The recommendations that the panel compares, which are those of the home page. */
export function forYou(more = {}) {
  return ask("/recommend", { placement: "home", k: LENGTH, cart: cartIds(), ...whom(), ...more });
}

/** Do something that may change what is recommended, and show what it changed. One after the other. */
export function learn(what, act) {
  const run = queue.then(() => once(what, act));
  queue = run.catch(() => undefined);
  return run;
}

async function once(what, act) {
  const before = await forYou();
  const started = performance.now();
  const answer = await act();
  const acknowledged = performance.now() - started;
  const after = await forYou();
  const effective = performance.now() - started;
  const entry = {
    ...what,
    acknowledged,
    effective,
    received: answer?.receipts?.[0]?.received,
    bases: [before.based_on, after.based_on],
    changes: changesOf(before.results, after.results),
  };
  entries.unshift(entry);
  entries.length = Math.min(entries.length, KEPT);
  draw();
  announce(`${what.did} ${what.titles.join(", ")}. ${summary(entry.changes)}`);
  dispatchEvent(new CustomEvent("learned", { detail: after }));
  return answer;
}

function changesOf(before, after) {
  const places = new Map(before.map((result) => [result.item_id, result.position]));
  const now = new Set(after.map((result) => result.item_id));
  const gone = before
    .filter((result) => !now.has(result.item_id))
    .map((result) => ({ kind: "gone", result, from: result.position }));
  const rest = after.flatMap((result) => {
    const from = places.get(result.item_id);
    if (from === undefined) return [{ kind: "new", result, to: result.position }];
    if (from === result.position) return [];
    return [{ kind: from > result.position ? "up" : "down", result, from, to: result.position }];
  });
  return [...gone, ...rest];
}

function summary(changes) {
  if (!changes.length) return "Your recommendations stay as they are.";
  const number = (kind) => changes.filter((change) => change.kind === kind).length;
  const parts = ["new", "gone", "up", "down"].filter(number).map((kind) => `${number(kind)} ${kind}`);
  return `Of your first ${LENGTH} recommendations: ${parts.join(", ")}.`;
}

const SIGNS = { gone: "\u2212", new: "+", up: "\u25b2", down: "\u25bc" };

function line({ kind, result, from, to }) {
  const words = { gone: `gone, was ${from}`, new: `new at ${to}`, up: `${from} to ${to}`, down: `${from} to ${to}` }[kind];
  return h(
    "li",
    { class: `change ${kind}`, "data-item": result.item_id },
    h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[kind]),
    h("a", { href: itemAddress(result.item_id), "data-view": true }, result.title),
    h("span", { class: "quiet" }, h("span", { class: "hidden" }, kind, ", "), words),
  );
}

/** What came, what went, then what moved furthest; some of each. */
function weightiest(changes) {
  const come = changes.filter(({ kind }) => kind === "new").slice(0, MOST_OF_A_KIND);
  const gone = changes.filter(({ kind }) => kind === "gone").slice(0, MOST_OF_A_KIND);
  const moved = changes.filter(({ kind }) => kind === "up" || kind === "down");
  moved.sort((one, other) => Math.abs(other.from - other.to) - Math.abs(one.from - one.to));
  return [...come, ...gone, ...moved].slice(0, SHOWN);
}

function time(entry) {
  const clock = entry.received ? `, durable at ${new Date(entry.received).toLocaleTimeString()}` : "";
  return `Acknowledged after ${entry.acknowledged.toFixed(0)} ms${clock}`;
}

function block(entry, first) {
  const shown = weightiest(entry.changes);
  const more = entry.changes.length - shown.length;
  return h(
    "li",
    { class: "lesson" },
    h("p", { class: "did" }, entry.did, " ", h("strong", {}, entry.titles.slice(0, 3).join(", ")), entry.titles.length > 3 && ` and ${entry.titles.length - 3} more`),
    h(
      "dl",
      { class: "facts" },
      h("div", {}, h("dt", {}, "In force after"), h("dd", { "data-ms": entry.effective.toFixed(1) }, `${entry.effective.toFixed(0)} ms`)),
      h("div", {}, h("dt", {}, "Based on"), h("dd", {}, [...new Set(entry.bases)].join(" \u2192 ").replaceAll("+", " + "))),
    ),
    h("p", { class: "quiet" }, time(entry)),
    first && h("p", { class: "summary" }, summary(entry.changes)),
    first && h("ul", { class: "changes" }, shown.map(line)),
    first && more > 0 && h("p", { class: "quiet" }, `and ${count(more, "more change")}`),
    !first && h("details", {}, h("summary", {}, summary(entry.changes)), h("ul", { class: "changes" }, shown.map(line))),
  );
}

/** Begin anew: what was learned of somebody else is not shown. */
export function forgetLessons() {
  entries.length = 0;
  draw();
}

/** Draw the panel. */
export function draw() {
  const intro = h(
    "p",
    { class: "quiet" },
    "Look at a product, like one, put one into the cart: here stands what it changed in your recommendations, and how soon.",
  );
  const list = h("ol", { class: "lessons" }, entries.map((entry, place) => block(entry, place === 0)));
  byId("panel-learned").replaceChildren(h("h2", { class: "hidden" }, "Just learned"), entries.length ? list : intro);
}
