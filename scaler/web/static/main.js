// SPDX-License-Identifier: Apache-2.0
// The URL selects the page, and the page selects the data to poll.

import { setAgo, tickAll } from "./ages.js";
import { deployment } from "./deployment.js";
import { h, redraw, rows, setAttribute, setText } from "./dom.js";
import { gpus } from "./gpus.js";
import { idle } from "./idle.js";
import { notices } from "./notices.js";
import { nowhere } from "./nowhere.js";
import { overview } from "./overview.js";
import { followTheme } from "./theme.js";
import { clock, followServerClock, nowSeconds } from "./words.js";

// Poll once per loop, within these limits.
const [LEAST_SECONDS, MOST_SECONDS] = [1, 5];
const RETRY_SECONDS = 15;
const TIMEOUT_SECONDS = 10;

const main = document.getElementById("main");
const pulse = document.getElementById("pulse");
let view = null;
let wake = () => {};
let last = null;
let failure = null;
let refusal = null;
// The overview with its search and filters, to go back to.
let home = "#/";

function route() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  const params = new URLSearchParams(query);
  const names = path.split("/").slice(1).map(decode);
  if (names[0] === "idle") return { page: "idle", make: idle, params, path };
  if (names[0] === "gpus") return { page: "gpus", make: gpus, params, path };
  if (names[0] === "deployment" && names.length === 3) {
    return { page: "overview", make: deployment, params, path, names: names.slice(1) };
  }
  if (["", "/"].includes(path)) return { page: "overview", make: overview, params, path: "/" };
  return { page: "", make: nowhere, params, path };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const address = (path, params) => `#${path}${`${params}` ? `?${params}` : ""}`;

// The title of the tab.
function setTitle() {
  const title = `${view.title} · gpu-scaler`;
  if (document.title !== title) document.title = title;
}

function tell(text) {
  setText(document.getElementById("told"), text);
}

function open() {
  const { page, make, params, path, names } = route();
  if (view !== null && view.path === path && view.asked === `${params}`) return;
  const before = view;
  view?.close?.();
  const go = (changes) => {
    for (const [name, value] of Object.entries(changes)) {
      if (value) params.set(name, value);
      else params.delete(name);
    }
    view.asked = `${params}`;
    history.replaceState(null, "", address(path, params));
    if (make === overview) home = address(path, params);
    view.etag = null;
    wake();
  };
  if (make === overview) home = address(path, params);
  view = make({ names, params, go, tell, home, path });
  Object.assign(view, { path, asked: `${params}`, etag: null });
  for (const link of document.querySelectorAll("header nav a")) {
    setAttribute(link, "aria-current", link.dataset.page === page ? "page" : null);
  }
  setTitle();
  main.replaceChildren(...view.node);
  main.setAttribute("aria-busy", "true");
  // Move the focus of screen readers to the new page, but not on the first page.
  if (before !== null) {
    main.querySelector("h1").focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  wake();
}

async function ask(asked) {
  const response = await fetch(asked.url(), {
    cache: "no-cache",
    credentials: "same-origin",
    signal: AbortSignal.timeout(TIMEOUT_SECONDS * 1000),
  });
  if (![200, 400, 404].includes(response.status)) throw new Error(`status ${response.status}`);
  const data = await response.json();
  if (data.scaler === undefined) throw new Error(data.error ?? `status ${response.status}`);
  followServerClock(response.headers.get("Date"));
  return { data, etag: response.headers.get("ETag") };
}

function inWords(error) {
  if (error.name === "TimeoutError") return `no answer within ${TIMEOUT_SECONDS} s`;
  // The message of fetch for a failed connection differs between browsers.
  return error instanceof TypeError ? "connection failed" : error.message;
}

async function follow() {
  let failures = 0;
  for (;;) {
    const asked = view;
    const url = asked.url();
    try {
      const { data, etag } = await ask(asked);
      failures = 0;
      failure = null;
      if (asked !== view || url !== view.url()) continue;
      last = { scaler: data.scaler, at: nowSeconds() };
      if (etag === null || etag !== view.etag) {
        view.etag = etag;
        refusal = data.error !== undefined && !view.explains ? data.error : null;
        if (refusal === null) view.update(data);
        setTitle();
      }
      main.setAttribute("aria-busy", "false");
    } catch (error) {
      failures += 1;
      failure = failure ?? { since: nowSeconds(), why: inWords(error) };
      if (asked !== view) continue;
    }
    standing();
    const interval = asked.awaits ? LEAST_SECONDS : (last?.scaler.interval_seconds ?? LEAST_SECONDS);
    const seconds = Math.min(MOST_SECONDS, Math.max(LEAST_SECONDS, interval));
    await pause(failures === 0 ? seconds : Math.min(RETRY_SECONDS, seconds * 2 ** (failures - 1)));
  }
}

// Wait for the time, a new URL, or a visible tab.
function pause(seconds) {
  return new Promise((resolve) => {
    const timer = document.hidden ? null : setTimeout(resolve, seconds * 1000);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

// Update the notices once a second, because the age of the data is one of them.
function standing() {
  const now = nowSeconds();
  const found = [];
  if (failure !== null) {
    const seen = last === null ? "There is no data yet." : `This page shows the state at ${clock(last.at)}.`;
    found.push(["error", `No connection to the scaler since ${clock(failure.since)} (${failure.why}). ${seen}`]);
  }
  if (refusal !== null) found.push(["error", `The URL is invalid: ${refusal}.`]);
  if (last !== null) found.push(...notices(last.scaler, now));
  const box = document.getElementById("notices");
  const make = () => h("p", {});
  rows(box, found, ([, text]) => text.replaceAll(/\d+/g, "0"), make, (node, [level, text]) => {
    setAttribute(node, "class", `notice ${level}`);
    setText(node, text);
  });
  document.body.classList.toggle("stale", found.some(([level]) => level === "error" && last !== null));
  if (last !== null) setPulse(last.scaler);
}

function setPulse(scaler) {
  const { identity, leader, leading, version, source, decided } = scaler;
  const lost = failure !== null;
  redraw(pulse, JSON.stringify([lost, leading, decided === null]), () =>
    lost
      ? ["No connection"]
      : !leading
        ? ["Standby"]
        : decided === null
          ? ["Leader, no decision yet"]
          : ["Last decision ", h("time", { class: "ago" })],
  );
  const time = pulse.querySelector("time");
  if (time !== null) setAgo(time, decided);
  const readings =
    scaler.max_age_seconds === null ? "" : `, readings up to ${scaler.max_age_seconds.toFixed(1)} s old`;
  const asked = scaler.reads_succeeded + scaler.reads_failed;
  const answers = source === "prometheus" ? "queries" : "exporters";
  const parts = [
    `gpu-scaler ${version}`,
    `replica ${identity}${leading ? " (leader)" : leader === null ? "" : `, leader ${leader}`}`,
    leading ? `loop every ${scaler.interval_seconds} s` : "",
    leading ? `${scaler.reads_succeeded} of ${asked} ${answers} returned values${readings}` : "",
  ];
  setText(document.getElementById("about"), parts.filter(Boolean).join(" · "));
}

followTheme(document.getElementById("theme"));
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", open);
document.addEventListener("visibilitychange", () => document.hidden || wake());
setInterval(() => {
  tickAll();
  standing();
}, 1000);
open();
follow();
