export default (c) => {
  (globalThis.dlFed ??= []).push(c);
  dispatchEvent(new Event("dl-fed"));
};
