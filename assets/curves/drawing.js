/* A chart's panels on a canvas: the curves of each panel under the current view, and how they are drawn. */

const LEFT = 46, RIGHT = 10, FOOT = 38, HEAD = 8, TITLED = 20, APART = 96, LEGEND_ROW = 20; // pixels
const NARROWEST = 0.1; // smallest range of a panel of metrics, so that noise is not magnified

/** Return the axis of a chart: its title, and where a run of `steps` steps ends on it (NaN: unknown). */
export function axisOf(axis, steps, batch) {
  if (axis === "examples") return { title: "Examples", end: steps * batch };
  if (axis === "time") return { title: "Minutes of training", end: NaN };
  return { title: "Step", end: steps };
}

/** Return a chart's panels with their visible curves placed, smoothed and stacked as `view` says. */
export function arranged(panels, feed, view, hidden) {
  const apart = panels.flatMap((panel) => panel.lines.map((line) => ({ ...panel, title: line.title, lines: [line] })));
  return (view.layout === "apart" && panels.length === 1 ? apart : panels).map((panel) => {
    const known = panel.lines.filter((line) => !hidden.has(line.name) && feed.series.has(line.name));
    const measured = known.map((line) => {
      const series = feed.series.get(line.name);
      const places = placed(series, view.axis, line.batch, feed.series.get(line.clock) ?? emptySeries());
      return { line, places, values: series.values.slice(0, places.length) };
    });
    const curves = measured.map((curve) => {
      const values = smoothed(curve.values, panel.bounded ? 0 : view.smoothing);
      return { ...curve, values, faint: values === curve.values ? null : curve.values, floor: null };
    });
    if (view.layout === "stacked" && !panel.bounded) return { ...panel, log: false, curves: onEachOther(curves) };
    return { ...panel, log: view.log && !panel.bounded, curves };
  });
}

function onEachOther(curves) {
  const parts = curves.filter((curve) => !curve.line.heavy);
  const sums = stacked(parts);
  const areas = parts.map((curve, at) => ({ ...curve, ...sums[at], faint: null }));
  return [...areas.reverse(), ...curves.filter((curve) => curve.line.heavy)]; // draw the total above the areas
}

/**
 * Return the range of values a panel shows between two places on the axis. Losses start at 0 unless zoomed; metrics span
 * their own values and levels.
 */
