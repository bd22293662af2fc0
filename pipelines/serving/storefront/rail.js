// The panels beside the products: tabs, which a narrow screen keeps at its foot until one is opened.

import { byId } from "./dom.js";

const rail = byId("rail");
const tabs = [...rail.querySelectorAll("[role=tab]")];
const narrow = matchMedia("(max-width: 59.99rem)");

function select(tab) {
  const before = tabs.find((each) => each.tabIndex === 0);
  for (const each of tabs) {
    const chosen = each === tab;
    each.setAttribute("aria-selected", String(chosen));
    each.tabIndex = chosen ? 0 : -1;
    byId(each.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (tab !== before) dispatchEvent(new CustomEvent("panel", { detail: tab.id }));
}

function open(wanted) {
  rail.classList.toggle("open", wanted);
}

function press(tab) {
  const again = tab.getAttribute("aria-selected") === "true" && rail.classList.contains("open");
  select(tab);
  open(narrow.matches ? !again : true);
}

function keys(event) {
  const at = tabs.indexOf(event.target);
  const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (at < 0 || next === undefined) return;
  event.preventDefault();
  const tab = tabs[(next + tabs.length) % tabs.length];
  select(tab);
  tab.focus();
}

export function startRail() {
  for (const tab of tabs) tab.addEventListener("click", () => press(tab));
  rail.addEventListener("keydown", keys);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || byId("dialog").open || !narrow.matches || !rail.classList.contains("open")) return;
    open(false);
    tabs.find((tab) => tab.tabIndex === 0).focus();
  });
  const fit = () => open(!narrow.matches);
  narrow.addEventListener("change", fit);
  fit();
}
