"""`make docs`: write the generated parts of the pages."""

from __future__ import annotations

from tests.pages import generated

generated.write()
