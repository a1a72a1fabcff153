# SPDX-License-Identifier: Apache-2.0
"""`gpu-scaler simulate` over CSV: no cluster, no Prometheus; wrong files, and Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from scaler.__main__ import main
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "time,pod,value\n"
PODS = HEAD + "".join(f"{time},web-{n},{40 + n}\n" for time in range(0, 3600, 15) for n in range(3))
TOTAL = "time,value\n" + "".join(f"{time},{time % 100}\n" for time in range(0, 3600, 15))


def simulate(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str, str]:
    status = main(["simulate", *flags])
    output = capsys.readouterr()
    return status, output.out, output.err


@pytest.mark.parametrize("output", ["table", "wide", "csv", "json"])
@pytest.mark.parametrize("plot", ["plot.svg", "plot.html"])
def test_pods_of_a_csv(output, plot, tmp_path: Path, capsys):
    file = tmp_path / "load.csv"
    file.write_text(PODS)
    status, out, err = simulate(
        *(capsys, "--csv", str(file), "prod/web", "--targets=40,60", "--price=2.5", "-o", output),
        f"--plot={tmp_path / plot}",
    )
    assert (status, err) == (0, "")
    assert "prod" in out
    assert "<svg" in (tmp_path / plot).read_text()
    if output == "json":
        (one,) = json.loads(out)["simulations"]
        assert [result["target_milli"] for result in one["results"]] == [
            *(None, 40_000, 40_000, 60_000, 60_000)
        ]
        assert one["results"][0]["gpu_hours"] == pytest.approx(3, abs=0.02)
        assert one["results"][0]["cost"] == pytest.approx(7.5, abs=0.05)


@pytest.mark.parametrize("metric", [[], ["--metric=queue"]])
def test_a_total_of_a_csv(metric, tmp_path: Path, capsys):
    file = tmp_path / "requests.csv"
    file.write_text(TOTAL)
    status, out, _ = simulate(
        *(capsys, "--csv", str(file), "--targets=20", "-o", "json", "--min-replicas=0", *metric)
    )
    assert status == 0
    (one,) = json.loads(out)["simulations"]
    assert one["metric"] == ("queue" if metric else "query")
    assert one["name"] == "requests"


def test_a_counter_counts_by_its_increase_also_over_a_reset(tmp_path: Path, capsys):
    file = tmp_path / "total.csv"
    values = [*range(0, 3000, 75), *range(0, 3000, 75)]
    file.write_text("time,value\n" + "".join(f"{n * 15},{v}\n" for n, v in enumerate(values)))
    status, out, _ = simulate(
        *(capsys, "--csv", str(file), "--csv-counter", "--targets=1", "-o", "json")
    )
    assert status == 0
    (one,) = json.loads(out)["simulations"]
    # 75 in 15 s are 5 a second.
    assert [result["highest_replicas"] for result in one["results"][1:]] == [5, 5]


@pytest.mark.parametrize(
    ("text", "flags", "expected"),
    [
        pytest.param("", [], "is empty", id="empty"),
        pytest.param("a,b\n1,2\n", [], "--csv-columns", id="other columns"),
        pytest.param(HEAD + "x,a,1\n", [], "line 2", id="wrong time"),
        pytest.param(HEAD + "0,a,1\n", [], "single time", id="too little"),
        pytest.param(TOTAL, [], "--targets", id="a total without a target"),
        pytest.param(TOTAL, ["--metric=duty_cycle"], "no column pod", id="a total of pods"),
        pytest.param(PODS, ["--metric=queue"], "column pod", id="pods of a total"),
        pytest.param(HEAD + "0,a,1\n99999999,a,1\n", ["--step=1s"], "--step", id="too many steps"),
        pytest.param(PODS, ["--targets=200"], "target-duty-cycle", id="impossible target"),
        pytest.param(PODS, ["--annotation=behavior={"], "behavior", id="wrong annotation"),
    ],
)
def test_a_wrong_csv_is_a_sentence(text, flags, expected, tmp_path: Path, capsys):
    file = tmp_path / "load.csv"
    file.write_text(text)
    status, out, err = simulate(capsys, "--csv", str(file), *flags)
    assert (status, out) == (1, "")
    assert expected in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("flag", ["--plot", "--record"])
def test_a_file_that_cannot_be_written_is_named_beside_the_figures(flag, tmp_path: Path, capsys):
    file = tmp_path / "load.csv"
    file.write_text(PODS)
    missing = tmp_path / "missing" / "x.svg"
    status, out, err = simulate(capsys, "--csv", str(file), "--targets=40", f"{flag}={missing}")
    assert status == 1
    assert "as it was" in out
    assert str(missing) in err


@pytest.mark.parametrize("flag", ["--csv", "--recording"])
def test_a_file_that_is_not_there_is_named(flag, tmp_path: Path, capsys):
    status, _, err = simulate(capsys, flag, str(tmp_path / "missing"))
    assert status == 1
    assert "missing" in err


def test_a_file_that_is_no_recording_is_named(tmp_path: Path, capsys):
    file = tmp_path / "case.json"
    file.write_bytes(b"\xff{")
    status, _, err = simulate(capsys, "--recording", str(file))
    assert status == 1
    assert "case.json" in err


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "--prometheus.url"),
        (["--csv=a", "--recording=b"], "--recording"),
        (["--csv=a", "a/b/c"], "NAMESPACE/NAME"),
        (["--csv=a", "a/b", "c/d"], "--csv"),
        (["--csv=a", "a/b", "--all"], "--all"),
        (["--csv=a", "--since=x"], "--since"),
        (["--csv=a", "--step=0s"], "--step"),
        (["--prometheus.url=http://x", "--since=300d", "--step=1s"], "--step"),
        (["--csv=a", "--csv-columns=when"], "--csv-columns"),
        (["--csv=a", "--metric=speed"], "--metric"),
        (["--csv=a", "--metric=requests", "--query=x"], "--query"),
        (["--prometheus.url=http://x", "--query=x"], "--query"),
        (["--csv=a", "--targets=" + "1," * 30], "--targets"),
        (["--csv=a", "--annotation=window"], "--annotation"),
        (["--csv=a", "--start-time=1d"], "--start-time"),
        (["--csv=a", "--price=much"], "--price"),
        (["--csv=a", "--max-saturated=101%"], "--max-saturated"),
        (["--csv=a", "--plot=x.png"], "--plot"),
    ],
)
def test_each_wrong_flag_is_named(flags, expected, capsys, monkeypatch):
    monkeypatch.delenv("GPU_SCALER_PROMETHEUS_URL", raising=False)
    status, _, err = simulate(capsys, *flags)
    assert status == 2
    assert expected in err


async def test_ctrl_c_prints_what_is_done(tmp_path: Path):
    file = tmp_path / "long.csv"
    with file.open("w") as lines:
        lines.write(HEAD)
        # Far from done when the signal comes, also where that takes seconds.
        for time in range(0, 28 * 86400, 15):
            lines.write(f"{time},web-0,{time % 997 / 10}\n")
    targets = ",".join(str(30 + n) for n in range(20))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scaler", "simulate", "--csv", str(file)),
        *("--targets", targets, "-o", "csv", f"--record={tmp_path / 'begun'}"),
        stdout=asyncio.subprocess.PIPE,
    )
    # It is written when the simulations begin.
    await until((tmp_path / "begun").exists, deadline_seconds=60, what="the history is recorded")
    process.send_signal(signal.SIGINT)
    out, _ = await process.communicate()
    assert process.returncode == 130
    assert 1 <= out.decode().count("as-it-was") <= 20


@pytest.mark.parametrize("name", [["prod/web"], ["web", "-n", "prod"], ["deploy/web", "-nprod"]])
def test_a_deployment_is_named_as_in_kubectl(name, tmp_path: Path, capsys):
    file = tmp_path / "load.csv"
    file.write_text(PODS)
    status, out, err = simulate(capsys, "--csv", str(file), "--targets=40", "-o", "json", *name)
    assert (status, err) == (0, "")
    (one,) = json.loads(out)["simulations"]
    assert (one["namespace"], one["name"]) == ("prod", "web")


def test_the_past_of_other_kinds_is_not_read(tmp_path: Path, capsys):
    file = tmp_path / "load.csv"
    file.write_text(PODS)
    status, _, err = simulate(capsys, "--csv", str(file), "sts/db", "-n", "prod")
    assert status == 2
    assert "'sts/db' is no Deployment" in err
