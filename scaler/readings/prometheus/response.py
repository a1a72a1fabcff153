"""Pure: the JSON of Prometheus's HTTP API, as of https://prometheus.io/docs/prometheus/latest/querying/api/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec

from scaler.budgets import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FAULTS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_T = TypeVar("_T")


class PromqlError(ValueError):
    """The answer holds nothing that may be used; the message says why, for people."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The data of a successful and complete answer: `vector`, `scalar`, `matrix` or `string`."""

    type: str
    rows: Sequence[Any]


class _Rows(Sequence[Any]):
    """The rows of an answer, each parsed when it is looked at.

    All of them parsed at once are several times the memory of the answer, which has to be
    fetched anew for every later look at them: the larger the cluster, the slower each row.
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
        PromqlError: an error, anything else than an answer, a partial one or one with warnings,
            or one of more than `max_series` series.
    """
    members = _read_members(body)
    answer = {name: _parsed(text) for name, text in members.items() if name != "data"}
    if answer.get("status") != "success":
        raise PromqlError(_error_text(answer) or "the answer has no status")
    # Before the data: what is there may look complete.
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


def read_error(body: bytes) -> str | None:
    """Return what an answer with another HTTP status than 200 says, None if nothing."""
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
        raise PromqlError("the answer is JSON, but none of Prometheus") from error
    except _FAULTS as error:
        if body.lstrip()[:1] == b"<":
            raise PromqlError(
                "the answer is a page instead of JSON: does --prometheus.url lead to the HTTP API,"
                " past any login?"
            ) from error
        raise PromqlError(f"the answer is no JSON, or breaks off: {error}") from error


def _as(type_: type[_T], text: msgspec.Raw | None) -> _T | None:
    try:
        return None if text is None else msgspec.json.decode(text, type=type_)
    except _FAULTS:
        return None


def _parsed(text: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(text)
    except _FAULTS as error:
        raise PromqlError(f"the answer is no JSON: {error}") from error


def _error_text(answer: Mapping[str, Any]) -> str | None:
    if answer.get("status") != "error" and "error" not in answer:
        return None
    return f"{shown(answer.get('errorType', 'error'))}: {shown(answer.get('error', ''))}"
