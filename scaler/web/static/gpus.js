// SPDX-License-Identifier: Apache-2.0
// All nodes with their GPUs, page by page, and a summary of all GPUs.

import { setAgo } from "./ages.js";
import { h, redraw, rows, setAttribute, setText, show } from "./dom.js";
import { pager, rowHeader, table, tools } from "./parts.js";
import { count } from "./words.js";

// The end of a pod's name is what distinguishes it.
const TAIL = 6;

export function gpus({ params, go }) {
  const summary = h("ul", { class: "shades", "aria-label": "GPUs by duty cycle" });
  const state = h("p", { class: "progress quiet" }, "Reading…");
  const problem = h("p", { class: "trouble", hidden: true });
  const full = h("button", { type: "button", "aria-pressed": "false" }, "Full names");
  const { node: map, body } = table("GPUs by node", [["Node"], ["GPUs: duty cycle and pod"]], {
    className: "map",
  });
  full.addEventListener("click", () => {
    setAttribute(full, "aria-pressed", map.classList.toggle("full") ? "true" : "false");
  });
  const pages = pager({ what: "node", go });
  const bar = tools({
    what: "Find node or pod",
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

  function update(data) {
    setText(problem, data.problem ?? "");
    show(problem, data.problem !== null);
    setText(state, `${held(data.counts)}${progress(data)}`);
    setAttribute(state, "class", data.failed > 0 ? "progress trouble" : "progress quiet");
    rows(summary, data.counts.map((one, index) => ({ ...one, index })), (one) => one.label, makeShade, (item, one) => {
      setText(item.querySelector("b"), one.count.toLocaleString("en"));
    });
    rows(body, data.rows, (row) => row.node, makeRow, setRow);
    pages.set(data);
    for (const part of [map, pages.node]) show(part, data.rows.length > 0);
    view.awaits = data.read < data.nodes;
  }

  const view = { title: "GPU map", node, url: () => `api/v1/gpus?${params}`, update };
  return view;
}

// Free GPUs are the last label but one; those without a reading may be held or not.
function held(counts) {
  const all = counts.reduce((sum, one) => sum + one.count, 0);
  if (all === 0) return "";
  const unheld = counts.find((one) => one.label === "Free").count + counts.find((one) => one.label === "No reading").count;
  return `${(all - unheld).toLocaleString("en")} of ${count(all, "GPU")} held. `;
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
    { role: "row" },
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

function makeGpu(gpu) {
  const name = gpu.model === null ? gpu.uuid : `${gpu.model}, ${gpu.uuid}`;
  return h("li", { title: name }, h("b", {}), h("span", { class: "holders" }), h("span", { class: "uuid" }, name));
}

function setGpu(item, gpu) {
  setAttribute(item, "class", gpu.duty === null ? "unknown" : gpu.bin === null ? "free" : `d${gpu.bin}`);
  setText(item.querySelector("b"), gpu.duty === null ? "no reading" : `${Math.round(gpu.duty)}\u00a0%`);
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
