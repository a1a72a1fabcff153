# SPDX-License-Identifier: Apache-2.0
"""NVIDIA Dynamo: its frontend, and workers whose engine is Dynamo's mock with a real scheduler."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from tests.cluster import tools
from tests.cluster.processes import free_ports
from tests.servers.process import ServerProcess, running_server
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MODEL: Final = "tiny"
RUNNING_PER_RANK: Final = 2
"""How many requests each data parallel rank of a worker runs at once; more wait."""
_TOKEN_SPEEDUP: Final = 0.3
_LONGEST_ANSWER: Final = 3000


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontend:
    """A frontend; workers find it by the files in `folder`."""

    server: ServerProcess
    folder: Path

    @property
    def completions(self) -> str:
        """The URL that takes requests."""
        return f"{self.server.url}/v1/completions"


def long_request() -> dict[str, Any]:
    """Return a request that stays in hand for about a minute once it runs."""
    return {
        "model": MODEL,
        "prompt": "hello",
        "max_tokens": _LONGEST_ANSWER,
        "ignore_eos": True,
        "stream": True,
    }


@asynccontextmanager
async def running_frontend(folder: Path, *, address: str = "127.0.0.1") -> AsyncIterator[Frontend]:
    """Run a frontend on a free port; `folder` is a new one for it and its workers."""
    (folder / "store").mkdir()
    _write_model(folder / MODEL)
    (port,) = free_ports(1)
    command: list[str | Path] = [
        *(tools.path_of("dynamo"), "-m", "dynamo.frontend"),
        *("--http-host", address, "--http-port", str(port)),
    ]
    async with running_server(
        f"frontend-{port}",
        command,
        logs=folder,
        url=f"http://{address}:{port}",
        environment=_environment(folder),
    ) as server:
        yield Frontend(server=server, folder=folder)


@asynccontextmanager
async def running_worker(
    frontend: Frontend,
    *,
    engine: Literal["vllm", "sglang"] = "vllm",
    address: str = "127.0.0.1",
    port: int | None = None,
    ranks: int = 1,
) -> AsyncIterator[ServerProcess]:
    """Run a worker with its page at `address`; it is there when the frontend sends it requests.

    `port` is a free one unless given; workers as pods of one Deployment share one.
    """
    port = free_ports(1)[0] if port is None else port
    command: list[str | Path] = [
        *(tools.path_of("dynamo"), "-m", "dynamo.mocker"),
        *("--model-path", frontend.folder / MODEL, "--model-name", MODEL),
        *("--engine-type", engine, "--data-parallel-size", str(ranks)),
        *("--max-num-seqs", str(RUNNING_PER_RANK)),
        # Room for the longest answers at once: SGLang's scheduler reserves it.
        *("--num-gpu-blocks-override", "512", "--block-size", "16"),
        *("--speedup-ratio", str(_TOKEN_SPEEDUP)),
    ]
    async with running_server(
        f"worker-{address}-{port}",
        command,
        logs=frontend.folder,
        url=f"http://{address}:{port}",
        environment={
            **_environment(frontend.folder),
            "DYN_SYSTEM_HOST": address,
            "DYN_SYSTEM_PORT": str(port),
        },
    ) as server:
        await until(lambda: _knows(frontend, server), what="the frontend knows the worker")
        yield server


async def _knows(frontend: Frontend, worker: ServerProcess) -> bool:
    models = await frontend.server.page("/v1/models") or ""
    instances = await frontend.server.page("/health") or "{}"
    identity = re.search(r'worker_id="([0-9a-f]+)"', await worker.page() or "")
    return (
        MODEL in models
        and identity is not None
        and int(identity[1], 16)
        in [
            instance["instance_id"]
            for instance in json.loads(instances).get("instances", [])
            if instance["endpoint"] == "generate"
        ]
    )


def _environment(folder: Path) -> dict[str, str]:
    return {
        "DYN_DISCOVERY_BACKEND": "file",
        "DYN_FILE_KV": str(folder / "store"),
        "DYN_REQUEST_PLANE": "tcp",
        "DYN_EVENT_PLANE": "zmq",
        # By default it takes the machine's address towards others, which a machine may lack.
        "DYN_TCP_RPC_HOST": "127.0.0.1",
        "DYN_TCP_RESPONSE_STREAM_HOST": "127.0.0.1",
        "DYN_EVENT_PLANE_HOST": "127.0.0.1",
        "HF_HUB_OFFLINE": "1",
    }


def _write_model(folder: Path) -> None:
    """Write the two files that Dynamo reads of a model: what it is, and its words."""
    folder.mkdir()
    # The mock's tokens are below 5,000: a token that is no word would stream nothing.
    words = {word: number for number, word in enumerate(_bytes_as_words())}
    words |= {f"w{number}": number for number in range(len(words), 5200)}
    bytes_to_words = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    files: dict[str, dict[str, Any]] = {
        "tokenizer.json": {
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": bytes_to_words,
            "decoder": bytes_to_words,
            "model": {"type": "BPE", "vocab": words, "merges": []},
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
        },
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "vocab_size": len(words),
            "max_position_embeddings": 4096,
            "bos_token_id": 0,
            "eos_token_id": 0,
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))


def _bytes_as_words() -> list[str]:
    """Return a printable character for each byte, those that print as themselves first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [
        chr(256 + number) for number in range(256 - len(printable))
    ]
