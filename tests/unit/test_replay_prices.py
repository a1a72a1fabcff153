# SPDX-License-Identifier: Apache-2.0
"""`--price`: which price a GPU model has."""

from __future__ import annotations

import pytest

from scaler.replay.prices import MAX_PRICES, NO_PRICES, parse_prices

H100 = "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(
    ("texts", "model", "price"),
    [
        ([], H100, None),
        (["H100=2.5"], H100, 2.5),
        (["h100=2.5"], "NVIDIA-H100-80GB-HBM3", 2.5),
        (["A100=1"], H100, None),
        (["A100=1", "0.4"], H100, 0.4),
        (["0.4"], None, 0.4),
        (["H100=2.5"], None, None),
        (["H100=2.5", "H100 80GB=3", "NVIDIA=1"], H100, 3.0),
        (["A100=1", "A100-SXM4-80GB=2"], "NVIDIA A100-SXM4-80GB", 2.0),
        (["A100=1", "80GB=2"], "NVIDIA A100-SXM4-80GB", 1.0),
        (["A100 80GB=1"], "NVIDIA A100-SXM4-40GB", None),
        (["Workstation=1", "L4 24GB=2"], "NVIDIA L4 24GB Workstation", 2.0),
        # Whole words: an L40S is no L4, a GH200 no H200.
        (["L4=1"], "NVIDIA L40S", None),
        (["H200=1"], "NVIDIA GH200 480GB", None),
        (["1g.10gb=0.3"], "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 0.3),
        (["H100=0"], H100, 0.0),
    ],
)
def test_the_most_specific_price_counts(texts, model, price):
    assert parse_prices(texts).per_gpu_hour(model) == price


@pytest.mark.parametrize(
    "texts",
    [
        ["H100"],
        ["H100="],
        ["=2"],
        ["--=2"],
        ["H100=-1"],
        ["H100=1e3"],
        ["H100=nan"],
        ["H100=inf"],
        ["H100=2,5"],
        ["H100=2", "h100=3"],
        ["2", "3"],
        [f"{'H' * 200}=2"],
        [f"H{number}=2" for number in range(MAX_PRICES + 1)],
        ["9" * 400],
    ],
)
def test_what_is_no_price_is_refused(texts):
    with pytest.raises(ValueError, match=r"price|model"):
        parse_prices(texts)


def test_an_error_quotes_no_more_than_a_line():
    with pytest.raises(ValueError, match="not a price") as refused:
        parse_prices(["x" * 10_000])
    assert len(str(refused.value)) < 300


def test_whether_any_price_is_given():
    assert not NO_PRICES.any_given
    assert parse_prices(["2"]).any_given
    assert parse_prices(["H100=2"]).any_given
