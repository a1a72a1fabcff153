# SPDX-License-Identifier: Apache-2.0
"""The chart's README, made from Chart.yaml and the comments of values.yaml by `make docs`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.chart import CHART
from tests.chart.values_file import VALUES, Value, described
from tests.pages.markdown import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

README: Final = CHART / "README.md"
LONGEST_DEFAULT: Final = 60
INTRODUCTION: Final = """\
# {name}

<!-- Made from Chart.yaml and values.yaml by `make docs`: change those. -->

{description}.

```bash
helm upgrade --install gpu-scaler . --namespace gpu-scaler \\
  --set image.repository=REGISTRY/gpu-scaler
```

It needs Kubernetes {kubernetes} and nodes with NVIDIA's driver. `docs/install.md` in the repository
has the namespace, the values for your platform (`presets/`) and common values. Unknown values are
refused.
"""


def text() -> str:
    """Return the page."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    values = VALUES.read_text(encoding="utf-8")
    all_values = list(described(values))
    sections = {value.path[:-1] for value in all_values}
    page = INTRODUCTION.format(
        name=chart["name"],
        description=chart["description"],
        kubernetes=chart["kubeVersion"].removeprefix(">=").removesuffix(".0-0") + " or newer",
    )
    defaults = yaml.safe_load(values)
    for heading, part in _parts(all_values):
        rows = [
            (
                f"`{'.'.join(value.path)}`",
                "" if value.path in sections else _default(value, defaults),
                _cell(value.comment),
            )
            for value in part
        ]
        page += f"\n## {heading}\n\n" + table(("value", "default", "meaning"), rows)
    return page


def _parts(values: Sequence[Value]) -> Iterator[tuple[str, list[Value]]]:
    """Return the values by their first name; those with no name below them come first."""
    sections = dict.fromkeys(value.path[0] for value in values if len(value.path) > 1)
    yield "General", [value for value in values if value.path[0] not in sections]
    for name in sections:
        yield name, [value for value in values if value.path[0] == name]


def _default(value: Value, defaults: dict[str, Any]) -> str:
    found: Any = defaults
    for name in value.path:
        found = found[name]
    shown = json.dumps(found)
    return "see values.yaml" if len(shown) > LONGEST_DEFAULT else _cell(f"`{shown}`")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def write() -> None:
    """Write the page."""
    README.write_text(text(), encoding="utf-8")
