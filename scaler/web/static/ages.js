// SPDX-License-Identifier: Apache-2.0
// Elements that show an age, updated once a second.

import { h, setText } from "./dom.js";
import { clock, duration, nowSeconds } from "./words.js";

export function ago(unixSeconds) {
  const node = h("time", { class: "ago" });
  setAgo(node, unixSeconds);
  return node;
}

export function setAgo(node, unixSeconds) {
  const stamp = new Date(unixSeconds * 1000).toISOString();
  if (node.dataset.since !== String(unixSeconds)) {
    node.dataset.since = String(unixSeconds);
    node.dateTime = stamp;
    node.title = `${clock(unixSeconds)} (${stamp})`;
  }
  tick(node);
}

function tick(node) {
  setText(node, `${duration(nowSeconds() - Number(node.dataset.since))} ago`);
}

export function tickAll() {
  for (const node of document.querySelectorAll("time.ago")) tick(node);
}
