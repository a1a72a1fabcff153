# SPDX-License-Identifier: Apache-2.0
"""The pages hold together: links resolve, tests exist, and no command or file stays untried."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest
import yaml

from scaler.policy.manifests import check_manifests
from tests.pages import generated
from tests.pages.files import FileKind, deployment, kind_of
from tests.pages.markdown import PAGES, PROGRAMS, ROOT, blocks, page
from tests.pages.reading import commands, readings
from toolkit.web.config import parse_web_config

LANGUAGES = {"bash", "mermaid", "promql", "text", "yaml"}
MAX_PICTURE_BYTES = 200_000
PICTURES = sorted((ROOT / "docs" / "images").iterdir())
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
UNTRIED = [
    block for name in PAGES for block in page(name).blocks if block.untried_because is not None
]
by_page = pytest.mark.parametrize("name", PAGES)


@by_page
def test_every_link_to_a_file_or_heading_resolves(name):
    for line, target in page(name).links:
        if re.match(r"[a-z]+:", target):
            assert re.match("https://|http://localhost[:/]", target), f"{name}:{line}: {target}"
            continue
        path, _, anchor = target.partition("#")
        file = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert file.exists(), f"{name}:{line}: {target}"
        if anchor:
            other = str(file.relative_to(ROOT))
            assert anchor in page(other).anchors, f"{name}:{line}: {target}"


def test_every_page_is_listed_in_the_index():
    index = {target.partition("#")[0] for _, target in page("docs/README.md").links}
    listed = {f"docs/{target}" for target in index}
    pages = {name for name in PAGES if name.startswith("docs/")} - {"docs/README.md"}
    assert pages <= listed


@by_page
def test_every_test_that_is_named_exists(name):
    for line, code in page(name).code:
        found = re.fullmatch(r"(tests/[\w/]+\.py)(?:::(\w+))?", code)
        if found is None:
            continue
        file = ROOT / found[1]
        assert file.is_file(), f"{name}:{line}: {code}"
        if found[2]:
            defined = rf"^(?:async )?def {found[2]}\(|^class {found[2]}\b"
            assert re.search(defined, file.read_text(), re.M), f"{name}:{line}: {code}"


@by_page
def test_every_block_says_what_it_is(name):
    for block in page(name).blocks:
        assert block.language in LANGUAGES, f"{block.where}: {block.language!r}"


@by_page
def test_every_command_is_run_by_a_test(name):
    covered = [sections for read, sections in readings() if read == name]
    for block in commands(name):
        assert any(not some or set(some) & set(block.sections) for some in covered), (
            f"{block.where} is run by no test: {block.text}"
        )


def test_every_reading_is_of_a_page_with_commands():
    for name, sections in readings():
        assert commands(name, sections), (name, sections)


@by_page
def test_every_make_target_exists(name):
    for block in page(name).commands():
        for target in re.findall(r"^make ([a-z-]+)", block.text, re.M):
            assert target in TARGETS, f"{block.where}: make {target}"


@by_page
def test_no_command_hides_as_text(name):
    for block in page(name).blocks:
        # A program's help is no command, and neither is what it prints, which is indented.
        if block.language == "text" and not block.text.startswith("usage: "):
            for line in block.text.splitlines():
                command = line.removeprefix("$ ")
                assert not command.startswith(tuple(f"{one} " for one in PROGRAMS)), (
                    f"{block.where}: {line}"
                )


def test_what_stays_untried_is_listed_with_its_reason():
    rows = page("docs/testing.md").table("What stays untried")
    assert len(rows) == len({(block.page, block.untried_because) for block in UNTRIED})
    assert all(why for _, why in rows)


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.where)
def test_every_file_is_of_a_kind_that_is_tried(block):
    kind = kind_of(block)
    if kind is FileKind.ANNOTATIONS:
        assert check_manifests([(block.where, yaml.safe_dump(deployment(block)))]).findings == ()
    elif kind is FileKind.OBJECTS:
        assert check_manifests([(block.where, block.text)]).findings == ()
    elif kind is FileKind.WEB_CONFIG:
        parse_web_config(yaml.safe_load(block.text), PurePosixPath("/etc"))


@by_page
def test_what_is_made_from_the_code_is_up_to_date(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text.count("<!-- generated: ") == len(generated.REGION.findall(text))
    assert text == generated.renewed(text), "run make docs"


def test_every_part_that_can_be_made_is_shown():
    shown = [
        found[1]
        for name in PAGES
        for found in generated.REGION.findall((ROOT / name).read_text(encoding="utf-8"))
    ]
    assert {*shown} == {*generated.PARTS}


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_every_picture_is_small_and_shown(picture):
    assert picture.stat().st_size < MAX_PICTURE_BYTES
    targets = {target for name in PAGES for _, target in page(name).links}
    assert {f"docs/images/{picture.name}", f"images/{picture.name}"} & targets
