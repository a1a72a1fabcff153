# SPDX-License-Identifier: Apache-2.0
"""The image that the Dockerfile gives, and programs run in it as the shipped manifests run them."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.image.engine import REPOSITORY, STAND_IN, Engine, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TAG: Final = "localhost/gpu-scaler:built"
ARGUMENTS: Final = {
    "VERSION": "1.2.3",
    "REVISION": "0123abcd",
    "CREATED": "2026-01-02T03:04:05Z",
    "SOURCE": "https://example.com/gpu-scaler",
}
RUN_SECONDS: Final = 60
_READ_ONLY: Final = """
mount --bind "$1" "$1"
mount -o remount,ro,bind "$1"
root=$1; shift
exec chroot --userspec=65532:65532 "$root" env -i "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedImage:
    """The built image; `root` shows its files."""

    engine: Engine
    root: Path
    config: dict[str, Any]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program as user 65532 on a read-only root, with the image's own environment."""
        return subprocess.run(
            [
                *("unshare", "--mount", "sh", "-euc", _READ_ONLY, "sh", str(self.root)),
                *self.config["Env"],
                *command,
            ],
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )


@contextmanager
def built_image() -> Iterator[ShippedImage]:
    """Build the image on the stand-in for its base, and remove it at the end."""
    with running_engine() as engine:
        engine.build(
            REPOSITORY,
            tag=TAG,
            dockerfile=REPOSITORY / "Dockerfile",
            PYTHON_IMAGE=STAND_IN,
            **ARGUMENTS,
        )
        with engine.mounted(TAG) as root:
            yield ShippedImage(
                engine=engine, root=root, config=engine.inspect(TAG)["OCIv1"]["config"]
            )
