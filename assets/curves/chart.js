/* One chart on the page: draws the data of its feed, and handles zoom, panning, the readout and saving. */

const looks = (live.looks ??= { axis: "step", smoothing: 0, log: false, layout: "together", set: 0, open: null });
const SHORTEST_DRAG = 6; // pixels a pointer moves before a drag selects a range

class Chart {
  constructor(shadow) {
    this.shadow = shadow;
    this.hidden = new Set();
    this.view = looks;
    this.bar = make("div");
    this.menu = make("div", { hidden: "" });
    this.legend = make("div");
    this.canvas = make("canvas", { tabindex: 0, role: "img" });
    this.readout = make("div", { class: "readout", hidden: "" });
    this.wait = make("p", { class: "wait" });
    this.plot = make("div", { class: "plot" }, this.canvas, this.readout, this.wait);
    this.root = make("div", { class: "chart" }, this.bar, this.menu, this.legend, this.plot);
    shadow.append(this.root);
    this.watcher = new ResizeObserver(() => this.changed());
    this.watcher.observe(this.plot);
    listen(this);
  }

  update(data) {
    this.data = data;
    this.name = data.chart;
    this.feed = feedOf(data.feed);
    if (!live.views.has(data.feed)) live.views.set(data.feed, { range: null, place: null });
    this.zoom = live.views.get(data.feed);
    this.canvas.setAttribute("aria-label", data.alt);
    this.wait.textContent = data.empty;
    live.charts.add(this);
    this.dress();
  }

  remove() {
    live.charts.delete(this);
    this.watcher.disconnect();
    this.root.remove();
  }

  /** Rebuild the controls, then draw. */
  dress() {
    const change = (what, rebuild = true) => {
      if ("axis" in what) for (const zoom of live.views.values()) zoom.range = zoom.place = null;
      Object.assign(looks, what);
      for (const chart of live.charts) rebuild ? chart.dress() : chart.changed();
    };
    const focused = this.shadow.activeElement?.textContent;
    this.bar = replaced(this.bar, bar(this, change));
    this.menu = replaced(this.menu, looks.open === this.name ? menu(this, change) : make("div", { hidden: "" }));
    this.legend = replaced(this.legend, this.data.legend ? this.legendNow() : make("div", { hidden: "" }));
    if (focused) [...this.root.querySelectorAll("button")].find((button) => button.textContent === focused)?.focus();
    this.changed();
  }

  legendNow() {
    const toggle = (name) => {
      this.hidden.has(name) ? this.hidden.delete(name) : this.hidden.add(name);
      this.dress();
    };
    return legend(this.lines(), this.hidden, toggle);
  }

  panels() {
    return (this.data.sets[looks.set] ?? this.data.sets[0]).panels;
  }

  lines() {
    return this.panels().flatMap((panel) => panel.lines);
  }

  /** Draw at the next frame. */
  changed() {
    this.asked ??= requestAnimationFrame(() => {
      this.asked = null;
      this.draw();
    });
  }

  /** Show a range of the axis on all charts of the feed; null shows all of it. */
  zoomTo(range) {
    const had = this.zoom.range !== null;
    this.zoom.range = range && within(range, this.whole());
    for (const chart of live.charts) if (chart.feed === this.feed) had === (range !== null) ? chart.changed() : chart.dress();
  }

  /** Draw the pointer's line at a place on the axis in all charts of the feed; null removes it. */
  pointAt(place, spoken = false) {
    this.zoom.place = place;
    this.readout.setAttribute("aria-live", spoken ? "polite" : "off");
    for (const chart of live.charts) if (chart.feed === this.feed) chart.changed();
  }

  axis() {
    return axisOf(looks.axis, this.data.steps ?? NaN, this.lines()[0]?.batch ?? 1);
  }

  whole() {
    let { end } = this.axis();
    if (!Number.isFinite(end)) {
      const ends = this.arranged.flatMap((panel) => panel.curves.map((curve) => curve.places.at(-1) ?? 0));
      end = Math.max(0, ...ends) || 1;
    }
    return [-0.015 * end, 1.015 * end]; // room for the first and the last point
  }

  notes() {
    return this.feed.notes[this.name] ?? { marks: this.data.marks, levels: this.data.levels };
  }

