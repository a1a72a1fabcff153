// SPDX-License-Identifier: Apache-2.0
// All nodes with their GPUs, page by page, and a summary of all GPUs.

import { setAgo } from "./ages.js";
import { h, redraw, rows, setAttribute, setText, show } from "./dom.js";
import { pager, rowHeader, table, tools } from "./parts.js";
import { count, gibibytes } from "./words.js";

// The end of a pod's name is what distinguishes it.
const TAIL = 6;
// The server accepts details of this many nodes.
const MOST_DETAILED = 24;
const SCROLLED_MS = 250;

export function gpus({ params, go }) {
  const summary = h("ul", { class: "shades", "aria-label": "GPUs by duty cycle" });
  const state = h("p", { class: "progress quiet" }, "Reading…");
  const problem = h("p", { class: "trouble", hidden: true });
  const full = h("button", { type: "button", "aria-pressed": "false" }, "Details");
  const { node: map, body } = table("GPUs by node", [["Node"], ["GPUs: duty cycle and pod"]], {
    className: "map",
  });
  full.addEventListener("click", () => {
    setAttribute(full, "aria-pressed", map.classList.toggle("full") ? "true" : "false");
  });
  const pages = pager({ what: "node", go });
  const bar = tools({
    what: "Find node, pod, model or UUID",
    params,
    sorts: [["", "Name"], ["busiest", "Duty cycle, busiest first"], ["free", "Free GPUs, most first"], ["trouble", "Missing readings first"]],
    go,
  });
  const node = [
    h("h1", { tabindex: "-1" }, "GPU map"),
    summary,
    h("div", { class: "bar" }, bar, full),
    problem,
    state,
    map,
    pages.node,
  ];

  // Nodes whose rows are on screen: only their details are read.
  const seen = new Set();
  let detailed = [];
  let scrolled;
  const observer = new IntersectionObserver((changes) => {
    for (const { target, isIntersecting } of changes) {
      if (isIntersecting) seen.add(target);
      else seen.delete(target);
    }
    clearTimeout(scrolled);
    scrolled = setTimeout(() => {
      const names = [...body.children].filter((row) => seen.has(row)).map((row) => row.dataset.node);
      const wanted = names.slice(0, MOST_DETAILED);
      const isNew = wanted.some((name) => !detailed.includes(name));
      detailed = wanted;
      if (isNew) go({});
    }, SCROLLED_MS);
  });

  function make(row) {
    const made = makeRow(row);
    observer.observe(made);
    return made;
  }

  function update(data) {
    setText(problem, data.problem ?? "");
    show(problem, data.problem !== null);
    setText(state, `${held(data)}${progress(data)}`);
    setAttribute(state, "class", data.failed > 0 ? "progress trouble" : "progress quiet");
    rows(summary, data.counts.map((one, index) => ({ ...one, index })), (one) => one.label, makeShade, (item, one) => {
      setText(item.querySelector("b"), one.count.toLocaleString("en"));
    });
    rows(body, data.rows, (row) => row.node, make, setRow);
    pages.set(data);
    for (const part of [map, pages.node]) show(part, data.rows.length > 0);
    view.awaits = data.read < data.nodes || data.awaited > 0;
  }

  const url = () => {
    const asked = new URLSearchParams(params);
    for (const name of detailed) asked.append("detail", name);
    return `api/v1/gpus?${asked}`;
  };
  const close = () => {
    clearTimeout(scrolled);
    observer.disconnect();
  };
  const view = { title: "GPU map", node, url, update, close };
  return view;
}

function held(data) {
  const all = data.counts.reduce((sum, one) => sum + one.count, 0);
  return all === 0 ? "" : `${data.held.toLocaleString("en")} of ${count(all, "GPU")} held. `;
}

