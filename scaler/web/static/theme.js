// SPDX-License-Identifier: Apache-2.0
// The colors: those of the system, or those that the reader has chosen in this browser.

const KEY = "gpu-scaler-theme";

// A browser may refuse storage, for example in a private window.
function stored() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

function store(theme) {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // The choice then ends with the page.
  }
}

function apply(theme) {
  if (theme === "") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

export function followTheme(select) {
  select.value = stored();
  if (select.selectedIndex < 0) select.value = "";
  apply(select.value);
  select.addEventListener("change", () => {
    store(select.value);
    apply(select.value);
  });
}
