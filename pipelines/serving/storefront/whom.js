// Who shops here: somebody new or a household that the model knows, each with a phone and a desktop of their own.
// The server only ever hears of devices; which of them is signed in, it knows by /identities.

import { ask } from "./api.js";
import { fresh, read, write } from "./kept.js";

export const DEVICES = { desktop: "Desktop", phone: "Phone" };
export const NEW = "new";

const state = {
  base: fresh(),
  shopper: NEW,
  name: "Someone new",
  device: matchMedia("(max-width: 40rem)").matches ? "phone" : "desktop",
  linked: {},
  likes: {},
  carts: {},
  ...read("whom", {}),
};
const visit = fresh();

function saved() {
  write("whom", state);
}

// Whoever only looks around is the same shopper after a reload.
saved();

/** Tell the page; `anew` where it is somebody else who shops now. */
function changed(anew = false) {
  saved();
  dispatchEvent(new CustomEvent("whom", { detail: { anew } }));
}

function deviceId(device) {
  return `storefront-${state.base}-${state.shopper.slice(0, 12)}-${device}`;
}

/** Who asks, as every route takes it. */
export function whom() {
  return { device: deviceId(state.device), session: `${visit}-${state.device}` };
}

/** The device or account that likes and carts belong to. */
function self() {
  return isLinked(state.device) ? state.shopper : `${state.shopper}-${state.device}`;
}

export function shopper() {
  return { id: state.shopper, name: state.name, device: state.device };
}

export function isLinked(device) {
  return Boolean(state.linked[state.shopper]?.[device]);
}

export function useDevice(device) {
  state.device = device;
  changed();
}

/** Be somebody; a household's desktop is signed in from the start, the phone is not. */
export async function become(id, name) {
  const before = { shopper: state.shopper, name: state.name };
  Object.assign(state, { shopper: id, name });
  try {
    if (id !== NEW && state.linked[id] === undefined) await setLinked("desktop", true, false);
  } catch (problem) {
    Object.assign(state, before);
    throw problem;
  }
  changed(true);
}

/** Sign a device in or out. */
export async function setLinked(device, wanted, tell = true) {
  const account = state.shopper === NEW ? { user: `storefront-${state.base}` } : { household: state.shopper };
  try {
    await ask("/identities", { device: deviceId(device), ...account, action: wanted ? "link" : "unlink" });
  } catch (problem) {
    // The server's state was made anew: what it knows not, is not linked.
    if (problem.code !== "not_linked") throw problem;
  }
  state.linked[state.shopper] = { ...state.linked[state.shopper], [device]: wanted };
  if (tell) changed();
  else saved();
}

/** New devices that nobody saw before. */
export function startAfresh() {
  Object.assign(state, { base: fresh(), linked: {}, likes: {}, carts: {}, shopper: NEW, name: "Someone new" });
  changed(true);
}

/** What this shopper thinks of an item: "like", "dislike", or nothing. */
export function opinion(item) {
  return state.likes[self()]?.[item];
}

export function setOpinion(item, kind) {
  state.likes[self()] = { ...state.likes[self()], [item]: kind };
  saved();
}

/** What is in the cart: item id to how many. */
export function cart() {
  return state.carts[self()] ?? {};
}

export function setCart(lines) {
  state.carts[self()] = lines;
  saved();
  dispatchEvent(new CustomEvent("cart"));
}

export function cartIds() {
  return Object.keys(cart()).slice(0, 200);
}
