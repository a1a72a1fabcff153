// SPDX-License-Identifier: Apache-2.0
// All opted-in Deployments, page by page, and the latest events.

import { setAgo } from "./ages.js";
import { spark } from "./charts.js";
import { h, redraw, rows, setAttribute, setText, show } from "./dom.js";
import {
  cell,
  eventsTable,
  pager,
  path,
  rowHeader,
  setReplicas,
  setState,
  setValues,
  state,
  table,
  tools,
} from "./parts.js";
import { count } from "./words.js";

const EXAMPLE = `metadata:
  annotations:
    gpu-scaler/enabled: "true"
    gpu-scaler/max-replicas: "10"
    gpu-scaler/target-duty-cycle: "40"`;

export function overview({ params, go, tell }) {
  const groups = h("div", { class: "groups", role: "group", "aria-label": "States" });
  const { node: list, body } = table(
    "Deployments",
    [["Deployment"], ["State"], ["Against target"], ["Replicas", "number"], ["Last hour"], ["Why"]],
    { className: "deployments cards" },
  );
  const nothing = h("div", { class: "nothing", hidden: true });
  const pages = pager({ what: "Deployment", go });
  const events = eventsTable("Latest events", { withName: true });
  const eventSection = h(
    "section",
    { "aria-labelledby": "events" },
    h("h2", { id: "events" }, "Latest events"),
    events.node,
  );
  const bar = tools({
    what: "Find",
    params,
    sorts: [["", "Attention first"], ["name", "Name"], ["state", "State"], ["replicas", "Replicas, most first"]],
    go,
  });
  const namespace = h("select", { id: "namespace", onchange: () => go({ namespace: namespace.value, offset: "" }) });
  const namespaceField = h("span", { class: "field" }, h("label", { for: "namespace" }, "Namespace"), namespace);
  bar.prepend(namespaceField);
  const node = [
    h("h1", { tabindex: "-1" }, "Deployments"),
    h("div", { class: "bar" }, groups, bar),
    nothing,
    list,
    pages.node,
    eventSection,
  ];
  let attention = null;

  function update(data) {
    setNamespaces(namespace, data.namespaces, params.get("namespace") ?? "");
    show(namespaceField, data.namespaces.length > 1 || params.has("namespace"));
    setGroups(groups, data, params.get("group") ?? "", go);
    rows(body, data.deployments, (one) => `${one.namespace}/${one.name}`, make, set);
    pages.set(data);
    events.set(data.events);
    const known = data.scaler.leading;
    for (const part of [list, pages.node]) show(part, data.found > 0);
    for (const part of [groups, bar]) show(part, known && data.total > 0);
    show(eventSection, known && data.events.length > 0);
    show(nothing, data.found === 0);
    redraw(nothing, empty(data), () => emptyWords(data));
    const now = data.counts.find((one) => one.group === "attention").count;
    view.title = now > 0 ? `(${now}) Deployments` : "Deployments";
    // Announce only changes to screen readers.
    if (attention !== null && attention !== now) {
      tell(`${count(now, "Deployment needs", "Deployments need")} attention`);
    }
    attention = now;
  }

  const view = { title: "Deployments", node, url: () => `api/v1/overview?${params}`, update };
  return view;
}

function empty({ scaler, total, found }) {
  if (found > 0) return "";
  if (!scaler.leading) return scaler.leader === null ? "nobody" : "follower";
  if (total > 0) return "search";
  return scaler.decided === null ? "begin" : "none";
}

function emptyWords(data) {
  switch (empty(data)) {
    case "follower":
    case "nobody":
      return [
        h("p", {}, "Only the leader shows the Deployments. Every replica shows the GPU map."),
        ...(data.scaler.leader === null
          ? []
          : [
              h("p", {}, "To open the leader's page, where NAMESPACE is the namespace of the scaler:"),
              h("pre", {}, `kubectl -n NAMESPACE port-forward pod/${data.scaler.leader} ${location.port || "9446"}`),
            ]),
      ];
    case "search":
      return [h("p", {}, "No Deployment matches.")];
    case "begin":
      return [h("p", {}, "The first loop has not finished yet.")];
    case "none":
      return [
        h("p", {}, "No Deployment has opted in. Add these annotations to one:"),
        h("pre", {}, EXAMPLE),
      ];
    default:
      return [];
  }
}

// A namespace of the URL stays on the list while it has no Deployment.
function setNamespaces(select, names, chosen) {
  const all = names.includes(chosen) || chosen === "" ? names : [chosen, ...names];
  redraw(select, JSON.stringify(all), () => [
    h("option", { value: "" }, "All"),
    ...all.map((name) => h("option", { value: name }, name)),
  ]);
  select.value = chosen;
}

function setGroups(node, data, chosen, go) {
  const all = data.counts.reduce((sum, one) => sum + one.count, 0);
  const items = [{ group: "", label: "All", count: all }, ...data.counts];
  const make = ({ group }) => h("button", { type: "button", "data-group": group });
  rows(node, items, (item) => item.group, make, (button, item) => {
    button.classList.toggle("none", item.count === 0);
    setAttribute(button, "aria-pressed", item.group === chosen ? "true" : "false");
    redraw(button, `${item.count}`, () => [`${item.label} `, h("b", {}, item.count.toLocaleString("en"))]);
    button.onclick = () => go({ group: item.group, offset: "" });
  });
}

function make(one) {
  return h(
    "tr",
    { role: "row" },
    rowHeader(
      "Deployment",
      h("a", { href: path(one.namespace, one.name) }, one.name),
      h("span", { class: "namespace" }, one.namespace),
    ),
    cell("State", { class: "is" }, state()),
    cell("Against target", { class: "values" }),
    cell("Replicas", { class: "number" }, h("b", { class: "count" }), h("span", { class: "range" })),
    cell("Last hour", { class: "hour" }),
    cell(
      "Why",
      { class: "why" },
      h("p", { class: "message" }),
      h("p", { class: "event", hidden: true }, h("span", { class: "what" }), " ", h("time", { class: "ago" })),
    ),
  );
}

function set(row, one) {
  const find = (selector) => row.querySelector(selector);
  setAttribute(row, "data-group", one.group);
  setState(find(".state"), one.group, one.state);
  setValues(find(".values"), one.values, { named: true });
  setReplicas(find(".count"), one.current, one.desired);
  setText(find(".range"), one.max === null ? "" : `${one.min} to ${one.max}`);
  redraw(find(".hour"), JSON.stringify(one.history), () => [spark(one.history)]);
  setText(find(".message"), one.message);
  setAttribute(find(".message"), "title", `${one.reason}: ${one.message}`);
  show(find(".event"), one.event !== null);
  if (one.event !== null) {
    const times = one.event.count > 1 ? ` ×${one.event.count}` : "";
    setText(find(".what"), `Event ${one.event.reason}${times}`);
    setAgo(find(".event time"), one.event.last);
  }
}
