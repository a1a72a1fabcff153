"""gpu-exporter's command line."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from typing import TYPE_CHECKING, Final

from exporter import __version__
from exporter.cli.config import parse
from toolkit import logs
from toolkit.cli.arguments import EXIT_USAGE, SHELLS, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

DOCTOR: Final = "doctor"
COMPLETION: Final = "completion"
GARBAGE_THRESHOLD: Final = 5000
SWITCH_SECONDS: Final = 0.0005


def main(arguments: Sequence[str] | None = None, *, binding: ModuleType | None = None) -> int:
    """Run the program over `binding` (nvidia-ml-py unless given) and return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if list(arguments[:1]) == [COMPLETION]:
        return _completion(arguments[1:])
    doctor = list(arguments[:1]) == [DOCTOR]
    try:
        config = parse(
            arguments[1:] if doctor else arguments,
            os.environ,
            host_name=socket.gethostname(),
            version=__version__,
        )
    except UsageError as error:
        for problem in error.problems:
            sys.stderr.write(f"gpu-exporter: {problem}\n")
        return EXIT_USAGE
    # aiohttp loads the system's certificate authorities when it is imported, 2 MB of them. The
    # exporter asks the cluster's API server only, by the authority of its service account.
    os.environ |= {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
    from exporter.program import examine_node, print_once, run  # noqa: PLC0415

    if binding is None:
        import pynvml  # noqa: PLC0415  (not the memory of two where another one is given)

        binding = pynvml
    _settle()
    logs.set_up(
        level="error" if doctor else config.log_level,
        log_format=config.log_format,
    )
    if doctor:
        return asyncio.run(examine_node(config, binding))
    return asyncio.run(print_once(config, binding) if config.once else run(config, binding))


def _completion(arguments: Sequence[str]) -> int:
    from exporter.cli.flags import build_parser  # noqa: PLC0415
    from toolkit.cli.completion import completion_script  # noqa: PLC0415

    if len(arguments) != 1 or arguments[0] not in SHELLS:
        sys.stderr.write(f"gpu-exporter: completion needs one of {', '.join(SHELLS)}\n")
        return EXIT_USAGE
    parser = build_parser({}, __version__)
    # Each is read before the flags are; here they are words like others.
    parser.add_argument("command", choices=(DOCTOR, COMPLETION), nargs="?")
    parser.add_argument("shell", choices=SHELLS, nargs="?")
    sys.stdout.write(completion_script(parser, arguments[0]))
    return 0


def _settle() -> None:
    """Let no scrape wait long for what else the interpreter does."""
    # All that is imported stays: without it a full collection takes a fraction of a millisecond
    # instead of twenty, in which no scrape could be answered.
    gc.collect()
    gc.freeze()
    # What rendering makes by the thousand has no cycles: looking for them took a third of its time.
    gc.set_threshold(GARBAGE_THRESHOLD, 10, 10)
    # The NVML thread keeps to itself what it does between calls; a scrape waits for its turn no
    # longer than this, each time.
    sys.setswitchinterval(SWITCH_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
