// Replica counts over the last hour as SVG steps, with gaps where the count is unknown.

import { svg } from "./dom.js";
import { clock } from "./words.js";

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

function tickStep(top) {
  for (const step of [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]) {
    if (top / step <= 5) return step;
  }
  return 10 ** Math.ceil(Math.log10(top / 5));
}

export function chart(history, { width, min, max }) {
  const height = 190;
  const edge = { left: 40, right: 14, top: 12, bottom: 26 };
  const parts = segments(history);
  const highest = Math.max(1, ...parts.map((part) => part.count));
  const showMax = max !== null && max <= highest * 3;
  const step = tickStep(showMax ? Math.max(highest, max) : highest);
  const top = Math.ceil((showMax ? Math.max(highest, max) : highest) / step) * step;
  const begin = history.until - HOUR;
  const right = width - edge.right;
  const x = (at) => round(edge.left + ((at - begin) / HOUR) * (right - edge.left));
  const y = (count) =>
    round(height - edge.bottom - (count / top) * (height - edge.top - edge.bottom));
  const marks = [];
  for (let count = 0; count <= top; count += step) {
    marks.push(
      svg("path", { class: "grid", d: `M${edge.left} ${y(count)}H${right}` }),
      svg("text", { class: "tick", x: edge.left - 8, y: y(count) + 4, "text-anchor": "end" }, `${count}`),
    );
  }
  const every = width < 480 ? 1200 : 600;
  for (let at = Math.ceil(begin / every) * every; at <= history.until; at += every) {
    const anchor = x(at) > right - 20 ? "end" : "middle";
    marks.push(
      svg("path", { class: "grid", d: `M${x(at)} ${y(0)}v4` }),
      svg("text", { class: "tick", x: x(at), y: height - 8, "text-anchor": anchor }, clock(at, { seconds: false })),
    );
  }
  for (const [name, bound, below] of [["maximum", showMax ? max : null, 13], ["minimum", min, -4]]) {
    if (bound === null || bound === 0) continue;
    marks.push(
      svg("path", { class: "bound", d: `M${edge.left} ${y(bound)}H${right}` }),
      svg("text", { class: "tick", x: edge.left + 4, y: y(bound) + below }, `${name} ${bound}`),
    );
  }
  return svg(
    "svg",
    {
      class: "chart",
      width,
      height,
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-label": inWords(history),
    },
    ...marks,
    svg("path", { class: "area", d: area(parts, x, y) }),
    svg("path", { class: "line", d: outline(parts, x, y) }),
    parts.length
      ? svg("circle", { class: "now", cx: x(parts.at(-1).to), cy: y(parts.at(-1).count), r: 3 })
      : null,
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
