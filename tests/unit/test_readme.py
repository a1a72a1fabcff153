"""What a newcomer has to find in the README."""

from __future__ import annotations

import pytest

from tests.pages.markdown import page

README = page("README.md")


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_the_first_commands_stand_by_themselves(command):
    assert f"{command}\n" in [block.text for block in README.blocks if not block.inline]


def test_it_shows_the_page_and_the_terminal():
    targets = {target for _, target in README.links}
    assert {"docs/images/status-page.png", "docs/images/demo.svg"} <= targets
