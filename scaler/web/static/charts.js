// SPDX-License-Identifier: Apache-2.0
// Small drawings in tables: replica counts over the last hour, with gaps, and values at targets.

import { svg } from "./dom.js";

const HOUR = 3600;

// [{from, to, count}] within the hour that ends at `until`.
export function segments({ changes, until }) {
  const begin = until - HOUR;
  return changes
    .map(([from, count], index) => ({
      from: Math.max(begin, from),
      to: index + 1 < changes.length ? changes[index + 1][0] : until,
      count,
    }))
    .filter((part) => part.count !== null && part.to >= begin);
}

export function inWords(history) {
  const parts = segments(history);
  if (!parts.length) return "The replica count of the last hour is unknown";
  const counts = parts.map((part) => part.count);
  const [low, high] = [Math.min(...counts), Math.max(...counts)];
  const span = Math.max(1, Math.round((history.until - parts[0].from) / 60));
  const over = span >= 59 ? "the last hour" : `the last ${span} min`;
  const now = counts[counts.length - 1];
  return low === high
    ? `${low} replicas throughout ${over}`
    : `Between ${low} and ${high} replicas over ${over}, ${now} now`;
}

function outline(parts, x, y) {
  let path = "";
  let end = null;
  for (const { from, to, count } of parts) {
    path += end !== null && Math.abs(from - end) < 1 ? `V${y(count)}` : `M${x(from)} ${y(count)}`;
    path += `H${x(Math.max(to, from))}`;
    end = to;
  }
  return path;
}

function area(parts, x, y) {
  return parts
    .map(({ from, to, count }) => `M${x(from)} ${y(0)}V${y(count)}H${x(to)}V${y(0)}Z`)
    .join("");
}

const round = (number) => Math.round(number * 10) / 10;

export function spark(history) {
  const [width, height] = [132, 30];
  const parts = segments(history);
  const top = Math.max(1, ...parts.map((part) => part.count));
  const x = (at) => round(2 + ((at - history.until + HOUR) / HOUR) * (width - 6));
  const y = (count) => round(height - 3 - (count / top) * (height - 7));
  const last = parts[parts.length - 1];
  return svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": inWords(history) },
    svg("path", { class: "base", d: `M2 ${y(0)}H${width - 4}` }),
    svg("path", { class: "area", d: area(parts, x, y) }),
    svg("path", { class: "line", d: outline(parts, x, y) }),
    last ? svg("circle", { class: "now", cx: x(last.to), cy: y(last.count), r: 2.2 }) : null,
  );
}

// A value and a mark at its target. The full width is 100 % for percentages, else 1.5 times the
// target.
export function meter({ value, target, target_unit: unit, ratio }) {
  const width = 96;
  const mark = unit === "%" ? round(Math.min(width - 1.5, (Number(target) / 100) * width)) : 64;
  const share = unit === "%" ? Number(value) / 100 : ratio * (64 / width);
  const filled = value === null ? 0 : round(Math.min(1, share) * width);
  return svg(
    "svg",
    { class: "meter", viewBox: `0 0 ${width} 8`, "aria-hidden": "true" },
    svg("rect", { class: "track", x: 0, y: 2, width, height: 4 }),
    svg("rect", { class: ratio > 1 ? "over" : "fill", x: 0, y: 2, width: filled, height: 4 }),
    svg("rect", { class: "mark", x: mark, y: 0, width: 1.5, height: 8 }),
  );
}
