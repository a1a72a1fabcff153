# SPDX-License-Identifier: Apache-2.0
"""The container images of the real node, as archives in docker's format. No registry is asked.

The exporter's is the shipped one, built by the Dockerfile, with another `gpu-exporter` in it: the
real exporter over a simulated NVML. The others hold the static program `idle`.
"""

from __future__ import annotations

import hashlib
import io
import json
import sysconfig
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.image.shipped import TAG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.image.shipped import ShippedImage

PAUSE: Final = "gpu-scaler.test/pause:1"
WORKLOAD: Final = "gpu-scaler.test/workload:1"
REPOSITORY: Final = Path(__file__).parents[3]


def write_idle(path: Path, *, idle: Path) -> None:
    """Write the images PAUSE and WORKLOAD of the program `idle`."""
    with tarfile.open(path, "w") as archive:
        layer = _layer(archive, idle)
        settings = {"Entrypoint": ["/idle"]}
        images = [_image(archive, tag, layer, settings) for tag in (PAUSE, WORKLOAD)]
        _add(archive, "manifest.json", json.dumps(images).encode())


def write_exporter(path: Path, shipped: ShippedImage, *, tag: str, gpus: int) -> None:
    """Write the shipped image under `tag`, its `gpu-exporter` on a simulated NVML with `gpus`."""
    folder = path.with_suffix("")
    folder.mkdir()
    program = folder / "gpu-exporter"
    program.write_text(_MAIN.format(gpus=gpus))
    program.chmod(0o755)
    dockerfile = folder / "Dockerfile"
    dockerfile.write_text(f"FROM {TAG}\nCOPY gpu-exporter /app/bin/gpu-exporter\n")
    simulated = "localhost/gpu-exporter:simulated"
    shipped.engine.build(folder, tag=simulated, dockerfile=dockerfile)
    shipped.engine.save(simulated, path, name=tag)


_MAIN: Final = """#!/app/bin/python
import sys
from exporter.cli.config import ExporterConfig
from simulator.exporter import main
socket = f"--pod-resources.socket={{ExporterConfig().pod_resources_socket}}"
sys.exit(main(["--gpus={gpus}", socket, *sys.argv[1:]]))
"""


def _layer(archive: tarfile.TarFile, idle: Path) -> tuple[str, str]:
    """Add a layer; return its name in the archive and its digest."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as layer:
        _add(layer, "idle", idle.read_bytes(), mode=0o755)
    digest = hashlib.sha256(content.getbuffer()).hexdigest()
    name = f"{digest}/layer.tar"
    _add(archive, name, content.getbuffer())
    return name, f"sha256:{digest}"


def _image(
    archive: tarfile.TarFile, tag: str, layer: tuple[str, str], settings: Mapping[str, Any]
) -> dict[str, Any]:
    name, digest = layer
    machine = {"x86_64": "amd64", "aarch64": "arm64"}
    uname = sysconfig.get_platform().rpartition("-")[2]
    text = json.dumps(
        {
            "architecture": machine.get(uname, uname),
            "os": "linux",
            "config": dict(settings),
            "rootfs": {"type": "layers", "diff_ids": [digest]},
        }
    ).encode()
    config = f"{hashlib.sha256(text + tag.encode()).hexdigest()}.json"
    _add(archive, config, text)
    return {"Config": config, "RepoTags": [tag], "Layers": [name]}


def _add(archive: tarfile.TarFile, name: str, content: Any, *, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
