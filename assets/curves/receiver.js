/*
What the server has sent, for longer than any chart exists: the points of each feed, and the page's changing texts.

The messages of a feed are numbered, and each time the server starts it again they get a new stamp. A message that came
before is ignored; where one is missing, the browser asks for all points. Any message can be missing, the first of the
answer too: the page shows only the latest one if several arrive together. So it asks again for each new stamp, and
after PATIENCE messages without the answer.
*/

const PATIENCE = 5;

const live = (globalThis.dlLive ??= { feeds: new Map(), views: new Map(), charts: new Set() });

/** Return a feed, made when it is first asked for. */
export function feedOf(name) {
  if (!live.feeds.has(name)) live.feeds.set(name, { stamp: null, number: -1, series: new Map(), notes: {}, asked: null });
  return live.feeds.get(name);
}

/**
 * Take a message into its feed. Returns "taken", "known" for one that came before, or "gap" where others are missing and
 * nothing was taken.
 */
export function take(feed, message) {
  if (message.number === 0 && feed.stamp !== message.stamp) {
    Object.assign(feed, { stamp: message.stamp, number: -1, series: new Map(), notes: {}, asked: null });
  }
  if (feed.stamp !== message.stamp || message.number > feed.number + 1) return "gap";
  if (message.number <= feed.number) return "known";
  feed.number = message.number;
  for (const { steps, values } of message.points) {
    const places = steps.flatMap(([first, count]) => Array.from({ length: count }, (_, at) => first + at));
    for (const [name, packed] of Object.entries(values)) {
      if (!feed.series.has(name)) feed.series.set(name, emptySeries());
      append(feed.series.get(name), places, unpacked(packed));
    }
  }
  Object.assign(feed.notes, message.notes);
  return "taken";
}

/** Return whether all points are to be asked for because of a message that came after a gap, and remember the request. */
export function asks(feed, message) {
  const { stamp, number } = message;
  if (feed.asked?.stamp === stamp && number < feed.asked.number + PATIENCE) return false;
  feed.asked = { stamp, number };
  return true;
}

/** Put texts, [leaf, text] by the name of a part of the page, where they belong. */
export function show(texts) {
  for (const [name, changes] of Object.entries(texts)) {
    const part = document.querySelector(`[data-live="${CSS.escape(name)}"]`);
    if (part === null) continue;
    const leaves = [...part.querySelectorAll("*")].filter((element) => element.childElementCount === 0);
    for (const [at, text] of changes) {
      if (leaves[at] && leaves[at].textContent !== text) leaves[at].textContent = text;
    }
  }
  document.querySelectorAll(".dl-spark").forEach(shape);
}

/** Cut an element into the curve its text tells: each letter from "0" on is a height, up to 63. */
function shape(element) {
  const heights = [...element.textContent].map((letter) => letter.charCodeAt(0) - 48);
  const last = Math.max(1, heights.length - 1);
  const corners = heights.map((height, at) => `${(100 * at) / last}% ${100 - height / 0.63}%`);
  element.style.clipPath = `polygon(0% 100%, ${corners.join(", ")}, 100% 100%)`;
}

function drain() {
  for (const { data, parentElement, setTriggerValue } of (globalThis.dlFed ?? []).splice(0)) {
    (parentElement.host ?? parentElement).closest(".stElementContainer")?.style.setProperty("display", "none");
    const feed = feedOf(data.feed);
    const outcome = take(feed, data);
    if (outcome === "gap" && asks(feed, data)) setTriggerValue("all", `${data.stamp}/${data.number}`);
    if (outcome === "taken") {
      show(data.texts);
      for (const chart of live.charts) if (chart.feed === feed) chart.changed();
    }
  }
}

globalThis.addEventListener("dl-fed", drain);
