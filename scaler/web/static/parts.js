// SPDX-License-Identifier: Apache-2.0
// Shared parts of pages: states, values and targets, events, search and paging.

import { ago, setAgo } from "./ages.js";
import { meter } from "./charts.js";
import { h, redraw, rows, setAttribute, setText, show } from "./dom.js";
import { count, measure } from "./words.js";

const MARKS = { attention: "!", limited: "▲", changing: "↕", steady: "✓", off: "–" };

export function state() {
  return h(
    "span",
    { class: "state" },
    h("span", { class: "mark", "aria-hidden": "true" }),
    h("span", { class: "word" }),
  );
}

export function setState(node, group, label) {
  setAttribute(node, "data-group", group);
  setText(node.querySelector(".mark"), MARKS[group]);
  setText(node.querySelector(".word"), label);
}

export function setValues(node, values, { named = values.length > 1 } = {}) {
  redraw(node, JSON.stringify(values), () =>
    values.map((value) =>
      h(
        "div",
        { class: "value" },
        named ? h("span", { class: "label" }, value.label) : null,
        h(
          "span",
          { class: "numbers" },
          h("b", {}, measure(value.value, value.value_unit)),
          value.target === null
            ? null
            : h("span", { class: "of" }, " of ", measure(value.target, value.target_unit)),
        ),
        value.target === null ? null : meter(value),
      ),
    ),
  );
}

export function replicas(current, desired) {
  return current === desired ? `${current}` : `${current} → ${desired}`;
}

// The style sheet adds the unit where no column header has it.
export function setReplicas(node, current, desired) {
  setText(node, replicas(current, desired));
  setAttribute(node, "data-unit", desired === 1 ? " replica" : " replicas");
}

export function path(namespace, name) {
  return `#/deployment/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
}

// A table whose rows become cards on narrow screens; roles keep it a table for screen readers.
export function table(caption, columns, { className = "" } = {}) {
  const body = h("tbody", { role: "rowgroup" });
  const head = h(
    "thead",
    { role: "rowgroup" },
    h(
      "tr",
      { role: "row" },
      ...columns.map(([name, kind]) =>
        h("th", { scope: "col", role: "columnheader", class: kind }, name),
      ),
    ),
  );
  const node = h(
    "table",
    { role: "table", class: className },
    h("caption", { class: "unseen" }, caption),
    head,
    body,
  );
  return { node, body };
}

export function cell(label, attributes = {}, ...children) {
  return h("td", { role: "cell", "data-label": label, ...attributes }, ...children);
}

export function rowHeader(label, ...children) {
  return h("th", { scope: "row", role: "rowheader", "data-label": label }, ...children);
}

export function eventsTable(caption, { withName }) {
  const columns = [["When"], ...(withName ? [["Deployment"]] : []), ["Event"], ["Message"]];
  const { node, body } = table(caption, columns, { className: withName ? "events named" : "events" });
  const set = (events) => rows(body, events, eventKey, (event) => make(event, withName), update);
  return { node, set };
}

function eventKey(event) {
  return [event.namespace, event.name, event.first, event.reason, event.message].join("\n");
}

function make(event, withName) {
  return h(
    "tr",
    { role: "row" },
    cell("When", { class: "when" }, ago(event.last)),
    withName
      ? rowHeader("Deployment", h("a", { href: path(event.namespace, event.name) }, `${event.namespace}/${event.name}`))
      : null,
    cell("Event", { class: "kind" }, h("span", { class: event.warning ? "reason warning" : "reason" })),
    cell("Message", { class: "why" }, event.message),
  );
}

function update(row, event) {
  setAgo(row.querySelector("time"), event.last);
  const times = event.count > 1 ? ` ×${event.count}` : "";
  const change = event.change === null ? "" : ` ${replicas(...event.change)}`;
  setText(row.querySelector(".reason"), `${event.warning ? "Warning: " : ""}${event.reason}${change}${times}`);
}

// Search and sort; both are stored in the URL.
export function tools({ what, params, sorts, go }) {
  let waiting;
  const search = h("input", {
    type: "search",
    id: "search",
    value: params.get("search") ?? "",
    autocomplete: "off",
    spellcheck: "false",
    oninput: () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => go({ search: search.value, offset: "" }), 250);
    },
  });
  const sort = h(
    "select",
    { id: "sort", onchange: () => go({ sort: sort.value, offset: "" }) },
    ...sorts.map(([value, name]) =>
      h("option", { value, selected: (params.get("sort") ?? "") === value }, name),
    ),
  );
  return h(
    "div",
    { class: "tools", role: "search" },
    h("span", { class: "field" }, h("label", { for: "search" }, what), search),
    h("span", { class: "field" }, h("label", { for: "sort" }, "Sort by"), sort),
  );
}

export function pager({ what, go }) {
  const said = h("span", {});
  const previous = h("button", { type: "button" }, "Previous");
  const next = h("button", { type: "button" }, "Next");
  const node = h("nav", { class: "pager", "aria-label": `Pages of ${what}s` }, said, previous, next);
  const set = ({ offset, limit, found }) => {
    const last = Math.min(offset + limit, found);
    setText(said, found > limit ? `${offset + 1} to ${last} of ${count(found, what)}` : count(found, what));
    for (const [button, to, possible] of [
      [previous, Math.max(0, offset - limit), offset > 0],
      [next, offset + limit, last < found],
    ]) {
      show(button, found > limit);
      // `disabled` would lose the keyboard focus.
      setAttribute(button, "aria-disabled", possible ? null : "true");
      button.onclick = () => possible && go({ offset: to ? `${to}` : "" });
    }
  };
  return { node, set };
}
