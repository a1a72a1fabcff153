"""Flags as rows of a table in the documentation."""

from __future__ import annotations

import argparse

from toolkit.cli.flags import Flags


class FlagRows(Flags):
    """Takes flags, and makes rows of them."""

    def __init__(self) -> None:
        super().__init__(argparse.ArgumentParser(), {}, prefix="")
        self.rows: list[tuple[str, str, str]] = []

    def text(self, name: str, metavar: str, default: object, text: str) -> None:
        shown = f"`{default}`" if default else ""
        self.rows.append((f"`--{name}`", shown, text))

    def switch(self, name: str, text: str) -> None:
        self.rows.append((f"`--{name}`", "off", text))

    def repeated(self, name: str, metavar: str, text: str) -> None:
        self.rows.append((f"`--{name} {metavar}`", "", f"{text}; may be repeated"))