  /** Return the panels laid out on `width` × `height` pixels, and the marks on them. */
  layout(width, height) {
    const [from, to] = this.zoom.range ?? this.whole();
    const notes = this.notes();
    const whole = this.panels().length === this.arranged.length;
    const panels = this.arranged.map((panel, at) => ({
      ...panel, levels: whole ? notes.levels.filter((level) => level.panel === at) : [],
    }));
    const clock = this.feed.series.get(this.lines()[0]?.clock) ?? emptySeries();
    const marks = notes.marks.flatMap(({ step, title }) => {
      const place = placed({ steps: [step] }, looks.axis, this.lines()[0]?.batch ?? 1, clock);
      return place.length ? [{ place: place[0], title }] : [];
    });
    return { ...laidOut(panels, width, height, this.axis(), from, to, this.zoom.range !== null), marks };
  }

  draw() {
    this.arranged = arranged(this.panels(), this.feed, looks, this.hidden);
    const empty = !this.arranged.some((panel) => panel.curves.some((curve) => curve.places.length));
    const height = heightOf(this.arranged, this.data.height);
    const width = this.plot.clientWidth;
    this.plot.style.height = `${height}px`;
    this.root.classList.toggle("empty", empty);
    if (!width || empty) return;
    const ratio = globalThis.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const ink = inkOf(this.root);
    this.now = this.layout(width, height);
    paint(context, this.now, ink, this.now.marks);
    if (this.zoom.place !== null) paintPointer(context, this.now, this.zoom.place, ink);
    if (this.stretch) paintStretch(context, this.now, ...this.stretch, ink);
    this.readOut();
  }

  /** Show the values at the pointer's line as text. */
  readOut() {
    const place = this.zoom.place === null ? Infinity : pointNear(this.now, this.zoom.place);
    const here = Number.isFinite(place) && this.pointed && !this.stretch;
    this.readout.hidden = !here;
    if (!here) return;
    const rows = this.now.panels.flatMap((panel) => panel.curves).flatMap((curve) => {
      const at = nearest(curve.places, place);
      if (at < 0) return [];
      const own = curve.floor ? curve.values[at] - curve.floor[at] : curve.values[at];
      const measured = curve.faint ? make("small", {}, words(curve.faint[at])) : "";
      return [make("tr", {},
        make("td", {}, make("i", { style: `background:${curve.line.color}` }), curve.line.title),
        make("td", {}, words(own), measured))];
    });
    const head = make("caption", {}, `${this.now.axis.title} ${words(looks.axis === "time" ? place : Math.round(place))}`);
    this.readout.replaceChildren(make("table", {}, head, ...rows));
    const x = acrossOf(this.now, place);
    const left = x + 14 + this.readout.offsetWidth > this.now.width ? x - 14 - this.readout.offsetWidth : x + 14;
    this.readout.style.left = `${Math.max(0, left)}px`;
  }

