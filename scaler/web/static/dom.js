// SPDX-License-Identifier: Apache-2.0
// Helpers for DOM elements. Text is always set as text; nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// Skip writes that change nothing: selections stay, and screen readers stay quiet.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

export function show(node, visible) {
  node.hidden = !visible;
}

// Replaces the content of `node` if `key` has changed.
export function redraw(node, key, make) {
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  node.replaceChildren(...make());
}

// Keeps one child of `parent` per item, in order; a child stays with the key of its item.
export function rows(parent, items, keyOf, make, update) {
  const known = parent.rowsByKey ?? new Map();
  const next = new Map();
  let before = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    const row = known.get(key) ?? make(item);
    next.set(key, row);
    update(row, item);
    if (row === before) before = before.nextSibling;
    else parent.insertBefore(row, before);
  }
  for (const [key, row] of known) if (next.get(key) !== row) row.remove();
  parent.rowsByKey = next;
}
