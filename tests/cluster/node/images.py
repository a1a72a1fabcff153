"""Container images made of files of this machine, as one archive in docker's format.

No registry is asked. The shipped image cannot be built without one, so the exporter's is the
running interpreter, what the exporter imports, and our packages, each file where it lies here.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import re
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PAUSE: Final = "gpu-scaler.test/pause:1"
WORKLOAD: Final = "gpu-scaler.test/workload:1"
REPOSITORY: Final = Path(__file__).parents[3]

_APP: Final = Path("/app")
_OUR_PACKAGES: Final = ("exporter", "simulator")
_IMPORTED: Final = ("aiohttp", "grpcio", "nvidia-ml-py", "prometheus-client", "protobuf")
_NOT_NEEDED: Final = {
    *("site-packages", "dist-packages", "test", "idlelib", "lib2to3", "ensurepip", "turtledemo"),
    *("pydoc_data", "tkinter"),
}
"""Parts of the standard library that are large and that no server imports."""


def write_archive(path: Path, *, idle: Path, exporter_image: str, gpus: int) -> None:
    """Write the images PAUSE and WORKLOAD (the static program `idle`) and the exporter's.

    In the last one `gpu-exporter` is the real exporter over a simulated NVML with `gpus` GPUs.
    """
    with tarfile.open(path, "w") as archive:
        idle_layer = _layer(archive, {Path("/idle"): idle})
        runtime_layer = _layer(archive, _runtime_files(), {_APP / "bin/gpu-exporter": _main(gpus)})
        idle_settings = {"Entrypoint": ["/idle"]}
        exporter_settings = {
            "Env": [
                f"PATH={_APP}/bin",
                f"PYTHONPATH={_APP}/lib",
                "PYTHONUNBUFFERED=1",
                "PYTHONDONTWRITEBYTECODE=1",
            ],
            "User": "65532:65532",
        }
        images = [
            _image(archive, PAUSE, idle_layer, idle_settings),
            _image(archive, WORKLOAD, idle_layer, idle_settings),
            _image(archive, exporter_image, runtime_layer, exporter_settings),
        ]
        _add(archive, "manifest.json", json.dumps(images).encode())


def _main(gpus: int) -> bytes:
    interpreter = Path(sys.executable).resolve()
    return f"""#!{interpreter}
import sys
from exporter.config import Config
from simulator.exporter import main
socket = f"--pod-resources.socket={{Config().pod_resources_socket}}"
sys.exit(main(["--gpus={gpus}", socket, *sys.argv[1:]]))
""".encode()


def _runtime_files() -> dict[Path, Path]:
    """Return the files of the exporter's image: path there -> path here."""
    interpreter = Path(sys.executable).resolve()
    files = {interpreter: interpreter}
    for name in ("stdlib", "platstdlib"):
        # That of a virtual environment holds no standard library.
        folder = Path(sysconfig.get_path(name, vars={"platbase": sys.base_prefix}))
        files |= {path: path for path in _library_files(folder)}
    for distribution in _closure(_IMPORTED):
        for file in distribution.files or ():
            located = Path(str(file.locate())).resolve()
            if ".." not in file.parts and located.is_file():
                files[_APP / "lib" / file] = located
    for package in _OUR_PACKAGES:
        for source in (REPOSITORY / package).rglob("*.py"):
            files[_APP / "lib" / source.relative_to(REPOSITORY)] = source
    linked = [here for here in files.values() if ".so" in here.name or here == interpreter]
    return files | {path: path for path in _shared_libraries(linked)}


def _library_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        name = parts[-1]
        if (
            _NOT_NEEDED & set(parts)
            or parts[0].startswith("config-")
            or name.startswith("_tkinter")
        ):
            continue
        if path.is_file():
            yield path


def _closure(names: Iterable[str]) -> list[importlib.metadata.Distribution]:
    """Return these distributions and what they require on this machine, extras left out."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [*names]
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a requirement of other Python versions
        for requirement in found[name].requires or ():
            if "extra ==" not in requirement:
                waiting.append(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
    return [*found.values()]


def _shared_libraries(files: Iterable[Path]) -> set[Path]:
    """Return what the dynamic linker loads for these files, and the linker itself."""
    said = subprocess.run(
        ["ldd", *map(str, files)], capture_output=True, text=True, timeout=60, check=False
    ).stdout
    return {Path(path) for path in re.findall(r"(?:=> |^\t)(/\S+) \(0x", said, re.M)}


def _layer(
    archive: tarfile.TarFile, files: Mapping[Path, Path], made: Mapping[Path, bytes] | None = None
) -> tuple[str, str]:
    """Add a layer; return its name in the archive and its digest."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as layer:
        for there, here in sorted(files.items()):
            entry = layer.gettarinfo(here.resolve(), str(there).lstrip("/"))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            with here.open("rb") as data:
                layer.addfile(entry, data)
        for there, text in (made or {}).items():
            _add(layer, str(there).lstrip("/"), text, mode=0o755)
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
