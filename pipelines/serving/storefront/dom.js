// Elements and texts. What comes from the server only ever becomes a text node or an attribute.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

export function byId(id) {
  return document.getElementById(id);
}

let turn = 0;

/** Tell what happened to whoever listens to the page. The same words twice are said twice. */
export function announce(text) {
  turn += 1;
  byId("said").textContent = turn % 2 ? text : `${text}\u00a0`;
}

/** Show a dialog with a heading; Esc and the button close it, and focus goes back to where it was. */
export function openDialog(title, ...children) {
  const dialog = byId("dialog");
  const close = h("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => dialog.close() }, "\u00d7");
  const heading = h("h2", { id: "dialog-title", tabindex: "-1" }, title);
  dialog.replaceChildren(h("header", {}, heading, close), ...children.filter(Boolean));
  if (!dialog.open) dialog.showModal();
  heading.focus();
  return dialog;
}

/** A price as the catalogue has it, in the shop's own currency. */
export function money(price) {
  return price === null || price === undefined ? "no price" : price.toFixed(2);
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

export function capital(words) {
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** Words as the catalogue spells them, in capitals or not, for a heading. */
export function titled(words) {
  return words === words.toUpperCase() ? capital(words.toLowerCase()) : words;
}
