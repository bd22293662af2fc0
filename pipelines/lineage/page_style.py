"""How the page of a lineage looks, on a screen by day and by night and on paper, and how it is moved about."""

STYLE = """
:root { color-scheme: light dark; --ink: #20242b; --soft: #5d6673; --line: #d5dae0; --paper: #fff; --tint: #f6f8fa;
  --arrow: #8b95a1; --lit: #1f6feb; --source: #7a6a3f; --data: #2c7a4b; --code: #6a4fb3; --stage: #2b6cb0;
  --run: #b7571b; --verdict: #a23b72; --model: #b3261e; --served: #00757f }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #a0abb8; --line: #3a414b; --paper: #14171b;
  --tint: #1d2228; --arrow: #6c7683; --lit: #6cb0ff; --source: #d0b96b; --data: #63c98b; --code: #b39ff0;
  --stage: #7ab6f2; --run: #f0a063; --verdict: #ea8fbd; --model: #ff8a80; --served: #5cc8d2 } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0; display: flex;
  flex-direction: column; min-height: 100vh }
header, footer { padding: .7rem 1.2rem } main { flex: 1; display: flex; flex-direction: column; min-height: 0 }
h1 { font-size: 1.35rem; margin: 0 } h2 { font-size: 1.1rem; margin: .2rem 0 .5rem }
h3 { font-size: .95rem; margin: .9rem 0 0 }
.soft { color: var(--soft) } footer { font-size: .85rem } a { color: var(--lit) }
.kinds { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1rem; padding: 0;
  margin: .4rem 0; font-size: .85rem }
.kinds li { border-left: 4px solid var(--kind); padding-left: .4rem } .tools { margin: .3rem 0; font-size: .85rem }
button { font: inherit; color: inherit; background: var(--tint); border: 1px solid var(--line); border-radius: 6px;
  padding: .15rem .6rem; cursor: pointer }
.missing { border: 1px solid var(--run); border-radius: 8px; padding: .5rem .9rem; margin: .5rem 0 }
.missing em { color: var(--soft) }
.graph { overflow: auto; height: 58vh; border-block: 1px solid var(--line); background: var(--tint); cursor: grab }
.graph svg { display: block; margin: 0 auto }
.source { --kind: var(--source) } .data { --kind: var(--data) } .code { --kind: var(--code) }
.stage { --kind: var(--stage) } .run { --kind: var(--run) } .verdict { --kind: var(--verdict) }
.model { --kind: var(--model) } .served { --kind: var(--served) }
.box rect { fill: var(--paper); stroke: var(--line) } .box .edge { fill: var(--kind); stroke: none }
.box text { font: 600 13px system-ui, sans-serif; fill: var(--ink) }
.box text.soft { font-weight: 400; font-size: 12px; fill: var(--soft) }
.box:hover rect:first-of-type, .box:focus rect:first-of-type { stroke: var(--lit); stroke-width: 2.5 }
.box:focus { outline: none } .box:focus-visible rect:first-of-type { stroke: var(--lit); stroke-width: 3.5 }
.arrows path { fill: none; stroke: var(--arrow); stroke-width: 1.3; marker-end: url(#tip) }
#tip path { fill: var(--arrow) }
.tracing .box:not(.lit) { opacity: .35 } .tracing .arrows path:not(.lit) { opacity: .12 }
.tracing .arrows path.lit { stroke: var(--lit); stroke-width: 2 }
.details { padding: .7rem 1.2rem; overflow-wrap: anywhere } .details article { display: none }
.details article:target, .details article.shown { display: block } .details.chosen .hint { display: none }
.details.chosen article:target:not(.shown) { display: none }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0 } dt { color: var(--soft) }
dd { margin: 0 } .wide { overflow: auto; max-height: 24rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem }
th, td { text-align: left; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
thead th { color: var(--soft); font-weight: 500 }
@media print {
  :root { --ink: #000; --soft: #444; --line: #999; --paper: #fff; --tint: #fff; --arrow: #555 }
  .tools, .hint { display: none } .graph { height: auto; overflow: visible; border: 0 }
  .graph svg { width: 100% !important; height: auto !important }
  .tracing .box, .tracing .arrows path { opacity: 1 !important }
  .details article { display: block !important; break-inside: avoid-page; border-top: 1px solid #999; padding: .5rem 0 }
  .wide { max-height: none; overflow: visible }
}
"""

