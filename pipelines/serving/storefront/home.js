// The first page: what is recommended to whoever shops.

import { grid, listOf } from "./card.js";
import { h } from "./dom.js";
import { forYou } from "./learned.js";

const WORDS = {
  history: "what you bought",
  session: "what you did here lately",
  context: "this page",
  popularity: "what many buy, since nothing is known of you yet",
};

function basis(answer) {
  return `From ${answer.based_on.split("+").map((part) => WORDS[part] ?? part).join(" and ")}.`;
}

/** Show it; an answer that is at hand is not asked for again. */
export async function home(answer) {
  const found = answer ?? (await forYou());
  const list = listOf(found, "home", () => forYou({ explain: true }));
  return {
    title: "For you",
    nodes: [
      h("header", { class: "head" }, h("h1", { tabindex: "-1" }, "For you"), h("p", { class: "quiet", id: "based-on" }, basis(found))),
      found.results.length ? grid(list, "h2") : h("p", { class: "empty" }, "There is nothing to recommend: you have said no to everything."),
    ],
  };
}