export function rangeOf(panel, from, to, zoomed) {
  let low = Infinity, high = -Infinity;
  const reach = (values, first, last) => {
    for (let at = first; at < Math.min(last, values.length); at++) {
      const value = values[at];
      if (!Number.isFinite(value) || (panel.log && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  };
  for (const { places, values, faint } of panel.curves) {
    const [first, last] = [indexFrom(places, from), indexFrom(places, to)];
    const [near, far] = [Math.max(0, first - 1), last + 1];
    reach(values, near, far);
    if (faint) reach(faint, near, far);
  }
  if (panel.bounded && !zoomed) reach((panel.levels ?? []).map((level) => level.value), 0, Infinity);
  if (low > high) return panel.log ? [0.1, 1] : [0, 1];
  if (panel.bounded) {
    const room = Math.max(0.08 * (high - low), (NARROWEST - high + low) / 2);
    return [Math.max(low - room, -1.03), Math.min(high + room, Math.max(high, 1.03))];
  }
  if (panel.log) return [low / (high / low) ** 0.05 / 1.02, high * (high / low) ** 0.05 * 1.02];
  if (zoomed && high > low && !panel.curves.some((curve) => curve.floor)) {
    const room = 0.06 * (high - low);
    return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
  }
  return [Math.min(0, low * 1.05), Math.max(high, 0) * 1.05 || 1];
}

/** Return the height panels need, at least `height`. */
export const heightOf = (panels, height) => Math.max(height, panels.length > 2 ? panels.length * APART + FOOT : 0);

/** Return the layout of panels stacked vertically, with the axis they share. */
export function laidOut(panels, width, height, axis, from, to, zoomed) {
  const room = height - FOOT;
  const shares = panels.map((panel) => panel.share ?? 1);
  const whole = shares.reduce((sum, share) => sum + share, 0);
  let top = 0;
  const placedPanels = panels.map((panel, at) => {
    const tall = (room * shares[at]) / whole;
    const head = panel.title ? TITLED : HEAD;
    const [low, high] = rangeOf(panel, from, to, zoomed);
    const box = { ...panel, low, high, top: top + head, bottom: top + tall - (at < panels.length - 1 ? 6 : 0) };
    top += tall;
    return box;
  });
  const scale = (width - LEFT - RIGHT) / (to - from || 1);
  return { panels: placedPanels, width, height, axis, from, to, scale, left: LEFT, right: width - RIGHT, foot: room };
}

/** Return the pixel of a place on the axis. */
export const acrossOf = (layout, place) => layout.left + (place - layout.from) * layout.scale;

/** Return the place on the axis at a pixel. */
export const placeAt = (layout, x) => layout.from + (x - layout.left) / layout.scale;

function upOf(panel, value) {
  const share = panel.log
    ? Math.log(value / panel.low) / Math.log(panel.high / panel.low)
    : (value - panel.low) / (panel.high - panel.low);
  return panel.bottom - share * (panel.bottom - panel.top);
}

/** Draw a layout. `ink`: text, quiet, line and paper colours, font family; `marks`: vertical lines {place, title}. */
export function paint(context, layout, ink, marks) {
  context.clearRect(0, 0, layout.width, layout.height);
  context.lineJoin = "round";
  for (const panel of layout.panels) {
    paintGrid(context, layout, panel, ink);
    context.save();
    context.beginPath();
    context.rect(layout.left, panel.top - 3, layout.right - layout.left, panel.bottom - panel.top + 4);
    context.clip();
    for (const curve of panel.curves) if (curve.faint) paintCurve(context, layout, panel, { ...curve, values: curve.faint }, 0.25);
    for (const curve of panel.curves) paintCurve(context, layout, panel, curve, 1);
    context.restore();
  }
  paintFoot(context, layout, ink);
  const levels = layout.panels.flatMap(captions);
  for (const { y } of levels) dashed(context, [2, 3], ink.quiet, layout.left, y, layout.right, y);
  for (const mark of marks) paintMark(context, layout, mark, ink);
  for (const level of levels) paintCaption(context, layout, level, ink); // text above all lines
}

const TITLE_FONT = "600 12.5px ";
const titleOf = (panel) => panel.top - TITLED / 2 - 2; // the vertical middle of its text

function paintGrid(context, layout, panel, ink) {
  const count = Math.max(2.2, (panel.bottom - panel.top) / 40);
  const rounds = (times) => (panel.log ? logTicks : ticks)(panel.low, panel.high, times * count);
  const values = [1, 2, 4].map(rounds).find((candidate) => candidate.length > 1) ?? [];
  context.font = `12px ${ink.font}`;
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.lineWidth = 1;
  for (const value of values) {
    const y = Math.round(upOf(panel, value)) + 0.5;
    context.strokeStyle = ink.line;
    context.globalAlpha = value === 0 ? 1 : 0.6;
    stroke(context, layout.left, y, layout.right, y);
    context.globalAlpha = 1;
    context.fillStyle = ink.quiet;
    context.fillText(words(value), layout.left - 7, y);
  }
  if (!panel.title) return;
  context.font = TITLE_FONT + ink.font;
  context.textAlign = "left";
  context.fillStyle = ink.text;
  context.fillText(panel.title, 0, titleOf(panel));
}

function paintCurve(context, layout, panel, { line, places, values, floor }, opacity) {
  const columns = Math.max(1, Math.round(layout.right - layout.left));
  const indices = thinned(places, values, layout.from, layout.to, columns);
  const [x, y] = [(at) => acrossOf(layout, places[at]), (at) => upOf(panel, values[at])];
  const drawn = (at) => Number.isFinite(values[at]) && (!panel.log || values[at] > 0);
  context.strokeStyle = context.fillStyle = line.color;
  context.globalAlpha = opacity;
  if (floor) {
    context.beginPath();
    indices.forEach((at, turn) => context[turn ? "lineTo" : "moveTo"](x(at), y(at)));
    for (const at of [...indices].reverse()) context.lineTo(x(at), upOf(panel, floor[at]));
    context.globalAlpha = 0.45;
    context.fill();
    context.globalAlpha = 1;
  }
  context.lineWidth = opacity < 1 ? 1 : line.heavy ? 2 : 1.4;
  context.beginPath();
  let open = false;
  for (const at of indices) {
    if (drawn(at)) context[open ? "lineTo" : "moveTo"](x(at), y(at));
    open = drawn(at);
  }
  context.stroke();
  if (opacity === 1 && !floor && indices.length < 40) {
    for (const at of indices.filter(drawn)) dot(context, x(at), y(at), 2.2);
  }
  context.globalAlpha = 1;
}

const CAPTION = 16; // height of a level's caption, its distance from the line included

/**
 * Return the captions of a panel's levels, highest first: `y` of the line, whether the caption is above or below it, and
 * at which end, so that captions neither leave the panel nor overlap.
 */
export function captions(panel) {
  const levels = (panel.levels ?? []).map((level) => ({ ...level, y: Math.round(upOf(panel, level.value)) + 0.5 }));
  const shown = levels.filter(({ y }) => y > panel.top && y < panel.bottom).sort((a, b) => a.y - b.y);
  const taken = [];
  return shown.map((level, at) => {
    // A student's curve mostly runs between the teacher and the majority-class baseline: keep captions out of there.
    const sides = shown.length > 1 && at === 0 ? [true, false] : [false, true];
    const spots = sides.map((above) => ({ above, top: above ? level.y - CAPTION : level.y }));
    const within = spots.filter(({ top }) => top >= panel.top - 3 && top + CAPTION < panel.bottom);
    const free = within.find(({ top }) => taken.every((other) => Math.abs(other - top) >= CAPTION));
    const { above, top } = free ?? within[0] ?? spots[0];
    if (free) taken.push(top);
    return { caption: level.caption, value: level.value, y: level.y, above, first: !free };
  });
}

function paintCaption(context, layout, { caption, y, above, first }, ink) {
  context.font = `12px ${ink.font}`;
  context.fillStyle = ink.quiet;
  context.textBaseline = above ? "bottom" : "top";
  context.textAlign = first ? "left" : "right";
  written(context, caption, first ? layout.left + 2 : layout.right - 2, y + (above ? -2 : 4), ink);
}

function dashed(context, dash, color, ...ends) {
  context.strokeStyle = color;
  context.setLineDash(dash);
  stroke(context, ...ends);
  context.setLineDash([]);
}

function paintFoot(context, layout, ink) {
  const y = layout.foot + 0.5;
  context.strokeStyle = ink.line;
  context.lineWidth = 1;
  stroke(context, layout.left, y, layout.right, y);
  context.font = `12px ${ink.font}`;
  context.textBaseline = "top";
  context.fillStyle = ink.quiet;
  for (const value of ticks(layout.from, layout.to, (layout.right - layout.left) / 80)) {
    const x = acrossOf(layout, value);
    const half = context.measureText(words(value)).width / 2;
    if (x < layout.left - 1 || x > layout.right + 1) continue;
    context.textAlign = "left";
    context.fillText(words(value), Math.min(x - half, layout.width - 2 * half), layout.foot + 6);
  }
  context.textAlign = "center";
  context.fillText(layout.axis.title, (layout.left + layout.right) / 2, layout.foot + 22);
}

function paintMark(context, layout, { place, title }, ink) {
  const x = Math.round(acrossOf(layout, place)) + 0.5;
  if (!(x >= layout.left && x <= layout.right)) return;
  for (const panel of layout.panels) dashed(context, [4, 3], ink.accent, x, panel.top - 2, x, panel.bottom);
  const [first] = layout.panels;
  context.font = TITLE_FONT + ink.font;
  const taken = first.title ? context.measureText(first.title).width + 12 : Infinity;
  context.font = `12px ${ink.font}`;
  const wide = context.measureText(title).width + 6;
  const before = x + wide > layout.right;
  const aside = (before ? x - wide : x) > taken; // beside the title the text covers no curve
  context.textBaseline = aside ? "middle" : "top";
  context.textAlign = before ? "right" : "left";
  context.fillStyle = ink.accent;
  written(context, title, x + (before ? -5 : 5), aside ? titleOf(first) : first.top - 2, ink);
}

/** Draw text with an outline in the background colour, so that it is readable over curves. */
function written(context, text, x, y, ink) {
  context.save();
  context.strokeStyle = ink.paper;
  context.lineWidth = 4;
  context.strokeText(text, x, y);
  context.restore();
  context.fillText(text, x, y);
}

/** Return the point of any curve in the layout that is nearest to a place on the axis, Infinity if there are no points. */
export function pointNear(layout, place) {
  const known = layout.panels.flatMap((panel) => panel.curves).map(({ places }) => places[nearest(places, place)]);
  const off = (one) => Math.abs(one - place);
  return known.filter(Number.isFinite).reduce((a, b) => (off(b) < off(a) ? b : a), Infinity);
}

/** Draw the vertical line at the pointer and a dot on every curve. */
export function paintPointer(context, layout, place, ink) {
  const x = acrossOf(layout, pointNear(layout, place));
  if (!(x >= layout.left - 1 && x <= layout.right + 1)) return;
  context.strokeStyle = ink.quiet;
  context.lineWidth = 1;
  for (const panel of layout.panels) {
    stroke(context, Math.round(x) + 0.5, panel.top, Math.round(x) + 0.5, panel.bottom);
    for (const { line, places, values } of panel.curves) {
      const at = nearest(places, place);
      if (at < 0 || !Number.isFinite(values[at])) continue;
      context.fillStyle = ink.paper;
      dot(context, acrossOf(layout, places[at]), upOf(panel, values[at]), 4.5);
      context.fillStyle = line.color;
      dot(context, acrossOf(layout, places[at]), upOf(panel, values[at]), 3);
    }
  }
}

/** Shade the range that is being selected. */
export function paintStretch(context, layout, from, to, ink) {
  context.fillStyle = ink.accent;
  context.globalAlpha = 0.12;
  const top = layout.panels[0].top;
  context.fillRect(Math.min(from, to), top, Math.abs(to - from), layout.foot - top);
  context.globalAlpha = 1;
}

function stroke(context, fromX, fromY, toX, toY) {
  context.beginPath();
  context.moveTo(fromX, fromY);
  context.lineTo(toX, toY);
  context.stroke();
}

function dot(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

/** Return the row and the position of each curve's name in the legend of a saved picture. */
export function legendPlaces(context, lines, width, ink) {
  context.font = `12.5px ${ink.font}`;
  let x = LEFT, row = 0;
  return lines.map((line) => {
    const wide = 15 + context.measureText(line.title).width;
    if (x > LEFT && x + wide > width) [x, row] = [LEFT, row + 1];
    const place = { line, x, row };
    x += wide + 17;
    return place;
  });
}

/** Draw the legend above a saved picture, `head` pixels high. */
export function paintLegend(context, places, head, ink) {
  context.font = `12.5px ${ink.font}`;
  context.textAlign = "left";
  context.textBaseline = "middle";
  for (const { line, x, row } of places) {
    const y = 15 + LEGEND_ROW * row - head;
    context.fillStyle = line.color;
    context.fillRect(x, y - 5, 10, 10);
    context.fillStyle = ink.text;
    context.fillText(line.title, x + 15, y);
  }
}
