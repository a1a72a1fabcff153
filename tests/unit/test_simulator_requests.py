# SPDX-License-Identifier: Apache-2.0
"""What the simulated nodes do with an answer of the API server that is no success."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scaler.kube.errors import ApiError, Conflict, Forbidden, NotFound, ServerError
from simulator import retrying_client
from simulator.retrying_client import persist

if TYPE_CHECKING:
    from collections.abc import Mapping

# As a kube-apiserver answers it.
TERMINATING = {
    "name": "llm",
    "kind": "pods",
    "causes": [
        {"reason": "NamespaceTerminating", "message": "namespace a is being terminated"},
    ],
}


def _error(kind: type[ApiError], details: Mapping[str, Any] | None = None) -> ApiError:
    body = {} if details is None else {"details": details}
    return kind(request="POST /", status=400, reason="Bad", message="no", body=body)


class _Answers:
    def __init__(self, *answers: ApiError | str) -> None:
        self._answers = list(answers)

    async def request(self) -> str:
        answer = self._answers.pop(0)
        if isinstance(answer, ApiError):
            raise answer
        return answer


@pytest.mark.parametrize(
    "answer",
    [_error(NotFound), _error(Conflict), _error(Forbidden, TERMINATING)],
    ids=["gone", "another", "its namespace goes"],
)
async def test_an_object_that_goes_is_let_go(answer: ApiError) -> None:
    assert await persist(_Answers(answer).request) is None


@pytest.mark.parametrize("details", [None, {}, {"causes": [{"reason": "FieldValueInvalid"}]}])
async def test_a_missing_right_is_an_error(details: Mapping[str, Any] | None) -> None:
    with pytest.raises(Forbidden):
        await persist(_Answers(_error(Forbidden, details)).request)


async def test_a_server_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying_client, "FIRST_RETRY_SECONDS", 0.0)
    assert await persist(_Answers(_error(ServerError), "done").request) == "done"
