# SPDX-License-Identifier: Apache-2.0
"""Pure: the JSON of Prometheus's HTTP API, as of https://prometheus.io/docs/prometheus/latest/querying/api/."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec

from scaler.budgets import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FAULTS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_T = TypeVar("_T")


class PromqlError(ValueError):
    """The answer cannot be used; the message says why."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The data of a successful and complete answer: `vector`, `scalar`, `matrix` or `string`."""

    type: str
    rows: Sequence[Any]


class _Rows(Sequence[Any]):
    """The rows of an answer, each parsed when it is accessed.

    Parsed all at once, they take several times the memory of the answer, and each later access
    misses the CPU's caches: the larger the cluster, the slower each row.
    """

    def __init__(self, texts: Sequence[msgspec.Raw]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return _Rows(self._texts[index])
        return _parsed(self._texts[index])

    def __iter__(self) -> Iterator[Any]:
        return map(_parsed, self._texts)


def read_result(body: bytes, *, max_series: int) -> Result:
    """Return the data of an answer of `/api/v1/query`.

    Raises:
        PromqlError: the answer is an error, invalid, partial, has warnings, or has more than
            `max_series` series.
    """
    members = _read_members(body)
    answer = {name: _parsed(text) for name, text in members.items() if name != "data"}
    if answer.get("status") != "success":
        raise PromqlError(_error_text(answer) or "the answer has no status")
    # Checked before the data, which may look complete.
    if answer.get("warnings"):
        raise PromqlError(f"the answer has warnings: {shown(answer['warnings'])}")
    if answer.get("isPartial"):
        raise PromqlError("the answer is partial (isPartial)")
    data = _as(dict[str, msgspec.Raw], members.get("data"))
    if data is None:
        raise PromqlError("the answer has no data")
    type_, texts = _as(str, data.get("resultType")), _as(list[msgspec.Raw], data.get("result"))
    if type_ is None or texts is None:
        raise PromqlError("the answer has no result")
    if type_ in ("vector", "matrix") and len(texts) > max_series:
        raise PromqlError(
            f"the answer has {len(texts)} series, more than --prometheus.max-series={max_series}"
        )
    return Result(type=type_, rows=_Rows(texts))


@contextmanager
def rows_of(result: Result, type_: str) -> Iterator[Sequence[Any]]:
    """Yield the rows of a `vector` or a `matrix`, for as long as they are looked at.

    Raises:
        PromqlError: the result is of another type, or a row has not the form that was expected.
    """
    if result.type != type_:
        raise PromqlError(f"the result is a {result.type} instead of a {type_}")
    try:
        yield result.rows
    except PromqlError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise PromqlError(f"the result is malformed: {type(error).__name__}: {error}") from error


def read_error(body: bytes) -> str | None:
    """Return the error in an answer whose HTTP status is not 200, None if it has none."""
    try:
        return _error_text(
            {name: _parsed(text) for name, text in _read_members(body).items() if name != "data"}
        )
    except PromqlError:
        return None


def _read_members(body: bytes) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError as error:
        raise PromqlError("the answer is JSON but not a Prometheus response") from error
    except _FAULTS as error:
        if body.lstrip()[:1] == b"<":
            raise PromqlError(
                "the answer is an HTML page, not JSON: check that --prometheus.url is the base URL"
                " of the HTTP API and not a login page"
            ) from error
        raise PromqlError(f"the answer is not valid JSON or is truncated: {error}") from error


def _as(type_: type[_T], text: msgspec.Raw | None) -> _T | None:
    try:
        return None if text is None else msgspec.json.decode(text, type=type_)
    except _FAULTS:
        return None


def _parsed(text: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(text)
    except _FAULTS as error:
        raise PromqlError(f"the answer is not valid JSON: {error}") from error


def _error_text(answer: Mapping[str, Any]) -> str | None:
    if answer.get("status") != "error" and "error" not in answer:
        return None
    return f"{shown(answer.get('errorType', 'error'))}: {shown(answer.get('error', ''))}"
