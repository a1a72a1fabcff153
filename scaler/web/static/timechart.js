// SPDX-License-Identifier: Apache-2.0
// Charts over time with gaps where a value is unknown, and a mark at one time.

import { svg } from "./dom.js";
import { clock } from "./words.js";

export const EDGE = { left: 44, right: 14, top: 10, bottom: 24 };
const EVERY = [60, 300, 600, 1200, 1800, 3600, 7200];

const round = (number) => Math.round(number * 10) / 10;

// The step of about four marks that are 1, 2 or 5 times a power of ten apart.
function tickStep(top, whole) {
  const power = 10 ** Math.floor(Math.log10(top / 4));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => top / one <= 5);
  return whole ? Math.max(1, step) : step;
}

function outline(points, { x, y }, end, held) {
  let path = "";
  points.forEach(([at, value], index) => {
    if (value === null) return;
    const before = index > 0 ? points[index - 1][1] : null;
    if (before === null) path += `M${x(at)} ${y(value)}`;
    else if (held) path += `V${y(value)}`;
    else path += `L${x(at)} ${y(value)}`;
    if (held) path += `H${x(index + 1 < points.length ? points[index + 1][0] : end)}`;
    else if (before === null) path += "h0.1";
  });
  return path;
}

// `lines` have `points`, pairs of time and value; a `held` value stays until the next point.
export function timeChart({ width, height, begin, end, highest, whole, unit, lines, bands = [], label }) {
  const [right, bottom] = [width - EDGE.right, height - EDGE.bottom];
  const step = tickStep(Math.max(highest, whole ? 1 : 1e-9), whole);
  const top = Math.max(1, Math.ceil(highest / step - 1e-9)) * step;
  const scales = {
    x: (at) => round(EDGE.left + (Math.min(Math.max((at - begin) / (end - begin), 0), 1)) * (right - EDGE.left)),
    y: (value) => round(bottom - (Math.min(value, top) / top) * (bottom - EDGE.top)),
  };
  const marks = [];
  for (let value = 0; value <= top + step / 2; value += step) {
    const y = scales.y(value);
    const text = `${Number(value.toPrecision(6)).toLocaleString("en", { notation: value >= 1e5 ? "compact" : "standard" })}`;
    marks.push(
      svg("path", { class: "grid", d: `M${EDGE.left} ${y}H${right}` }),
      svg("text", { class: "tick", x: EDGE.left - 7, y: y + 4, "text-anchor": "end" }, text),
    );
  }
  if (unit) marks.push(svg("text", { class: "tick", x: EDGE.left + 4, y: EDGE.top + 11 }, unit));
  const every = EVERY.find((one) => (end - begin) / one <= width / 75) ?? EVERY.at(-1);
  // Marks at whole hours of the viewer's clock.
  const shift = new Date(end * 1000).getTimezoneOffset() * 60;
  for (let at = Math.ceil((begin - shift) / every) * every + shift; at <= end; at += every) {
    const x = scales.x(at);
    const anchor = x > right - 18 ? "end" : x < EDGE.left + 18 ? "start" : "middle";
    marks.push(
      svg("path", { class: "grid", d: `M${x} ${bottom}v4` }),
      svg("text", { class: "tick", x, y: height - 7, "text-anchor": anchor }, clock(at, { seconds: false })),
    );
  }
  const cursor = svg("path", { class: "cursor", d: "" });
  const node = svg(
    "svg",
    { class: "chart", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    ...marks,
    ...bands.map(([from, to]) =>
      svg("rect", { class: "band", x: scales.x(from), y: EDGE.top, width: Math.max(1, scales.x(to) - scales.x(from)), height: bottom - EDGE.top }),
    ),
    ...lines.map(({ className, points, held }) =>
      svg("path", { class: className, d: outline(points, scales, end, held) }),
    ),
    cursor,
  );
  const point = (at) => cursor.setAttribute("d", at === null ? "" : `M${scales.x(at)} ${EDGE.top}V${bottom}`);
  return { node, point };
}
