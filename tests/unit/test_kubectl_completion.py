# SPDX-License-Identifier: Apache-2.0
"""What the kubectl plugin offers after the words on the command line."""

from __future__ import annotations

import pytest

from scaler.cli.parser import build_parser
from toolkit.cli.kubectl_completion import kubectl_completion

FILES, NO_FILES = ":0", ":4"


def offered(*words):
    text = kubectl_completion(build_parser({}, "1.0"), words)
    *choices, directive = text.splitlines()
    return choices, directive


@pytest.mark.parametrize(
    ("words", "choices", "directive"),
    [
        (["sta"], ["status"], NO_FILES),
        (["nonsense"], [], NO_FILES),
        (["status", "-o", ""], ["text", "json", "yaml"], NO_FILES),
        (["status", "--output", "y"], ["yaml"], NO_FILES),
        (["status", "--namespace", ""], [], NO_FILES),
        (["status", "--kubeconfig", ""], [], FILES),
        (["explain", "--hist"], ["--history"], NO_FILES),
        # A switch takes no value.
        (["explain", "--history", "--serv"], ["--server"], NO_FILES),
        (["check", ""], [], FILES),
        (["completion", ""], ["bash", "zsh", "fish"], NO_FILES),
    ],
)
def test_the_choices_for_the_last_word(words, choices, directive):
    found, given = offered(*words)
    if words[-1].startswith("-"):
        assert set(choices) <= set(found)
        assert all(choice.startswith(words[-1]) for choice in found)
    else:
        assert found == choices
    assert given == directive


def test_without_a_word_all_commands_are_offered():
    for words in ((), ("",)):
        choices, _ = offered(*words)
        assert {"run", "status", "explain", "check"} <= set(choices)
