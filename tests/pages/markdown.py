# SPDX-License-Identifier: Apache-2.0
"""The pages, read as GitHub reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from markdown_it.token import Token

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = tuple(
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")))
)
"""The pages by their paths; the changelog is none."""
UNTRIED: Final = re.compile(r"# Not tried by the tests: (.+)\n")
"""How a block says that nobody runs it, and why; docs/testing.md lists them all."""
OURS: Final = ("gpu-exporter", "gpu-scaler")
RUNS: Final = "gpu-scaler run "
OTHERS: Final = ("curl", "docker", "helm", "kind", "kubectl")
PROGRAMS: Final = (*OURS, *OTHERS, "make")
COMMAND: Final = re.compile(
    rf"(?:{'|'.join(OURS)}|make) [^…]+|(?:{'|'.join(OTHERS)})(?: [^ …]+){{2,}}"
)
"""What is a command where it stands within a sentence; `kubectl apply` alone is a mere name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block, or a command within a sentence, with the headings that it stands under."""

    page: str
    line: int
    language: str
    text: str
    sections: tuple[str, ...]
    inline: bool = False

    @property
    def where(self) -> str:
        """The place, as compilers write it."""
        return f"{self.page}:{self.line}"

    @property
    def untried_because(self) -> str | None:
        """Why nobody runs it, None where somebody has to."""
        found = UNTRIED.match(self.text)
        return found[1] if found else None

    @property
    def is_make(self) -> bool:
        """Whether it only names targets of the Makefile."""
        return all(line.startswith("make ") for line in self.text.splitlines())

    @property
    def is_parsed(self) -> bool:
        """Whether it is a command of ours that is only parsed.

        Within a sentence there is often a word to fill in; a scaler that runs does not end.
        """
        lines = self.text.splitlines()
        return (self.inline and self.text.startswith(OURS)) or all(
            line.startswith(RUNS) for line in lines
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What is on one page; links, pictures included, and code within sentences with their lines.

    `tables` have the cells of each row without their head, by the heading that they stand under.
    """

    name: str
    blocks: tuple[Block, ...]
    links: tuple[tuple[int, str], ...]
    code: tuple[tuple[int, str], ...]
    anchors: frozenset[str]
    tables: tuple[tuple[str, tuple[str, ...]], ...]

    def table(self, heading: str) -> list[tuple[str, ...]]:
        """Return the rows of the tables under a heading."""
        return [row for under, row in self.tables if under == heading]

    def commands(self) -> tuple[Block, ...]:
        """What a reader may type, blocks and within sentences."""
        return tuple(block for block in self.blocks if block.language == "bash")


@cache
def page(name: str) -> Page:
    """Read a page by its path from the repository's root."""
    text = (ROOT / name).read_text(encoding="utf-8")
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    blocks: list[Block] = []
    links: list[tuple[int, str]] = []
    code: list[tuple[int, str]] = []
    anchors: list[str] = []
    sections: list[tuple[int, str]] = []
    tables: list[tuple[str, tuple[str, ...]]] = []
    cells: list[str] = []
    line = 1
    for position, token in enumerate(tokens):
        line = token.map[0] + 1 if token.map else line
        if token.type == "heading_open":
            heading, level = tokens[position + 1], int(token.tag[1:])
            sections = [*(one for one in sections if one[0] < level), (level, heading.content)]
            anchors.append(_anchor(heading, anchors))
        elif token.type == "fence":
            within = tuple(name for _, name in sections)
            blocks.append(
                Block(
                    page=name,
                    line=line + 1,
                    language=token.info.strip(),
                    text=token.content,
                    sections=within,
                )
            )
        elif token.type == "td_open":
            cells.append(_shown(tokens[position + 1]))
        elif token.type == "tr_close" and cells:
            tables.append((sections[-1][1] if sections else "", tuple(cells)))
            cells = []
        for child in token.children or ():
            target = child.attrs.get("href") or child.attrs.get("src")
            if target is not None:
                links.append((line, str(target)))
            if child.type != "code_inline":
                continue
            code.append((line, child.content))
            if COMMAND.fullmatch(child.content):
                within = tuple(name for _, name in sections)
                blocks.append(
                    Block(
                        page=name,
                        line=line,
                        language="bash",
                        text=child.content + "\n",
                        sections=within,
                        inline=True,
                    )
                )
    return Page(
        name=name,
        blocks=tuple(blocks),
        links=tuple(links),
        code=tuple(code),
        anchors=frozenset(anchors),
        tables=tuple(tables),
    )


def blocks(language: str) -> list[Block]:
    """Return the blocks of one language on all pages, but for those that nobody tries."""
    return [
        block
        for name in PAGES
        for block in page(name).blocks
        if block.language == language and block.untried_because is None
    ]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as GitHub's Markdown has it."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _anchor(heading: Token, before: Sequence[str]) -> str:
    """The anchor that GitHub gives to a heading."""
    anchor = re.sub(r"[^\w\- ]", "", _shown(heading).lower()).replace(" ", "-")
    earlier = sum(re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", one) is not None for one in before)
    return f"{anchor}-{earlier}" if earlier else anchor


def _shown(inline: Token) -> str:
    """What of a line is shown, without its marks."""
    return "".join(child.content for child in inline.children or ())