  /** Save the chart as drawn, with a legend, as a PNG at three times its size. */
  save() {
    const [width, height, times, ink] = [this.plot.clientWidth, this.plot.clientHeight, 3, inkOf(this.root)];
    const canvas = make("canvas", {}), context = canvas.getContext("2d");
    const named = legendPlaces(context, this.lines().filter((line) => !this.hidden.has(line.name)), width, ink);
    const head = 10 + LEGEND_ROW * (1 + Math.max(0, ...named.map(({ row }) => row)));
    [canvas.width, canvas.height] = [width * times, (height + head) * times];
    context.scale(times, times);
    context.translate(0, head);
    paint(context, this.layout(width, height), ink, this.now.marks);
    paintLegend(context, named, head, ink);
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = ink.paper;
    context.fillRect(0, -head, width, height + head);
    canvas.toBlob((blob) => {
      const link = make("a", { download: `${this.data.file}.png`, href: URL.createObjectURL(blob) });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }
}

function replaced(old, fresh) {
  old.replaceWith(fresh);
  return fresh;
}

function inkOf(root) {
  const style = getComputedStyle(root);
  const [text, paper] = [style.getPropertyValue("--st-text-color"), style.getPropertyValue("--st-background-color")];
  const mixed = (share) => `color-mix(in srgb, ${text} ${share}%, ${paper})`;
  const accent = style.getPropertyValue("--st-primary-color");
  return { text, paper, quiet: mixed(66), line: style.getPropertyValue("--st-border-color"), accent, font: style.fontFamily };
}

/** Return a range, moved and shortened to lie within another. */
export function within([from, to], [least, most]) {
  const wide = Math.min(to - from, most - least);
  const start = Math.min(Math.max(from, least), most - wide);
  return [start, start + wide];
}

function listen(chart) {
  const { canvas } = chart;
  const placeOf = (event) => placeAt(chart.now, event.offsetX);
  const end = () => {
    chart.stretch = chart.grip = null;
    chart.changed();
  };
  canvas.onpointerdown = (event) => {
    if (event.button !== 0 || !chart.now) return;
    canvas.setPointerCapture(event.pointerId);
    chart.grip = { x: event.offsetX, range: chart.zoom.range, moves: event.shiftKey && chart.zoom.range !== null };
  };
  canvas.onpointermove = (event) => {
    if (!chart.now) return;
    const { grip } = chart;
    const far = grip && Math.abs(event.offsetX - grip.x) > SHORTEST_DRAG;
    if (grip?.moves) chart.zoomTo(grip.range.map((place) => place - (event.offsetX - grip.x) / chart.now.scale));
    else chart.stretch = far ? [grip.x, Math.min(Math.max(event.offsetX, chart.now.left), chart.now.right)] : null;
    chart.pointed = true;
    chart.pointAt(placeOf(event));
  };
  canvas.onpointerup = () => {
    const range = chart.stretch?.map((x) => placeAt(chart.now, x)).sort((one, other) => one - other);
    end();
    if (range && range[1] > range[0]) chart.zoomTo(range);
  };
  canvas.onpointercancel = end;
  canvas.onpointerleave = canvas.onblur = () => {
    chart.pointed = false;
    chart.pointAt(null);
  };
  canvas.ondblclick = () => chart.zoomTo(null);
  canvas.onkeydown = (event) => typed(chart, event);
  const wheel = (event) => {
    const along = event.shiftKey && !event.deltaX ? event.deltaY : event.deltaX;
    const moves = chart.zoom.range !== null && Math.abs(along) > Math.abs(event.shiftKey ? 0 : event.deltaY);
    if (!chart.now || !(moves || event.ctrlKey)) return; // leave the event to the page, which scrolls
    event.preventDefault();
    if (event.ctrlKey) zoomAround(chart, placeOf(event), Math.exp(event.deltaY / 200));
    else chart.zoomTo(chart.zoom.range.map((place) => place + along / chart.now.scale));
  };
  canvas.addEventListener("wheel", wheel, { passive: false });
}

function zoomAround(chart, place, factor) {
  const [from, to] = chart.zoom.range ?? chart.whole();
  const range = [place - (place - from) * factor, place + (to - place) * factor];
  const [least, most] = chart.whole();
  chart.zoomTo(range[1] - range[0] >= most - least ? null : range);
}

function typed(chart, event) {
  if (!chart.now) return;
  const { from, to } = chart.now;
  const middle = chart.zoom.place ?? (from + to) / 2;
  const aside = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (aside && event.shiftKey) chart.zoomTo(chart.zoom.range?.map((place) => place + (aside * (to - from)) / 10) ?? null);
  else if (aside) {
    chart.pointed = true;
    chart.pointAt(Math.min(Math.max(middle + (aside * (to - from)) / 100, from), to), true);
  } else if (event.key === "+" || event.key === "-") zoomAround(chart, middle, event.key === "+" ? 0.7 : 1 / 0.7);
  else if (event.key === "0" || event.key === "Escape") chart.zoomTo(null);
  else return;
  event.preventDefault();
}

const mounted = new WeakMap();

/** Mount a chart or update the mounted one; without data, only listen to feeds. */
export default function ({ data, parentElement }) {
  if (data) {
    if (!mounted.has(parentElement)) mounted.set(parentElement, new Chart(parentElement));
    mounted.get(parentElement).update(data);
  } else parentElement.host?.closest(".stElementContainer")?.style.setProperty("display", "none");
  drain();
  return () => {
    mounted.get(parentElement)?.remove();
    mounted.delete(parentElement);
  };
}
