// Telling the server what the shopper does: at once for what shapes the answers, in batches for what was seen.

import { ask } from "./api.js";
import { fresh } from "./kept.js";
import { learn } from "./learned.js";
import { whom } from "./whom.js";

const WORDS = {
  view: "You looked at",
  like: "You liked",
  dislike: "You want no more of",
  cart: "You put into the cart",
  purchase: "You bought",
};
const SECONDS = 0.6;
const MOST_WAITING = 500;
const PAGE = "storefront";

function event(type, item, seen, more = {}) {
  const place = seen ? { request_id: seen.requestId, placement: seen.placement, position: seen.position - 1 } : {};
  return { event_id: fresh(), type, item_id: item.item_id, channel: PAGE, ...place, ...whom(), ...more };
}

/** Tell of items, and show what it changed.
 *
 * Each of `done` is an item, where it was seen (an answer's id, placement and position from 1; may be missing), and more
 * fields of its event. `meanwhile` is what the page itself does once the events are durable, with their receipts.
 */
export function did(type, done, meanwhile = () => undefined) {
  const events = done.map(({ item, seen, more }) => event(type, item, seen, more));
  const titles = done.map(({ item }) => item.title);
  return learn({ did: WORDS[type], titles }, async () => {
    const answer = await ask("/events", { events });
    meanwhile(answer);
    return answer;
  });
}

/** Tell what was searched for; no answer depends on it. */
export function searched(query) {
  const told = { event_id: fresh(), type: "search", query, channel: PAGE, ...whom() };
  ask("/events", { events: [told] }).catch(() => undefined);
}

let waiting = [];
let timer = 0;
const lists = new WeakMap();

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const shown = entry.isIntersecting ? lists.get(entry.target) : undefined;
    if (!shown) continue;
    watcher.unobserve(entry.target);
    waiting.push(event("exposure", shown.item, shown.seen));
    timer ||= setTimeout(send, 1000 * SECONDS);
  }
}, { threshold: 0.5 });

/** Tell that an item was seen, once half of it has been on the screen. */
export function exposed(node, item, seen) {
  lists.set(node, { item, seen });
  watcher.observe(node);
}

async function send() {
  timer = 0;
  const events = waiting.splice(0, MOST_WAITING);
  try {
    await ask("/events", { events });
  } catch (problem) {
    // Nothing was stored; where that may change they go with the next ones.
    if (problem.code === "unreachable" || problem.status === 503) waiting = [...events, ...waiting].slice(-MOST_WAITING);
  }
  if (waiting.length && !timer && events.length === MOST_WAITING) timer = setTimeout(send, 1000 * SECONDS);
}
