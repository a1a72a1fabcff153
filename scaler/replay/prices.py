# SPDX-License-Identifier: Apache-2.0
"""Pure: prices of GPU hours, as `--price` gives them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_PRICES: Final = 64
MAX_MODEL_LENGTH: Final = 128
_PRICE: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_WORD: Final = re.compile(r"[a-z0-9.]+")
_ALLOWED: Final = "allowed is MODEL=PRICE or PRICE, such as H100=2.5, for one GPU hour"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices in any one currency; `default` is that of a model without one, None if unknown.

    `models` are the prices of an hour of the GPUs whose model has all of these words.
    """

    models: Mapping[frozenset[str], float] = field(default_factory=dict)
    default: float | None = None

    def per_gpu_hour(self, model: str | None) -> float | None:
        """Return the price for a GPU model such as `NVIDIA H100 80GB HBM3`, None if unknown.

        The price with the most words of the model wins, then the one with the longest.
        """
        words = _words(model or "")
        matching = [one for one in self.models if one <= words]
        if not matching:
            return self.default
        return self.models[max(matching, key=lambda one: (len(one), sum(map(len, one))))]

    @property
    def any_given(self) -> bool:
        """Whether there is any price, so that a column for money makes sense."""
        return bool(self.models) or self.default is not None


NO_PRICES: Final = Prices()


def parse_prices(texts: Iterable[str]) -> Prices:
    """Return the prices of texts such as `H100=2.5`; `2.5` is the price of all other models.

    Raises:
        ValueError: a text is no price, or gives a second price for the same model.
    """
    default: float | None = None
    models: dict[frozenset[str], float] = {}
    for text in texts:
        model, equals, amount = text.rpartition("=")
        words = _words(model)
        if _PRICE.fullmatch(amount) is None:
            raise ValueError(f"{text[:MAX_MODEL_LENGTH]!r} is not a price; {_ALLOWED}")
        if (equals and not words) or len(model) > MAX_MODEL_LENGTH:
            raise ValueError(f"{text[:MAX_MODEL_LENGTH]!r} names no GPU model; {_ALLOWED}")
        if words in models or (not equals and default is not None):
            whose = model if equals else "models without one"
            raise ValueError(f"{text!r} is the second price for {whose}; pass only one")
        if equals:
            models[words] = float(amount)
        else:
            default = float(amount)
    if len(models) > MAX_PRICES:
        raise ValueError(f"{len(models)} prices for GPU models; allowed are up to {MAX_PRICES}")
    return Prices(models=models, default=default)


def _words(model: str) -> frozenset[str]:
    return frozenset(_WORD.findall(model.lower()))
