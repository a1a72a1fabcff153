# SPDX-License-Identifier: Apache-2.0
"""Files that the system keeps from the tests' process."""

from __future__ import annotations

import errno
import io
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a hardened /proc, SELinux, a loop of links, a stale mount, a broken disk and others answer.
CODES: Final = (
    errno.EPERM,
    errno.EACCES,
    errno.ELOOP,
    errno.ESTALE,
    errno.EIO,
    errno.ENAMETOOLONG,
    errno.ENOTCONN,
    errno.EMFILE,
    errno.ENOMEM,
)
_NOBODY: Final = 65534


@contextmanager
def forbidden(path: Path, code: int) -> Iterator[None]:
    """Let the system answer this error to root too, about a path and all that is below."""

    def guarded(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            asked = arguments[0] if arguments else None
            if isinstance(asked, str | Path) and path in (Path(asked), *Path(asked).parents):
                raise OSError(code, os.strerror(code), str(asked))
            return function(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("stat", "lstat", "listdir", "scandir", "readlink", "open"):
            patch.setattr(os, name, guarded(getattr(os, name)))
        patch.setattr(io, "open", guarded(io.open))
        yield


@contextmanager
def unprivileged() -> Iterator[None]:
    """Act on files as a user without any privilege, if the tests are root's."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
