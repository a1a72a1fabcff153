# SPDX-License-Identifier: Apache-2.0
"""`gpu-scaler check` as a process: exit status and messages in the form file:line."""

from __future__ import annotations

import json
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
    assert (status, out) == (0, "")
    assert err.endswith("1 annotated object: 0 errors, 0 warnings\n")


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
    # A path that the system does not even look up.
    status, out, _ = await run_program("check", "x" * 300)
    assert status == 1
    assert ": cannot be read" in out


async def test_a_folder_and_a_pattern_name_their_files(tmp_path):
    (tmp_path / "apps" / "deep").mkdir(parents=True)
    for name in ("b.yaml", "a.yml", "deep/c.json", "notes.txt"):
        (tmp_path / "apps" / name).write_text(WRONG)
    status, out, err = await run_program("check", str(tmp_path / "apps"))
    files = list(dict.fromkeys(line.split(":")[0] for line in out.splitlines()))
    assert status == 1
    assert files == [str(tmp_path / "apps" / name) for name in ("a.yml", "b.yaml", "deep/c.json")]
    assert "3 files, 3 annotated objects: 6 errors, 0 warnings" in err
    pattern = str(tmp_path / "apps" / "*.yaml")
    _, out, _ = await run_program("check", pattern, str(tmp_path / "apps" / "b.yaml"))
    assert len(out.splitlines()) == 2, "a file is checked once"
    status, out, _ = await run_program("check", str(tmp_path / "none-*.yaml"))
    assert status == 1
    assert "none-*.yaml: cannot be read" in out


async def test_a_warning_is_no_failure(tmp_path):
    file = tmp_path / "web.yaml"
    file.write_text(WRONG.replace('"none"', '"3"').replace('"95"', '"0.4"'))
    status, out, err = await run_program("check", str(file))
    assert status == 0
    assert out.startswith(f"{file}:9: warning: ")
    assert "0 errors, 1 warning" in err


async def test_the_output_for_programs(tmp_path):
    file = tmp_path / "a,b.yaml"
    file.write_text(WRONG)
    status, out, err = await run_program("check", "-o", "json", str(file))
    first, second = json.loads(out)["findings"]
    assert (status, err) == (1, "")
    assert (first["file"], first["line"], first["severity"]) == (str(file), 8, "error")
    assert second["message"].startswith("[Deployment prod/web] gpu-scaler/target-duty-cycle")
    _, out, _ = await run_program("check", "--output=github", str(file))
    lines = out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"::error file={tmp_path}/a%2Cb.yaml,line=8,")


async def test_wrong_usage_says_what_is_allowed():
    status, _, err = await run_program("explain", "a/b/c", "--server=http://127.0.0.1:9")
    assert status == 2
    assert "NAMESPACE/NAME" in err
    status, _, err = await run_program("run", "--interval=2", "--source=graphite")
    assert status == 2
    assert "--interval: '2'" in err
    assert "--source: 'graphite'" in err
