// SPDX-License-Identifier: Apache-2.0
// Notices above the page: why the scaler does not scale, and why the data may be old.

import { clock, count, duration } from "./words.js";

const SILENT_SECONDS = 15;

export function notices(scaler, now) {
  if (!scaler.leading) return [following(scaler)];
  const found = [];
  const age = scaler.decided === null ? null : now - scaler.decided;
  if (scaler.stopped) found.push(["warning", `All scaling is stopped: ${scaler.stopped}.`]);
  if (scaler.holding) {
    const seen = age === null ? "" : ` This page shows the state at ${clock(scaler.decided)}.`;
    found.push(["error", `The scaler holds all decisions: ${scaler.holding}.${seen}`]);
  } else if (age !== null && age > Math.max(SILENT_SECONDS, 5 * scaler.interval_seconds)) {
    found.push(["error", `The scaler has made no decision for ${duration(age)}. This page shows the state at ${clock(scaler.decided)}.`]);
  } else if (scaler.unready) {
    found.push(["warning", `The scaler is not ready: ${scaler.unready}.`]);
  }
  if (scaler.reads_failed > 0) found.push(reading(scaler));
  return found;
}

function following({ identity, leader }) {
  return leader
    ? ["note", `This replica, ${identity}, is a standby and has no decisions. The leader is ${leader}.`]
    : ["warning", `This replica, ${identity}, is a standby, and there is no leader: no replica scales.`];
}

function reading({ source, reads_failed: failed, reads_succeeded: succeeded }) {
  const one = source === "prometheus" ? "Prometheus query" : "exporter";
  const many = source === "prometheus" ? "Prometheus queries" : "exporters";
  if (succeeded === 0) {
    return ["error", `No ${one} returned usable values in the last loop. The scaler holds the Deployments that need them.`];
  }
  return ["warning", `${failed} of ${count(failed + succeeded, one, many)} returned no usable values in the last loop.`];
}