SCRIPT = """
(() => {
  const graph = document.querySelector('.graph'), svg = graph.querySelector('svg');
  const details = document.querySelector('.details');
  const width = svg.viewBox.baseVal.width, height = svg.viewBox.baseVal.height;
  const paths = [...svg.querySelectorAll('.arrows path')], boxes = [...svg.querySelectorAll('.box')];
  const byId = new Map(boxes.map(box => [box.id.slice(4), box]));
  let scale = 1;
  const zoom = to => {
    scale = Math.min(4, Math.max(0.1, to));
    svg.setAttribute('width', width * scale);
    svg.setAttribute('height', height * scale);
  };
  const fit = () => zoom(Math.min(1, (graph.clientWidth - 8) / width, (graph.clientHeight - 8) / height));
  const reach = (id, from, to, found) => paths.forEach(path => {
    if (path.dataset[from] === id && !found.has(path)) {
      found.add(path);
      reach(path.dataset[to], from, to, found);
    }
  });
  const choose = id => {
    const lit = new Set(), ids = new Set([id]);
    reach(id, 'from', 'to', lit);
    reach(id, 'to', 'from', lit);
    lit.forEach(path => ids.add(path.dataset.from).add(path.dataset.to));
    paths.forEach(path => path.classList.toggle('lit', lit.has(path)));
    byId.forEach((box, name) => box.classList.toggle('lit', ids.has(name)));
    svg.classList.add('tracing');
    details.classList.add('chosen');
    details.querySelectorAll('article').forEach(one => one.classList.toggle('shown', one.id === id));
  };
  const clear = () => {
    svg.classList.remove('tracing');
    details.classList.remove('chosen');
    details.querySelectorAll('article').forEach(one => one.classList.remove('shown'));
  };
  boxes.forEach(box => {
    box.addEventListener('focus', () => choose(box.id.slice(4)));
    box.addEventListener('click', event => { event.preventDefault(); box.focus(); });
  });
  details.addEventListener('click', event => {
    const link = event.target.closest('a[href^="#"]'), box = link && byId.get(link.getAttribute('href').slice(1));
    if (box) { event.preventDefault(); box.focus(); }
  });
  const middle = box => { const at = box.getBoundingClientRect(); return [at.x + at.width / 2, at.y + at.height / 2]; };
  const step = (box, key) => {
    const [x, y] = middle(box), level = key === 'ArrowLeft' || key === 'ArrowRight';
    const sign = key === 'ArrowRight' || key === 'ArrowDown' ? 1 : -1;
    let best = null, least = Infinity;
    boxes.forEach(other => {
      const [ox, oy] = middle(other), along = sign * (level ? ox - x : oy - y);
      const aside = Math.abs(level ? oy - y : ox - x);
      const far = along + 3 * aside;
      if (other !== box && along > 4 && far < least) { best = other; least = far; }
    });
    if (best) best.focus();
  };
  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === '+' || event.key === '=') zoom(scale * 1.25);
    else if (event.key === '-') zoom(scale * 0.8);
    else if (event.key === '0') fit();
    else if (event.key === 'Escape') { clear(); if (document.activeElement) document.activeElement.blur(); }
    else if (event.key.startsWith('Arrow') && boxes.includes(document.activeElement)) {
      event.preventDefault();
      step(document.activeElement, event.key);
    }
  });
  document.querySelectorAll('[data-zoom]').forEach(button => button.addEventListener('click', () =>
    button.dataset.zoom === 'fit' ? fit() : zoom(scale * Number(button.dataset.zoom))));
  graph.addEventListener('wheel', event => {
    if (event.ctrlKey) { event.preventDefault(); zoom(scale * (event.deltaY < 0 ? 1.1 : 0.9)); }
  }, { passive: false });
  let held = null;
  graph.addEventListener('pointerdown', event => {
    if (event.pointerType === 'mouse' && !event.target.closest('.box'))
      held = [event.clientX + graph.scrollLeft, event.clientY + graph.scrollTop];
  });
  addEventListener('pointermove', event => {
    if (held) graph.scrollTo(held[0] - event.clientX, held[1] - event.clientY);
  });
  addEventListener('pointerup', () => { held = null; });
  if (width > graph.clientWidth * 2.2) zoom(Math.max(0.6, graph.clientWidth / width)); else fit();
  if (byId.has(location.hash.slice(1))) byId.get(location.hash.slice(1)).focus();
})();
"""
