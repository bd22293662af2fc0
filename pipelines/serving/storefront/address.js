// The page's address says what is shown, so that back, forward, reload and a copied link work.

export const GROUPS = ["department", "product_type", "brand", "size"];
export const PAGE_SIZE = 12;

/** What the address asks for. */
export function here() {
  const asked = new URLSearchParams(location.search);
  const page = Number.parseInt(asked.get("page") ?? "1", 10);
  return {
    view: asked.has("q") ? "search" : asked.has("item") ? "product" : asked.get("view") === "cart" ? "cart" : "home",
    query: asked.get("q") ?? "",
    item: asked.get("item") ?? "",
    exact: asked.has("exact"),
    page: Number.isFinite(page) && page > 1 ? Math.min(page, 80) : 1,
    filters: Object.fromEntries(GROUPS.map((group) => [group, asked.getAll(group)])),
    from: amount(asked.get("from")),
    to: amount(asked.get("to")),
  };
}

function amount(text) {
  const number = text === null || text === "" ? Number.NaN : Number(text);
  return Number.isFinite(number) && number >= 0 && number <= 1e9 ? number : null;
}

export function searchAddress({ query, exact = false, page = 1, filters = {}, from = null, to = null }) {
  const parts = new URLSearchParams([["q", query]]);
  for (const group of GROUPS) for (const value of filters[group] ?? []) parts.append(group, value);
  if (from !== null) parts.set("from", String(from));
  if (to !== null) parts.set("to", String(to));
  if (exact) parts.set("exact", "1");
  if (page > 1) parts.set("page", String(page));
  return `/?${parts}`;
}

export function itemAddress(item) {
  return `/?${new URLSearchParams([["item", item]])}`;
}

/** Go to an address of this page. */
export function go(address) {
  if (address !== location.pathname + location.search) {
    history.replaceState({ top: scrollY }, "");
    history.pushState({}, "", address);
  }
  dispatchEvent(new CustomEvent("moved", { detail: 0 }));
}

/** Links with data-view, and those made by this page, change the view and load nothing. */
export function followLinks() {
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a[data-view]") : null;
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(link.getAttribute("href"));
  });
  history.scrollRestoration = "manual";
  addEventListener("popstate", (event) => dispatchEvent(new CustomEvent("moved", { detail: event.state?.top ?? 0 })));
}
