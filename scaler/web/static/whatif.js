// SPDX-License-Identifier: Apache-2.0
// What another target or behavior would have done with the load on the charts.

import { h, redraw, setText, show } from "./dom.js";
import { cell, rowHeader, table } from "./parts.js";
import { duration } from "./words.js";

const TIMEOUT_SECONDS = 15;
// Longer addresses are refused by the server without a reason.
const MOST_CHARACTERS = 16000;

export function whatIf({ address, seconds, compare, tell }) {
  const metric = h("select", { id: "what-metric", onchange: () => choose() });
  const metricField = field("Value", metric);
  const target = h("input", { id: "what-target", type: "text", autocomplete: "off", spellcheck: "false", maxlength: 100 });
  const targetField = field("Target", target);
  const behavior = h("textarea", {
    id: "what-behavior",
    rows: 5,
    spellcheck: "false",
    placeholder: "For example:\nscaleDown:\n  stabilizationWindowSeconds: 60",
  });
  const clear = h("button", { type: "button", hidden: true, onclick: forget }, "Clear");
  const problems = h("ul", { class: "problems", hidden: true });
  const found = h("div", { hidden: true });
  const form = h(
    "form",
    { class: "what-if", onsubmit: ask },
    h(
      "div",
      { class: "tools" },
      metricField,
      targetField,
      h("button", { type: "submit" }, "Replay"),
      clear,
    ),
    h("div", { class: "field tall" }, h("label", { for: "what-behavior" }, "Behavior, as in gpu-scaler/behavior (empty: the default)"), behavior),
    // For screen readers, an error or a result is announced by `tell`.
    problems,
  );
  const node = h(
    "div",
    {},
    h("p", { class: "quiet" }, "Replays the values on the charts with other settings. Nothing is changed in the cluster."),
    form,
    found,
  );
  let settings = [];
  let isTouched = false;
  form.addEventListener("input", () => (isTouched = true));

  // The fields follow the annotations until somebody edits one of them.
  function set(data) {
    settings = data.settings;
    if (isTouched) return;
    redraw(metric, JSON.stringify(settings), () =>
      settings.map((one) => h("option", { value: one.metric }, one.label)),
    );
    show(metricField, settings.length > 1);
    behavior.value = data.behavior;
    choose();
  }

  function choose() {
    const one = settings.find(({ metric: name }) => name === metric.value);
    if (one === undefined) return;
    setText(targetField.firstChild, one.annotation);
    target.value = one.target;
  }

  async function ask(event) {
    event.preventDefault();
    const query = new URLSearchParams({ metric: metric.value, target: target.value, behavior: behavior.value, seconds: seconds() });
    if (`${query}`.length > MOST_CHARACTERS) return refuse(["The behavior is too long."]);
    try {
      const response = await fetch(`${address}/what-if?${query}`, {
        cache: "no-cache",
        credentials: "same-origin",
        signal: AbortSignal.timeout(TIMEOUT_SECONDS * 1000),
      });
      const data = await response.json();
      if (response.ok) accept(data);
      else refuse(data.problems ?? [data.error]);
    } catch {
      refuse(["No connection to the scaler."]);
    }
  }

  function refuse(texts) {
    forget();
    problems.replaceChildren(...texts.map((text) => h("li", {}, text)));
    show(problems, true);
    tell(texts.join("; "));
  }

  function accept(data) {
    show(problems, false);
    found.replaceChildren(...results(data));
    show(found, true);
    show(clear, true);
    const last = data.results.at(-1);
    compare("what if", last.points);
    tell(`What if: ${hours(last)}, as it was: ${hours(data.results[0])}`);
  }

  function forget() {
    show(found, false);
    show(problems, false);
    show(clear, false);
    compare("", null);
  }

  return { node, set };
}

function field(label, input) {
  return h("span", { class: "field" }, h("label", { for: input.id }, label), input);
}

const hours = ({ gpu_hours: value }) => `${value.toLocaleString("en", { maximumFractionDigits: 1 })} GPU hours`;
const share = (value) => (value === null ? "unknown" : `${(value * 100).toLocaleString("en", { maximumFractionDigits: 1 })}\u00a0%`);

function results({ results: all, seconds, floor, assumptions, share_label: shareLabel }) {
  const { node, body } = table(
    "What the settings would have done",
    [["Settings"], ["Target", "number"], ["GPU hours", "number"], [shareLabel, "number"], ["Changes", "number"], ["Highest count", "number"]],
    { className: "results cards" },
  );
  body.append(
    ...all.map((one) =>
      h(
        "tr",
        { role: "row" },
        rowHeader("Settings", one.name),
        cell("Target", { class: "number" }, one.target ?? "–"),
        cell("GPU hours", { class: "number" }, one.gpu_hours.toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 })),
        cell(shareLabel, { class: "number" }, share(one.saturated)),
        cell("Changes", { class: "number" }, `${one.changes}`),
        cell("Highest count", { class: "number" }, `${one.highest}`),
      ),
    ),
  );
  const doubt = floor > 0 ? ` A pod was saturated for ${share(floor)} of the time: the demand was higher than the replay knows.` : "";
  return [node, h("p", { class: "quiet assumed" }, `Over ${duration(seconds)} with values. Assumes that ${assumptions.join(" and that ")}.${doubt}`)];
}
