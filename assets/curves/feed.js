export default (component) => {
  (globalThis.dlLive ??= { feeds: new Map(), views: new Map(), charts: new Set(), waiting: [] }).waiting.push(component);
  globalThis.dispatchEvent(new Event("dl-fed"));
};
