// Small helpers. Text from records is only ever set as text, without control and direction characters.

const SVG = "http://www.w3.org/2000/svg";
const data = JSON.parse(document.getElementById("data").textContent);

const clean = (value) => String(value).replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cn}]/gu, (c) => (c === "\n" ? c : ""));

function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) node.append(child instanceof Node ? child : clean(child));
  }
  return node;
}

// "16.2 M", "4.81x", "9.02 ± 3.49†" and "3 ab" as numbers; NaN for what is none
const SCALES = { k: 1e3, M: 1e6, G: 1e9 };
function numeric(text) {
  const match = /^[^\d+-]*([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?: ([kMG]))?/.exec(text);
  return match ? Number(match[1]) * (SCALES[match[2]] || 1) : NaN;
}

const compact = (value) => {
  for (const [sign, scale] of Object.entries(SCALES).reverse()) {
    if (Math.abs(value) >= scale) return `${Number((value / scale).toPrecision(3))} ${sign}`;
  }
  return String(Number(value.toPrecision(3)));
};
