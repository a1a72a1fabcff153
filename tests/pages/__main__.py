# SPDX-License-Identifier: Apache-2.0
"""`make docs`: write the generated parts of the pages, and the chart's README."""

from __future__ import annotations

from tests.chart import readme
from tests.pages import generated

generated.write()
readme.write()
