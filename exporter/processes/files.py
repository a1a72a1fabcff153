# SPDX-License-Identifier: Apache-2.0
"""The node's files, any of which may be absent or kept from the exporter."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_ABSENT: Final = (FileNotFoundError, NotADirectoryError)


class UnreadableError(Exception):
    """A file or folder that may be there cannot be read; the message says which and why."""


def unreadable(path: Path, error: OSError) -> UnreadableError:
    """Return the error about a path in the system's own words."""
    why = error.strerror or str(error) or type(error).__name__
    return UnreadableError(f"{path} cannot be read: {why}")


def is_there(path: Path) -> bool:
    """Return whether there is such a file or folder.

    Raises:
        UnreadableError: the system does not say.
    """
    try:
        path.stat()
    except _ABSENT:
        return False
    except OSError as error:
        raise unreadable(path, error) from error
    return True


def names_in(folder: Path) -> list[str]:
    """Return the names of a folder's entries, none where there is no such folder.

    Raises:
        UnreadableError: the folder cannot be read.
    """
    try:
        return os.listdir(folder)
    except _ABSENT:
        return []
    except OSError as error:
        raise unreadable(folder, error) from error