function progress({ nodes, read, failed, found, problem, scaler }) {
  if (nodes === 0 && scaler.source === "prometheus") {
    return problem === null ? "Querying Prometheus…" : "";
  }
  if (nodes === 0) return "No exporter is running in this cluster.";
  const all = nodes.toLocaleString("en");
  const parts = [];
  if (read < nodes) parts.push(`${count(read, "node")} of ${all} read so far`);
  else parts.push(failed > 0 ? `${(nodes - failed).toLocaleString("en")} of ${count(nodes, "node")} read` : `${count(nodes, "node")} read`);
  if (failed > 0) parts.push(`${failed.toLocaleString("en")} failed`);
  if (found === 0) parts.push("no match");
  return `${parts.join(", ")}.`;
}

function makeShade(one) {
  const kind = one.index < 5 ? `d${one.index}` : one.index === 5 ? "free" : "unknown";
  return h("li", {}, h("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), `${one.label} `, h("b", {}));
}

function makeRow(row) {
  return h(
    "tr",
    { role: "row", "data-node": row.node },
    rowHeader("Node", h("span", { class: "name" }, row.node), h("time", { class: "ago", hidden: true })),
    h("td", { role: "cell" }, h("p", { class: "trouble", hidden: true }), h("ul", { class: "gpus" })),
  );
}

function setRow(row, data) {
  const when = row.querySelector("time");
  show(when, data.read !== null);
  if (data.read !== null) setAgo(when, data.read);
  const trouble = row.querySelector(".trouble");
  const why = data.problem ?? (data.read === null ? "not read yet" : "");
  setText(trouble, why);
  setAttribute(trouble, "class", data.problem === null ? "trouble quiet" : "trouble");
  show(trouble, why !== "");
  show(row.querySelector(".gpus"), data.gpus.length > 0);
  rows(row.querySelector(".gpus"), data.gpus, (gpu) => gpu.uuid, makeGpu, setGpu);
}

function makeGpu() {
  return h(
    "li",
    {},
    h("b", {}),
    h("span", { class: "holders" }),
    h("span", { class: "more readings" }),
    h("span", { class: "more uuid" }),
  );
}

// What is unknown is left out.
function readings(detail) {
  if (detail === null) return "";
  const { memory_used: used, memory_total: total, power, temperature } = detail;
  const parts = [];
  if (used !== null && total !== null) parts.push(`${gibibytes(used)} of ${gibibytes(total)}\u00a0GiB`);
  else if (used !== null) parts.push(`${gibibytes(used)}\u00a0GiB used`);
  else if (total !== null) parts.push(`${gibibytes(total)}\u00a0GiB in all`);
  if (power !== null) parts.push(`${Math.round(power)}\u00a0W`);
  if (temperature !== null) parts.push(`${Math.round(temperature)}\u00a0°C`);
  return parts.join(", ");
}

function setGpu(item, gpu) {
  setAttribute(item, "class", gpu.duty === null ? "unknown" : gpu.bin === null ? "free" : `d${gpu.bin}`);
  setText(item.querySelector("b"), gpu.duty === null ? "no reading" : `${Math.round(gpu.duty)}\u00a0%`);
  const name = gpu.model === null ? gpu.uuid : `${gpu.model}, ${gpu.uuid}`;
  const said = readings(gpu.detail);
  setText(item.querySelector(".uuid"), name);
  setText(item.querySelector(".readings"), said);
  setAttribute(item, "title", [name, said].filter(Boolean).join("\n"));
  redraw(item.querySelector(".holders"), JSON.stringify(gpu.pods), () =>
    gpu.pods.length === 0 ? ["free"] : gpu.pods.map(holder),
  );
}

function holder({ pod, deployment }) {
  const name = pod.slice(pod.indexOf("/") + 1);
  const parts = [
    h("span", { class: "unseen" }, pod.slice(0, pod.indexOf("/") + 1)),
    h("span", { class: "head" }, name.slice(0, -TAIL)),
    h("span", { class: "tail" }, name.slice(-TAIL)),
  ];
  if (deployment === null) return h("span", { class: "pod", title: pod }, ...parts);
  const [namespace, of] = deployment.split("/").map(encodeURIComponent);
  return h("a", { class: "pod", title: pod, href: `#/deployment/${namespace}/${of}` }, ...parts);
}
