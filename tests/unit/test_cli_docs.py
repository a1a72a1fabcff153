"""docs/cli.md shows each help as it is; `python -m tests.unit.test_cli_docs` writes it anew."""

from __future__ import annotations

from argparse import _SubParsersAction
from pathlib import Path

from exporter.cli.flags import build_parser as exporter_parser
from scaler.cli.parser import build_parser

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
BEGIN = "## Help\n"


def helps():
    """Return the help text of every command by the command."""
    scaler = build_parser({}, "1")
    (commands,) = (one for one in scaler._actions if isinstance(one, _SubParsersAction))
    parsers = [exporter_parser({}, "1"), scaler, *commands.choices.values()]
    return {parser.prog: parser.format_help() for parser in parsers}


def help_section():
    parts = [f"### {name}\n\n```text\n{text}```\n" for name, text in helps().items()]
    return f"{BEGIN}\n" + "\n".join(parts)


def test_the_page_shows_the_help_of_every_command():
    _, _, shown = PAGE.read_text(encoding="utf-8").partition(f"\n{BEGIN}")
    assert f"{BEGIN}{shown}" == help_section()


def test_every_command_is_in_the_table():
    table = PAGE.read_text(encoding="utf-8").partition("\n## ")[0]
    for name in helps().keys() - {"gpu-scaler", "gpu-scaler completion"}:
        assert f"\n| `{name}" in table


if __name__ == "__main__":
    before = PAGE.read_text(encoding="utf-8").partition(f"\n{BEGIN}")[0]
    PAGE.write_text(f"{before}\n{help_section()}", encoding="utf-8")
