"""`gpu-scaler check` as a process: exit status and messages in the form file:line."""

from __future__ import annotations

from pathlib import Path

from tests.running import run_program

ROOT = Path(__file__).resolve().parents[2]

WRONG = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: prod
  annotations:
    gpu-scaler/enabled: "true"
    gpu-scaler/max-replicas: "none"
    gpu-scaler/target-duty-cycle: "95"
"""


async def test_the_shipped_example_is_right():
    status, out, err = await run_program("check", str(ROOT / "daemonset" / "example.yaml"))
    assert (status, out, err) == (0, "", "")


async def test_every_problem_has_its_file_and_line(tmp_path):
    file = tmp_path / "web.yaml"
    file.write_text(WRONG)
    status, out, _ = await run_program("check", str(file))
    assert status == 1
    lines = out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{file}:8: ")
    assert "gpu-scaler/max-replicas" in lines[0]
    assert lines[1].startswith(f"{file}:9: ")
    assert '"95"' in lines[1]


async def test_standard_input_and_unreadable_files(tmp_path):
    status, out, _ = await run_program("check", "-", str(tmp_path / "absent.yaml"), stdin=WRONG)
    assert status == 1
    assert "<stdin>:8: " in out
    assert f"{tmp_path / 'absent.yaml'}: cannot be read" in out


async def test_wrong_usage_says_what_is_allowed():
    status, _, err = await run_program("explain", "no-slash", "--server=http://127.0.0.1:9")
    assert status == 2
    assert "NAMESPACE/NAME" in err
    status, _, err = await run_program("run", "--interval=2", "--source=graphite")
    assert status == 2
    assert "--interval: '2'" in err
    assert "--source: 'graphite'" in err
