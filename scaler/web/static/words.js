// SPDX-License-Identifier: Apache-2.0
// Formats numbers, times and ages.

let clockOffsetSeconds = 0;

// The server's times are by its own clock; up to 2 s are the rounding of the Date header.
export function followServerClock(dateHeader) {
  const server = Date.parse(dateHeader ?? "") / 1000;
  if (Number.isNaN(server)) return;
  const offset = server - Date.now() / 1000;
  clockOffsetSeconds = Math.abs(offset) > 2 ? offset : 0;
}

export function nowSeconds() {
  return Date.now() / 1000 + clockOffsetSeconds;
}

// As in `gpu-scaler status`: 45s, 1m30s, 2h5m.
export function duration(seconds) {
  const total = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(total / 60);
  const hours = Math.floor(minutes / 60);
  if (total < 90) return `${total}s`;
  if (minutes < 60) return total % 60 && minutes < 10 ? `${minutes}m${total % 60}s` : `${minutes}m`;
  return minutes % 60 ? `${hours}h${minutes % 60}m` : `${hours}h`;
}

export function clock(unixSeconds, { seconds = true } = {}) {
  return new Date((unixSeconds - clockOffsetSeconds) * 1000).toLocaleTimeString([], {
    hour: "2-digit",
    minute: "2-digit",
    second: seconds ? "2-digit" : undefined,
    hourCycle: "h23",
  });
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

export function gibibytes(bytes) {
  return (bytes / 2 ** 30).toFixed(1);
}

export function measure(value, unit) {
  if (value === null) return "unknown";
  return unit ? `${value}\u00a0${unit}` : value;
}
