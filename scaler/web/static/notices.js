// What is to be known before anything else on the page is believed.

import { clock, count, duration } from "./words.js";

const SILENT_SECONDS = 15;

export function notices(scaler, now) {
  if (!scaler.leading) return [following(scaler)];
  const found = [];
  const age = scaler.decided === null ? null : now - scaler.decided;
  if (scaler.stopped) found.push(["warning", `All scaling is stopped: ${scaler.stopped}.`]);
  if (scaler.holding) {
    const seen = age === null ? "" : ` What is shown is from ${clock(scaler.decided)}.`;
    found.push(["error", `Nothing is scaled: ${scaler.holding}.${seen}`]);
  } else if (age !== null && age > Math.max(SILENT_SECONDS, 5 * scaler.interval_seconds)) {
    found.push(["error", `Nothing was decided for ${duration(age)}; what is shown is from ${clock(scaler.decided)}.`]);
  } else if (scaler.unready) {
    found.push(["warning", `The scaler is not ready: ${scaler.unready}.`]);
  }
  if (scaler.reads_failed > 0) found.push(reading(scaler));
  return found;
}

function following({ identity, leader }) {
  return leader
    ? ["note", `This replica, ${identity}, does not lead and shows no decisions. ${leader} leads: ask that one.`]
    : ["warning", `This replica, ${identity}, does not lead, and it knows of no leader: nothing is scaled.`];
}

function reading({ source, reads_failed: failed, reads_succeeded: succeeded }) {
  const one = source === "prometheus" ? "Prometheus query" : "exporter";
  const many = source === "prometheus" ? "Prometheus queries" : "exporters";
  if (succeeded === 0) {
    return ["error", `No ${one} gave usable values in the last loop: what depends on them is held.`];
  }
  return ["warning", `${failed} of ${count(failed + succeeded, one, many)} gave no usable values in the last loop.`];
}
