// A search that narrows by talking.

import { ask } from "./api.js";
import { listOf, row } from "./card.js";
import { byId, count, h, money } from "./dom.js";
import { cartIds, whom } from "./whom.js";

const SHOWN = 5;
const HINTS = ["something cheaper", "not this brand", "more like the second one", "start over"];
let talk = { turns: [], answer: null };
let busy = false;

/** Begin anew: another shopper, another conversation. */
export function forget() {
  talk = { turns: [], answer: null };
  draw();
}

async function take(text, withdraw = []) {
  if (busy) return;
  busy = true;
  byId("panel-talk").setAttribute("aria-busy", "true");
  const said = text || "Take that back";
  try {
    const named = talk.answer ? { conversation: talk.answer.conversation } : {};
    const answer = await ask("/converse", { text, withdraw, k: SHOWN, explain: true, cart: cartIds(), ...named, ...whom() });
    talk = { turns: [...talk.turns, { said, answer }].slice(-8), answer };
  } catch (problem) {
    if (problem.code === "unknown_conversation") talk.answer = null;
    talk.turns = [...talk.turns, { said, problem }].slice(-8);
  } finally {
    busy = false;
    byId("panel-talk").removeAttribute("aria-busy");
    draw();
    byId("say").focus();
  }
}

function reply({ answer, problem }) {
  if (problem) return h("div", { class: "reply wrong" }, h("p", {}, problem.message), h("p", { class: "quiet" }, problem.mend));
  return h(
    "div",
    { class: "reply" },
    answer.changes.map((change) => h("p", { class: "change-said" }, change.action !== "none" && [h("span", { class: "action" }, change.action), " "], change.said)),
    Object.entries(answer.corrections).map(([from, to]) => h("p", {}, `\u201c${from}\u201d taken for \u201c${to}\u201d`)),
    answer.not_understood.map(({ text, why }) => h("p", { class: "not-understood" }, text ? `Not understood: \u201c${text}\u201d \u2013 ${why}.` : `Not understood: ${why}.`)),
    answer.let_go.length > 0 && h("p", { class: "not-understood" }, "Nothing satisfies everything; let go for now: ", answer.constraints.filter((each) => answer.let_go.includes(each.id)).map((each) => each.said).join(", "), "."),
    h("p", { class: "quiet" }, count(answer.total, "product")),
  );
}

function chip(constraint) {
  const [low, high] = constraint.bounds ?? [null, null];
  const span = [low !== null && `from ${money(low)}`, high !== null && `to ${money(high)}`].filter(Boolean).join(" ");
  // Of products what is said names them; their values are numbers.
  const named = ["item", "like"].includes(constraint.kind);
  const words = named ? constraint.said : `${constraint.negated ? "not " : ""}${constraint.value}`;
  const kind = named ? "" : h("span", { class: "quiet" }, constraint.kind, " ");
  return h("li", { class: constraint.negated ? "chip not" : "chip" }, kind, words, span && h("span", { class: "quiet" }, ` ${span}`), h("button", { type: "button", "aria-label": `Withdraw ${words}`, onclick: () => take("", [constraint.id]) }, "\u00d7"));
}

export function draw() {
  const { turns, answer } = talk;
  const field = h("input", { id: "say", name: "say", type: "text", maxlength: 10000, autocomplete: "off", placeholder: turns.length ? "something cheaper" : "cheap frozen pizza", enterkeyhint: "send" });
  const form = h("form", { class: "say", onsubmit: (event) => {
    event.preventDefault();
    if (field.value.trim()) take(field.value.trim());
  } }, h("label", { class: "hidden", for: "say" }, "What do you look for?"), field, h("button", { type: "submit", class: "primary" }, "Say"));
  const said = turns.map((turn) => h("li", {}, h("p", { class: "you" }, h("span", { class: "hidden" }, "You: "), turn.said), reply(turn)));
  const log = h("div", { role: "log", "aria-label": "Conversation" }, h("ol", { class: "turns" }, said));
  const list = answer && listOf(answer, "converse", async () => answer);
  byId("panel-talk").replaceChildren(
    h("h2", { class: "hidden" }, "Talk"),
    turns.length ? log : h("p", { class: "quiet" }, "Say what you look for, then narrow it: every turn shows what was understood, and everything can be taken back."),
    ...(answer?.constraints.length ? [h("h3", {}, "In force"), h("ul", { class: "chips", id: "in-force" }, answer.constraints.map(chip))] : []),
    form,
    ...(turns.length ? [h("p", { class: "hints" }, HINTS.map((hint) => h("button", { type: "button", onclick: () => take(hint) }, hint)))] : []),
    ...(list ? [h("h3", {}, "Shown now"), h("ol", { class: "rows" }, answer.results.map((result) => row(result, list)))] : []),
  );
}
