// SPDX-License-Identifier: Apache-2.0
// Pods that hold GPUs at a duty cycle of 0, and the nodes with free GPUs.

import { setAgo } from "./ages.js";
import { h, redraw, rows, setText, show } from "./dom.js";
import { cell, pager, path, rowHeader, table, tools } from "./parts.js";
import { count } from "./words.js";

export function idle({ params, go }) {
  const summary = h("p", { class: "lead says" }, "Reading…");
  const problem = h("p", { class: "trouble", hidden: true });
  const { node: list, body } = table(
    "Pods with idle GPUs",
    [["Pod"], ["Workload"], ["Idle GPUs", "number"], ["Idle since"], ["Node"]],
    { className: "idle cards" },
  );
  const pages = pager({ what: "pod", go });
  const bar = tools({
    what: "Find pod, workload or node",
    params,
    sorts: [["", "Idle longest first"], ["gpus", "Idle GPUs, most first"], ["name", "Name"]],
    go,
  });
  const { node: freeList, body: freeBody } = table(
    "Nodes with free GPUs",
    [["Node"], ["Free GPUs", "number"], ["Free since"]],
    { className: "idle cards" },
  );
  const more = h("p", { class: "quiet", hidden: true });
  const free = h(
    "section",
    { "aria-labelledby": "free" },
    h("h2", { id: "free" }, "Free GPUs"),
    freeList,
    more,
  );
  const node = [
    h("h1", { tabindex: "-1" }, "Idle GPUs"),
    summary,
    problem,
    h("div", { class: "bar" }, bar),
    list,
    pages.node,
    free,
    h(
      "p",
      { class: "quiet note" },
      "A GPU is idle if its last duty cycle is 0. A time begins when the scaler first saw the GPU so. Without ",
      h("code", {}, "--idle.all"),
      " it reads GPUs of other workloads only while this page or the map is open, and does not know their workloads. ",
      h("code", {}, "gpu-scaler idle"),
      " reports on past days from Prometheus.",
    ),
  ];

  function update(data) {
    setText(summary, words(data));
    setText(problem, data.problem ?? "");
    show(problem, data.problem !== null);
    rows(body, data.rows, (one) => `${one.namespace}/${one.pod}`, makePod, setPod);
    pages.set(data);
    rows(freeBody, data.free_nodes, (one) => one.node, makeFree, setFree);
    const left = data.free_nodes_found - data.free_nodes.length;
    setText(more, left > 0 ? `${count(left, "more node")} with free GPUs: see the GPU map.` : "");
    show(more, left > 0);
    show(free, data.free_nodes.length > 0);
    for (const part of [list, pages.node]) show(part, data.rows.length > 0);
    show(bar, data.pods > 0);
    view.awaits = data.read < data.nodes;
  }

  const view = { title: "Idle GPUs", node, url: () => `api/v1/idle-gpus?${params}`, update };
  return view;
}

function words({ nodes, read, failed, held, idle, free, pods, found, problem, scaler }) {
  if (nodes === 0 && scaler.source === "prometheus") {
    return problem === null ? "Querying Prometheus…" : "";
  }
  if (nodes === 0) return "No exporter is running in this cluster.";
  const parts = [
    idle === 0
      ? `None of ${count(held, "held GPU")} is idle`
      : `${idle.toLocaleString("en")} of ${count(held, "held GPU")} idle, in ${count(pods, "pod")}`,
    `${count(free, "free GPU")}`,
  ];
  if (read < nodes) parts.push(`${read.toLocaleString("en")} of ${count(nodes, "node")} read so far`);
  if (failed > 0) parts.push(`${count(failed, "node")} could not be read`);
  if (pods > 0 && found === 0) parts.push("no match");
  return `${parts.join("; ")}.`;
}

function makePod(one) {
  return h(
    "tr",
    { role: "row" },
    rowHeader("Pod", h("span", { class: "namespace" }, `${one.namespace}/`), one.pod),
    cell("Workload", {}, h("span", { class: "workload" })),
    cell("Idle GPUs", { class: "number" }, h("span", { class: "amount" })),
    cell("Idle since", {}, h("span", { class: "since" })),
    cell("Node", {}, h("span", { class: "node" })),
  );
}

function setPod(row, one) {
  redraw(row.querySelector(".workload"), JSON.stringify([one.workload, one.deployment]), () => {
    if (one.deployment === null) return [one.workload ?? "unknown"];
    return [h("a", { href: path(one.namespace, one.workload) }, one.workload)];
  });
  setText(row.querySelector(".amount"), one.gpus === one.held ? `${one.gpus}` : `${one.gpus} of ${one.held}`);
  setSince(row, one.since);
  setText(row.querySelector(".node"), one.node);
}

function makeFree(one) {
  return h(
    "tr",
    { role: "row" },
    rowHeader("Node", one.node),
    cell("Free GPUs", { class: "number" }, h("span", { class: "amount" })),
    cell("Free since", {}, h("span", { class: "since" })),
  );
}

function setFree(row, one) {
  setText(row.querySelector(".amount"), `${one.gpus}`);
  setSince(row, one.since);
}

// The text counts on by itself; without a time it has been seen once.
function setSince(row, since) {
  const place = row.querySelector(".since");
  redraw(place, `${since === null}`, () => [since === null ? "just seen" : h("time", { class: "ago" })]);
  const time = place.querySelector("time");
  if (time !== null) setAgo(time, since);
}
