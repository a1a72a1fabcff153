// SPDX-License-Identifier: Apache-2.0
// One Deployment: its values by pod and over time, and its decisions step by step.

import { ago, setAgo } from "./ages.js";
import { h, redraw, rows, setAttribute, setText, show } from "./dom.js";
import { load } from "./load.js";
import {
  cell,
  eventsTable,
  pager,
  replicas,
  rowHeader,
  setReplicas,
  setState,
  setValues,
  state,
  table,
} from "./parts.js";
import { whatIf } from "./whatif.js";
import { count, duration, measure } from "./words.js";

const FIRST_EPISODES = 10;

export function deployment({ names: [namespace, name], params, go, tell, home }) {
  const now = state();
  const message = h("p", { class: "lead" });
  const nextStep = h("p", { class: "lead next" });
  const figures = h("dl", { class: "figures" });
  const facts = h("dl", { class: "facts" });
  const address = `api/v1/deployments/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
  const past = load({ address, params, go, onData: setTrial });
  const trial = whatIf({ address, seconds: past.seconds, compare: past.compare, tell });
  const metrics = h("div", {});
  const steps = h("div", {});
  const last = table(
    "Last decisions",
    [["Began"], ["Lasted"], ["State"], ["Against target"], ["Replicas", "number"], ["Why"]],
    { className: "past cards" },
  );
  let most = FIRST_EPISODES;
  const more = h("button", { type: "button", class: "more" });
  more.addEventListener("click", () => {
    most = most === FIRST_EPISODES ? Infinity : FIRST_EPISODES;
    setEpisodes();
  });
  const events = eventsTable("Events", { withName: false });
  const eventSection = section("Events", events.node);
  const settings = table("Annotations in force", [["Annotation"], ["Value"], ["Set by"]], { className: "settings cards" });
  const settingSection = section("Annotations in force", settings.node);
  const trialSection = section("What if", trial.node);
  const unknown = h("p", { class: "nothing", hidden: true });
  const known = h(
    "div",
    {},
    h("p", { class: "standing" }, now),
    message,
    nextStep,
    figures,
    facts,
    section("Values and replicas over time", past.node),
    trialSection,
    section("Values by pod", metrics),
    section("This decision, step by step", steps),
    section("Last decisions", last.node, more),
    eventSection,
    settingSection,
  );
  const dashboard = h("a", {}, "Dashboard in Grafana");
  const outward = h("p", { hidden: true }, dashboard);
  const node = [
    h("p", { class: "up" }, h("a", { href: home }, home === "#/" ? "All Deployments" : "Back to the Deployments")),
    h("h1", { tabindex: "-1" }, h("span", { class: "namespace" }, `${namespace}/`), name),
    outward,
    unknown,
    known,
  ];
  function setOutward(base) {
    show(outward, base !== "");
    if (base === "") return;
    const chosen = new URLSearchParams({ "var-namespace": namespace, "var-deployment": name });
    setAttribute(dashboard, "href", `${base}/d/gpu-scaler?${chosen}`);
  }

  let shown = null;
  function setTrial(data) {
    trial.set(data);
    show(trialSection, data.settings.length > 0);
  }

  function setEpisodes() {
    const all = shown.episodes;
    rows(last.body, all.slice(0, most), (one) => `${one.begun}`, makeEpisode, setEpisode);
    show(more, all.length > FIRST_EPISODES);
    setText(more, most === FIRST_EPISODES ? `Show all ${all.length}` : `Show the last ${FIRST_EPISODES}`);
  }

  function update(data) {
    setOutward(data.scaler.grafana_url);
    show(unknown, data.error !== undefined);
    show(known, data.error === undefined);
    if (data.error !== undefined) {
      setText(unknown, data.scaler.leading ? data.error : "Only the leader shows decisions.");
      return;
    }
    if (shown !== null && shown.row.state !== data.row.state) tell(`Now: ${data.row.state}`);
    shown = data;
    setState(now, data.row.group, data.row.state);
    setText(message, `${data.row.reason}: ${data.row.message}`);
    show(nextStep, data.next_step !== null);
    setText(nextStep, `Next: ${data.next_step}`);
    setFigures(figures, data.row);
    setFacts(facts, data);
    past.refresh();
    setMetrics(metrics, data, go);
    setSteps(steps, data);
    setEpisodes();
    events.set(data.events);
    setSettings(settings.body, data.settings);
    show(settingSection, data.settings.length > 0);
    show(eventSection, data.events.length > 0);
  }

  return {
    title: `${namespace}/${name}`,
    node,
    url: () => `${address}?${params}`,
    update,
    explains: true,
    close: past.close,
  };
}

function section(title, ...children) {
  const id = title.toLowerCase().replaceAll(/[^a-z]+/g, "-");
  return h("section", { "aria-labelledby": id }, h("h2", { id }, title), ...children);
}

function setFigures(node, row) {
  const range = row.max === null ? null : h("span", { class: "of" }, ` range ${row.min} to ${row.max}`);
  redraw(node, JSON.stringify([row.current, row.desired, row.min, row.max, row.values]), () => [
    h("div", {}, h("dt", {}, "Replicas"), h("dd", {}, replicas(row.current, row.desired), range)),
    ...row.values.map((value) => {
      const numbers = h("dd", {});
      setValues(numbers, [value], { named: false });
      return h("div", {}, h("dt", {}, value.label), numbers);
    }),
  ]);
}

function setFacts(node, data) {
  const { row, proposed } = data;
  const facts = [
    ["replicas", `${row.current} now, ${row.desired} desired${proposed === null ? "" : `, ${proposed} proposed by the metrics`}`],
    ...data.facts,
    ...data.problems.map((problem) => ["wrong", `${problem.annotation}: ${problem.message}`]),
  ];
  redraw(node, JSON.stringify(facts), () =>
    facts.map(([term, text]) => h("div", { class: term === "wrong" ? "wrong" : null }, h("dt", {}, term), h("dd", {}, text))),
  );
}

function setMetrics(node, data, go) {
  if (data.metrics.length === 0) {
    redraw(node, "none", () => [h("p", { class: "quiet" }, "This decision used no values.")]);
    node.rowsByKey = new Map();
    return;
  }
  if (node.dataset.key === "none") redraw(node, "some", () => []);
  const make = (metric) => makeMetric(metric, go);
  rows(node, data.metrics, (metric) => metric.mean.metric, make, (part, metric) => part.set(metric, data));
}

function makeMetric(metric, go) {
  const values = h("div", { class: "values" });
  const says = h("p", { class: "says" });
  const query = h("pre", { class: "query" }, metric.query ?? "");
  const pods = table(
    `${metric.mean.label} by pod`,
    [["Pod"], ["Node"], ["Against target", "number"], ["GPUs", "number"], ["Read"], ["Counted"]],
    { className: "pods cards" },
  );
  const pages = pager({ what: "pod", go: ({ offset }) => go({ pods: offset }) });
  const part = h(
    "div",
    { class: "metric" },
    h("h3", {}, metric.mean.label),
    values,
    says,
    query,
    pods.node,
    pages.node,
  );
  part.set = (now, data) => {
    setValues(values, [now.mean], { named: false });
    setText(says, proposal(now));
    show(query, now.query !== null);
    rows(pods.body, now.pods, (pod) => `${pod.pod} ${pod.left_out === null}`, makePod, setPod);
    show(pods.node, now.pod_count > 0);
    pages.set({ offset: data.pod_offset, limit: data.pod_limit, found: now.pod_count });
    show(pages.node, now.pod_count > 0);
  };
  return part;
}

function proposal(metric) {
  if (metric.replicas === null) return `Proposes nothing: ${metric.problem}`;
  const remarks = metric.remarks.map((remark) => `; ${remark}`).join("");
  const over = metric.query === null ? `, from ${count(metric.counted, "counted pod")}` : "";
  return `Proposes ${count(metric.replicas, "replica")}${over}${remarks}`;
}

// The rest of the text keeps its case.
const begunSmall = (text) => text.charAt(0).toLowerCase() + text.slice(1);

function makePod(pod) {
  return h(
    "tr",
    { role: "row", class: pod.left_out === null ? "" : "left-out" },
    rowHeader("Pod", pod.pod),
    cell("Node", { class: "node" }),
    cell("Against target", { class: "number values" }),
    cell("GPUs", { class: "number devices" }),
    cell("Read", { class: "when" }),
    cell("Counted", { class: "why counted" }),
  );
}

function setPod(row, pod) {
  const find = (selector) => row.querySelector(selector);
  redraw(find(".node"), pod.node ?? "", () =>
    pod.node === null ? ["none"] : [h("a", { href: `#/gpus?search=${encodeURIComponent(pod.node)}` }, pod.node)],
  );
  setText(find(".values"), pod.value === null ? "–" : `${measure(pod.value, pod.unit)} (${Math.round(pod.ratio * 100)} %)`);
  setText(find(".devices"), pod.devices === null ? "–" : `${pod.devices}`);
  const when = find(".when");
  if (pod.sampled === null) setText(when, "–");
  else if (when.firstElementChild === null) when.replaceChildren(ago(pod.sampled));
  else setAgo(when.firstElementChild, pod.sampled);
  setText(find(".counted"), pod.left_out === null ? "yes" : `no: ${pod.left_out}`);
}

