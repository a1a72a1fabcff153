// SPDX-License-Identifier: Apache-2.0
// Values against targets and replicas over time: charts, a time to read them at, and a table.

import { h, redraw, setAttribute, setText, show } from "./dom.js";
import { cell, rowHeader, table } from "./parts.js";
import { EDGE, timeChart } from "./timechart.js";
import { clock, count, duration, measure, nowSeconds } from "./words.js";

const HOUR = 3600;
const RANGES = [["1h", "1 hour", HOUR], ["6h", "6 hours", 6 * HOUR], ["all", "All that is kept", 6 * HOUR]];
const REFRESH_SECONDS = 10;
const MOST_ROWS = 60;

export function load({ address, params, go, onData }) {
  let range = RANGES.find(([name]) => name === params.get("range")) ?? RANGES[0];
  let data = null;
  let asked = 0;
  let charts = [];
  let extra = null;
  const buttons = RANGES.map(([name, text]) =>
    h("button", { type: "button", "data-range": name, onclick: () => choose(name) }, text),
  );
  const drawing = h("div", { class: "drawing" });
  const readout = h("p", { class: "readout" });
  const slider = h("input", { type: "range", class: "moment", min: 0, max: 0, value: 0, "aria-label": "Time to read the charts at", oninput: read });
  const body = h("div", {});
  const values = h("details", { class: "values-table" }, h("summary", {}, "Values as a table"), body);
  const nothing = h("p", { class: "quiet" }, "Loading…");
  const shown = h("div", { hidden: true }, readout, drawing, h("div", { class: "scrubber" }, slider), values);
  const node = h("div", { class: "load" }, h("div", { class: "groups", role: "group", "aria-label": "Range" }, ...buttons), nothing, shown);
  const resized = new ResizeObserver(() => data && draw());
  resized.observe(drawing);
  drawing.addEventListener("pointermove", follow);
  drawing.addEventListener("pointerdown", follow);
  values.addEventListener("toggle", fillTable);
  markRange();

  function markRange() {
    for (const button of buttons) {
      setAttribute(button, "aria-pressed", button.dataset.range === range[0] ? "true" : "false");
    }
  }

  function choose(name) {
    range = RANGES.find(([one]) => one === name);
    markRange();
    go({ range: name === RANGES[0][0] ? "" : name });
    asked = 0;
    refresh();
  }

  // Samples are further apart than decisions. The page's own poll says what is wrong with the server.
  async function refresh() {
    if (nowSeconds() - asked < REFRESH_SECONDS) return;
    asked = nowSeconds();
    const wanted = range;
    try {
      const response = await fetch(`${address}/load?seconds=${wanted[2]}`, { cache: "no-cache", credentials: "same-origin" });
      if (!response.ok || wanted !== range) return;
      data = await response.json();
    } catch {
      return;
    }
    onData(data);
    const known = data.replicas.some((one) => one !== null);
    show(nothing, !known);
    show(shown, known);
    setText(nothing, "There is no sample yet.");
    if (known) draw();
  }

  const timeOf = (step) => data.begun + step * data.step_seconds;

  function draw() {
    const width = Math.max(280, Math.floor(drawing.clientWidth));
    const end = data.until;
    const begin = range[0] === "all" ? Math.min(data.begun, end - 60) : end - range[2];
    const steps = data.replicas.length;
    const held = slider.value === slider.max;
    setAttribute(slider, "max", `${steps - 1}`);
    if (held) slider.value = steps - 1;
    redraw(drawing, JSON.stringify([width, begin, data, extra]), () => {
      charts = [...data.metrics.map((metric) => valueChart(metric, { width, begin, end })), replicaChart({ width, begin, end })];
      return charts.map(({ heading, legend, chart }) => h("figure", {}, h("figcaption", {}, h("b", {}, heading), ...legend), chart.node));
    });
    fillTable();
    read();
  }

  function valueChart(metric, { width, begin, end }) {
    const values = metric.values.map((value, step) => [timeOf(step), value]);
    const targets = metric.targets.map(([at, target]) => [at, target]);
    const known = metric.values.filter((value) => value !== null);
    const highest = Math.max(...known, ...targets.map(([, target]) => target ?? 0));
    const target = targets.at(-1)?.[1] ?? null;
    const saturated = metric.saturated.map((step) => [timeOf(step), timeOf(step + 1)]);
    const span = `between ${measure(`${Math.min(...known)}`, metric.unit)} and ${measure(`${Math.max(...known)}`, metric.unit)}`;
    const chart = timeChart({
      width,
      height: 170,
      begin,
      end,
      highest: metric.unit === "%" ? 100 : highest,
      unit: metric.unit,
      bands: saturated,
      label: `${metric.label} per pod ${span}${target === null ? "" : `, target ${measure(`${target}`, metric.unit)}`}`,
      lines: [
        { className: "line target", points: targets, held: true },
        { className: "line", points: values },
      ],
    });
    const legend = [key("", "mean per pod")];
    if (target !== null) legend.push(key("target", "target"));
    if (saturated.length > 0) legend.push(key("band", "a pod was saturated: the demand was higher"));
    return { heading: metric.label, legend, chart };
  }

  function replicaChart({ width, begin, end }) {
    const points = (counts) => counts.map((one, step) => [timeOf(step), one]);
    const counts = [...data.replicas, ...data.ready, ...(extra?.points.map(([, one]) => one) ?? [])];
    const known = counts.filter((one) => one !== null);
    const wanted = data.replicas.filter((one) => one !== null);
    const hasReady = data.ready.some((one) => one !== null);
    const chart = timeChart({
      width,
      height: 150,
      begin,
      end,
      highest: Math.max(1, ...known),
      whole: true,
      label: `Between ${Math.min(...wanted)} and ${count(Math.max(...wanted), "replica")}, ${wanted.at(-1)} now`,
      lines: [
        ...(hasReady ? [{ className: "line ready", points: points(data.ready), held: true }] : []),
        { className: "line", points: points(data.replicas), held: true },
        ...(extra ? [{ className: "line other", points: extra.points, held: true }] : []),
      ],
    });
    const legend = [key("", "wanted")];
    if (hasReady) legend.push(key("ready", "Ready"));
    if (extra) legend.push(key("other", extra.label));
    return { heading: "Replicas", legend, chart };
  }

  function follow(event) {
    const box = drawing.getBoundingClientRect();
    const share = (event.clientX - box.left - EDGE.left) / (box.width - EDGE.left - EDGE.right);
    const begin = range[0] === "all" ? data.begun : data.until - range[2];
    const at = begin + share * (data.until - begin);
    slider.value = Math.round((at - data.begun) / data.step_seconds);
    read();
  }

  function sentence(step) {
    const parts = data.metrics.map((metric) => `${metric.label} ${against(metric, step)}`);
    const wanted = data.replicas[step];
    parts.push(wanted === null ? "replicas unknown" : `${count(wanted, "replica")} wanted`);
    if (data.ready[step] !== null) parts.push(`${data.ready[step]} Ready`);
    const other = extra?.points.findLast(([at]) => at <= timeOf(step))?.[1] ?? null;
    if (other !== null) parts.push(`${other} ${extra.label}`);
    return parts.join(", ");
  }

  function against(metric, step) {
    const value = metric.values[step];
    const target = metric.targets.findLast(([at]) => at <= timeOf(step))?.[1] ?? null;
    const of = target === null ? "" : ` of ${measure(`${target}`, metric.unit)}`;
    const saturated = metric.saturated.includes(step) ? " (saturated)" : "";
    return `${measure(value === null ? null : `${value}`, metric.unit)}${of}${saturated}`;
  }

  function read() {
    const step = Number(slider.value);
    const text = `${clock(timeOf(step), { seconds: false })}: ${sentence(step)}`;
    setText(readout, text);
    setAttribute(slider, "aria-valuetext", text);
    for (const { chart } of charts) chart.point(timeOf(step));
  }

  function fillTable() {
    if (!values.open || data === null) return;
    redraw(body, JSON.stringify(data), () => {
      const every = Math.ceil(data.replicas.length / MOST_ROWS);
      const { node: list, body: lines } = table(
        `Every ${duration(every * data.step_seconds)}, newest first`,
        [["Time"], ...data.metrics.map(({ label }) => [label, "number"]), ["Wanted", "number"], ["Ready", "number"]],
        { className: "times" },
      );
      for (let step = data.replicas.length - 1; step >= 0; step -= every) {
        lines.append(
          h(
            "tr",
            { role: "row" },
            rowHeader("Time", clock(timeOf(step), { seconds: false })),
            ...data.metrics.map((metric) => cell(metric.label, { class: "number" }, against(metric, step))),
            cell("Wanted", { class: "number" }, `${data.replicas[step] ?? "unknown"}`),
            cell("Ready", { class: "number" }, `${data.ready[step] ?? "unknown"}`),
          ),
        );
      }
      return [list];
    });
  }

  function compare(label, points) {
    extra = points === null ? null : { label, points };
    if (data !== null) draw();
  }

  return { node, refresh, compare, seconds: () => range[2], close: () => resized.disconnect() };
}

function key(className, text) {
  return h("span", { class: "key" }, h("span", { class: `sample ${className}`, "aria-hidden": "true" }), text);
}
