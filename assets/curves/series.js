/* The numbers of curves, without the page: unpacking, placing on an axis, smoothing, thinning and labelling. */

/** One metric in the browser: ascending steps and a value for each, NaN where it is undefined. */
export const emptySeries = () => ({ steps: [], values: [] });

/** Return the numbers in a base64 text of little-endian float32s, each sent without its lowest byte. */
export function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const view = new DataView(new ArrayBuffer(4));
  return Array.from({ length: bytes.length / 3 }, (_, at) => {
    for (let part = 0; part < 3; part++) view.setUint8(part + 1, bytes[3 * at + part]);
    return view.getFloat32(0, true);
  });
}

/** Add points at the end of a series. */
export function append(series, steps, values) {
  for (let at = 0; at < steps.length; at++) {
    series.steps.push(steps[at]);
    series.values.push(values[at]);
  }
}

/**
 * Return the place of each point of a series on an axis ("step", "examples" or "time", in minutes), up to the last known
 * one. `clock`: the seconds each step took.
 */
export function placed(series, axis, batch, clock) {
  if (axis === "examples") return series.steps.map((step) => step * batch);
  if (axis !== "time") return series.steps;
  const places = [];
  let at = 0, minutes = 0;
  for (const step of series.steps) {
    while (at < clock.steps.length && clock.steps[at] <= step) minutes += clock.values[at++] / 60;
    if (step > 0 && (at === 0 || clock.steps[at - 1] < step)) break; // its step time has not arrived yet
    places.push(minutes);
  }
  return places;
}

/** Return the exponential moving mean, (1 − w) Σ w^k v, divided by the sum of its weights; NaN stays NaN. */
export function smoothed(values, weight) {
  if (weight === 0) return values;
  let mean = 0, share = 0;
  return values.map((value) => {
    if (!Number.isFinite(value)) return value;
    mean = weight * mean + (1 - weight) * value;
    share = weight * share + 1 - weight;
    return mean / share;
  });
}

/** Return the first index whose place is not below `wanted`, the length if there is none; `places` must ascend. */
export function indexFrom(places, wanted) {
  let low = 0, high = places.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (places[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Return the index of the place nearest to `wanted`, -1 if there is none. */
export function nearest(places, wanted) {
  const after = indexFrom(places, wanted);
  if (after === 0 || after === places.length) return Math.min(after, places.length - 1);
  return wanted - places[after - 1] <= places[after] - wanted ? after - 1 : after;
}

/**
 * Return the indices to draw between `from` and `to`: all if they are few, else the first, last, smallest and largest of
 * each of `columns` intervals. One more on either side continues the line to the edge.
 */
export function thinned(places, values, from, to, columns) {
  const first = Math.max(0, indexFrom(places, from) - 1);
  let last = indexFrom(places, to);
  if (last === places.length) last -= 1;
  const chosen = [];
  if (last - first < 4 * columns) {
    for (let at = first; at <= last; at++) chosen.push(at);
    return chosen;
  }
  let column = null, ends = null, gap = first;
  const close = () => {
    if (column === null) return;
    if (ends === null) chosen.push(gap);
    else chosen.push(...[...new Set(ends)].sort((one, other) => one - other));
  };
  for (let at = first; at <= last; at++) {
    const here = Math.floor(((places[at] - from) / (to - from)) * columns);
    if (here !== column) {
      close();
      [column, ends, gap] = [here, null, at];
    }
    if (!Number.isFinite(values[at])) continue;
    ends ??= [at, at, at, at]; // first, smallest, largest, last
    if (values[at] < values[ends[1]]) ends[1] = at;
    if (values[at] > values[ends[2]]) ends[2] = at;
    ends[3] = at;
  }
  close();
  return chosen;
}

/** Return the running sums of the curves, at the places of the first one; a curve without a value there adds 0. */
export function stacked(curves) {
  let below = null;
  return curves.map(({ places, values }) => {
    const base = below ?? { places, values: places.map(() => 0) };
    const known = new Map(places.map((place, at) => [place, values[at]]));
    const sums = base.values.map((value, at) => value + (known.get(base.places[at]) || 0));
    const result = { places: base.places, floor: base.values, values: sums };
    below = { places: base.places, values: sums };
    return result;
  });
}

/** Return about `count` round numbers between two numbers. */
export function ticks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  if (!(rough > 0) || !Number.isFinite(rough)) return [];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const numbers = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) numbers.push(at * step);
  return numbers;
}

/** Return powers of ten between two positive numbers; if there are few, also 2 and 5 times each, or round numbers. */
export function logTicks(low, high, count) {
  const numbers = [];
  const decades = Math.log10(high / low);
  if (decades < 0.7) return ticks(low, high, count).filter((value) => value > 0);
  const factors = decades < count / 2.5 ? [1, 2, 5] : [1];
  const stride = Math.max(1, Math.ceil(decades / Math.max(1, count)));
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += stride) {
    numbers.push(...factors.map((factor) => Number(`${factor}e${power}`)));
  }
  return numbers.filter((value) => value >= low && value <= high);
}

/** Return a number as shown at an axis or the pointer: four digits and a true minus sign. */
export function words(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (value === 0 || Math.abs(size) < 1e-12) return "0";
  if (size >= 1e7 || size < 1e-4) return value.toExponential(1).replace("+", "").replaceAll("-", "−");
  const text = size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
  return text.replace("-", "−");
}
