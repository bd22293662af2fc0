// The dialog "who am I": a shopper, the device in hand, and which devices are signed in.

import { ask } from "./api.js";
import { announce, byId, count, h, openDialog, titled } from "./dom.js";
import { learn } from "./learned.js";
import { DEVICES, NEW, become, isLinked, setLinked, shopper, startAfresh, useDevice } from "./whom.js";

let known = null;

export function nameOf(household) {
  return `Household ${household.slice(0, 4)}`;
}

/** Show who shops, in the page's head. */
export function drawWhom() {
  const { name, device } = shopper();
  byId("whom-name").textContent = name;
  byId("whom-device").textContent = DEVICES[device] + (isLinked(device) ? "" : ", not signed in");
  byId("whom").classList.toggle("known", isLinked(device));
}

export async function openWhom() {
  const wrong = h("p", { class: "wrong", role: "alert" });
  const people = h("fieldset", { id: "people" }, h("legend", {}, "Who"), person(NEW, "Someone new", "Nothing is known of them.", pick), h("p", { class: "quiet" }, "Asking for households\u2026"));
  const devices = h("fieldset", { id: "devices" });
  openDialog(
    "Who am I?",
    h("div", { class: "person" }, people, devices, wrong, h("p", { class: "quiet" }, "Households are known by pseudonym only. What is done here counts as theirs, with the channel \u201cstorefront\u201d."), h("button", { type: "button", onclick: afresh }, "Start afresh, with devices that nobody saw before")),
  );
  drawDevices();
  await drawPeople();

  async function attempt(act) {
    wrong.textContent = "";
    try {
      await act();
    } catch (problem) {
      wrong.textContent = `${problem.message} ${problem.mend ?? ""}`;
    }
    drawDevices();
  }

  function pick(id, name) {
    return attempt(async () => {
      await become(id, name);
      announce(`You are ${name}.`);
    });
  }

  function afresh() {
    startAfresh();
    drawDevices();
    for (const choice of people.querySelectorAll("input")) choice.checked = choice.value === NEW;
    announce("You are someone new.");
  }

  async function drawPeople() {
    try {
      known ??= (await ask("/households")).households;
      const found = known.map((each) => person(each.household, nameOf(each.household), `${count(each.purchases, "purchase")} \u00b7 often ${each.categories.map(titled).join(", ")}`, pick));
      people.lastChild.replaceWith(...found);
    } catch (problem) {
      people.lastChild.textContent = problem.status === 403 ? "To be a household a key with the scope admin is needed." : `${problem.message} ${problem.mend ?? ""}`;
    }
  }

  function drawDevices() {
    const { device: inHand, name } = shopper();
    const focused = document.activeElement?.id;
    devices.replaceChildren(
      h("legend", {}, "Devices of ", name.replace(/^S/, "s").replace(/^H/, "h")),
      ...Object.entries(DEVICES).map(([device, words]) =>
        h(
          "div",
          { class: "device" },
          h("label", {}, h("input", { type: "radio", name: "device", id: `device-${device}`, value: device, checked: inHand === device, onchange: () => {
            useDevice(device);
            drawDevices();
          } }), `${words} in hand`),
          h("label", {}, h("input", { type: "checkbox", role: "switch", id: `linked-${device}`, checked: isLinked(device), onchange: (event) => toggle(device, words, event.target.checked) }), "signed in"),
        ),
      ),
      h("p", { class: "quiet" }, "What was done on a device that is signed in shapes every other one. Signed out again, it is as if it had never been."),
    );
    if (focused) byId(focused)?.focus();
  }

  function toggle(device, words, wanted) {
    return attempt(() => learn({ did: `You signed ${wanted ? "in" : "out"}:`, titles: [words] }, () => setLinked(device, wanted)));
  }
}

function person(id, name, words, pick) {
  return h("label", { class: "choice" }, h("input", { type: "radio", name: "shopper", value: id, checked: shopper().id === id, onchange: () => pick(id, name) }), h("span", {}, h("strong", {}, name), h("span", { class: "quiet" }, words)));
}