function setSteps(node, { metrics, limits, conditions, row, proposed }) {
  redraw(node, JSON.stringify([metrics.map(proposal), limits, conditions, row.state, row.current, row.desired]), () => {
    const steps = [
      ...metrics.map((metric) => `${metric.mean.label}: ${begunSmall(proposal(metric))}`),
      ...(metrics.length > 1 && proposed !== null ? [`The highest proposal counts: ${proposed}`] : []),
      ...limits.map((limit) => `${limit.reason}: ${limit.replicas_before} → ${limit.replicas_after}, ${limit.message}`),
      `${row.state}: ${row.current === row.desired ? `stays at ${row.current}` : replicas(row.current, row.desired)}`,
    ];
    const parts = [h("ol", { class: "steps" }, ...steps.map((step) => h("li", {}, step)))];
    if (conditions.length > 0) {
      const { node: list, body } = table("Conditions", [["Condition"], ["Status"], ["Reason"], ["Message"]], {
        className: "conditions cards",
      });
      body.append(
        ...conditions.map((one) =>
          h(
            "tr",
            { role: "row" },
            rowHeader("Condition", one.type),
            cell("Status", {}, one.status ? "True" : "False"),
            cell("Reason", {}, one.reason),
            cell("Message", { class: "why" }, one.message),
          ),
        ),
      );
      parts.push(list);
    }
    return parts;
  });
}

function makeEpisode(one) {
  return h(
    "tr",
    { role: "row" },
    cell("Began", { class: "when" }, ago(one.begun)),
    cell("Lasted", { class: "lasted" }),
    cell("State", { class: "is" }, state()),
    cell("Against target", { class: "values" }),
    cell("Replicas", { class: "number count" }),
    cell("Why", { class: "why" }, h("p", {})),
  );
}

function setEpisode(row, one) {
  const find = (selector) => row.querySelector(selector);
  setText(find(".lasted"), duration(one.last - one.begun));
  setState(find(".state"), one.group, one.state);
  setValues(find(".values"), one.values);
  setReplicas(find(".count"), one.current, one.desired);
  setText(find(".why p"), `${one.reason}: ${one.message}`);
}

function setSettings(body, settings) {
  redraw(body, JSON.stringify(settings), () =>
    settings.map((one) =>
      h(
        "tr",
        { role: "row" },
        rowHeader("Annotation", one.annotation),
        cell("Value", {}, h("code", {}, one.value)),
        cell("Set by", {}, one.origin),
      ),
    ),
  );
}
