// SPDX-License-Identifier: Apache-2.0
// The page of an address that is none; it polls the state of the scaler only.

import { h } from "./dom.js";

export function nowhere({ path, home }) {
  return {
    title: "No such page",
    node: [
      h("h1", { tabindex: "-1" }, "No such page"),
      h("p", { class: "nothing" }, `There is no page "${path}". Go to the `, h("a", { href: home }, "Deployments"), " or the ", h("a", { href: "#/gpus" }, "GPU map"), "."),
    ],
    url: () => "api/v1/overview?limit=1",
    update: () => {},
  };
}
