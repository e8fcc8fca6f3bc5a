/* The controls above a chart: choice of curves, view menu, zoom reset and saving; and the legend. */

const ICONS = {
  view: "M3 6h9m6 0h3M3 12h3m6 0h9M3 18h11m6 0h1M15 4v4M9 10v4M17 16v4",
  save: "M12 4v11m-5-5 5 5 5-5M5 19h14",
};
const AXES = { step: "Step", examples: "Examples", time: "Minutes" };
const HINT = "Drag to zoom into a range. Ctrl + wheel, + and − zoom, too. Shift + drag pans. Double-click or 0 resets.";
const LAYOUTS = { together: "Together", stacked: "Stacked", apart: "Apart" };

/** Return an element with attributes, listeners ("onclick") and children; strings become text nodes, never HTML. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element[name] = value;
    else if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function icon(path) {
  const [image, line] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
  image.setAttribute("viewBox", "0 0 24 24");
  image.setAttribute("aria-hidden", "true");
  line.setAttribute("d", path);
  image.append(line);
  return image;
}

function choice(title, options, chosen, choose) {
  const buttons = Object.entries(options).map(([value, words]) => {
    const pressed = String(value === String(chosen));
    return make("button", { type: "button", "aria-pressed": pressed, onclick: () => choose(value) }, words);
  });
  return make("div", { class: "choice", role: "group", "aria-label": title }, ...buttons);
}

function labelled(words, control) {
  return make("div", { class: "row" }, make("span", {}, words), control);
}

/** Return the controls above a chart in their current state. `change` takes the changed fields of the view. */
export function bar(chart, change) {
  const { data, view } = chart;
  const parts = [];
  if (data.sets.length > 1) {
    parts.push(choice("Values", { ...data.sets.map((set) => set.title) }, view.set, (set) => change({ set: Number(set) })));
  }
  parts.push(make("span", { class: "space" }));
  if (chart.zoom.range) parts.push(make("button", { type: "button", class: "reset", onclick: () => chart.zoomTo(null) }, "Reset zoom"));
  if (data.controls) {
    const open = () => change({ open: chart.name === view.open ? null : chart.name });
    const attributes = { type: "button", class: "icon", title: "View", "aria-label": "View", onclick: open };
    parts.push(make("button", { ...attributes, "aria-expanded": String(view.open === chart.name) }, icon(ICONS.view)));
  }
  const save = { type: "button", class: "icon", title: "Save as PNG", "aria-label": "Save as PNG", onclick: () => chart.save() };
  parts.push(make("button", save, icon(ICONS.save)));
  return make("div", { class: "bar" }, ...parts);
}

/** Return the view menu: smoothing, log scale, axis and layout. */
export function menu(chart, change) {
  const { view } = chart;
  const amount = make("output", {}, view.smoothing.toFixed(2));
  const slider = make("input", {
    type: "range", min: 0, max: 0.99, step: 0.01, value: view.smoothing, "aria-label": "Smoothing",
    oninput: (event) => {
      amount.textContent = Number(event.target.value).toFixed(2);
      change({ smoothing: Number(event.target.value) }, false);
    },
  });
  const log = make("input", { type: "checkbox", onchange: (event) => change({ log: event.target.checked }, false) });
  log.checked = view.log;
  slider.disabled = chart.panels().every((panel) => panel.bounded); // metrics have few points and are not smoothed
  log.disabled = slider.disabled || (Boolean(chart.data.layouts) && view.layout === "stacked"); // stacked sums start at 0, which a log scale lacks
  const parts = [
    labelled("Smoothing", make("span", { class: "smooth" }, slider, amount)),
    make("label", { class: "row" }, make("span", {}, "Log scale"), log),
    labelled("Over", choice("Over", AXES, view.axis, (axis) => change({ axis }))),
  ];
  if (chart.data.layouts) parts.push(labelled("Terms", choice("Terms", LAYOUTS, view.layout, (layout) => change({ layout }))));
  parts.push(make("p", { class: "hint" }, HINT));
  const close = (event) => event.key === "Escape" && change({ open: null });
  return make("div", { class: "menu", role: "group", "aria-label": "View", onkeydown: close }, ...parts);
}

/** Return a legend whose entries toggle their curves. */
export function legend(lines, hidden, toggle) {
  const entries = lines.map((line) => {
    const swatch = make("i", { style: `background:${line.color}` });
    const pressed = String(!hidden.has(line.name));
    return make("button", { type: "button", "aria-pressed": pressed, onclick: () => toggle(line.name) }, swatch, line.title);
  });
  return make("div", { class: "legend" }, ...entries);
}
