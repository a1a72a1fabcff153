# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's server in this process: `llamacpp_program.py ADDRESS PORT SLOTS FLAGS`.

Flags are its `--metrics` and `--drain`, with which it goes on after SIGTERM until it has had no
request in hand for a while, as with a preStop hook.
Runs with the packages of tests/cluster/tools/llamacpp/ alone. The model comes to lie in the current
folder: two layers of random weights whose words are the 256 bytes.
"""

from __future__ import annotations

import signal
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import gguf
import numpy
import xllamacpp

LAYERS, WIDTH, INNER, HEADS = 2, 64, 128, 4
HTTP_THREADS = 64
LOOK_SECONDS = 0.1
IDLE_SECONDS = 2.0
"""Longer than a client that asks again needs between two requests."""
LONGEST = 4096
"""Tokens of a prompt with its answer, for each slot."""


def main(address: str, port: str, slots: str, *flags: str) -> None:
    """Serve until SIGTERM."""
    # In the server's threads too, which otherwise end the program at once.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    model = Path(f"tiny-{address}-{port}.gguf").resolve()
    write_model(model)
    settings = xllamacpp.CommonParams()
    settings.model.path = str(model)
    settings.hostnames = [address]
    settings.port = int(port)
    settings.n_parallel = int(slots)
    settings.n_ctx = LONGEST * int(slots)
    settings.endpoint_metrics = "--metrics" in flags
    # With its default, a page asked for together with requests can wait until one of them ends.
    settings.n_threads_http = HTTP_THREADS
    settings.cpuparams.n_threads = 1
    settings.warmup = False
    server = xllamacpp.Server(settings)
    print(f"listening on {server.listening_address}", flush=True)  # noqa: T201
    signal.sigwait([signal.SIGTERM])
    if "--drain" in flags:
        drain(f"http://{address}:{port}/metrics")


def drain(url: str) -> None:
    """Wait until there was no request in hand for a while."""
    idle_since = time.monotonic()
    while time.monotonic() - idle_since < IDLE_SECONDS:
        if requests_in_hand(url):
            idle_since = time.monotonic()
        time.sleep(LOOK_SECONDS)


def requests_in_hand(url: str) -> float:
    """Return the number of requests that run or wait."""
    with urllib.request.urlopen(url) as answer:
        lines = answer.read().decode().splitlines()
    names = ("llamacpp:requests_processing ", "llamacpp:requests_deferred ")
    return sum(float(line.split()[-1]) for line in lines if line.startswith(names))


def write_model(path: Path) -> None:
    """Write the same random model each time."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(LONGEST)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    words = _add_words(writer)
    _add_weights(writer, words)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_words(writer: Any) -> int:
    kinds = gguf.TokenType
    words = {"<unk>": kinds.UNKNOWN, "<s>": kinds.CONTROL, "</s>": kinds.CONTROL}
    words |= {f"<0x{byte:02X}>": kinds.BYTE for byte in range(256)}
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*words])
    writer.add_token_scores([0.0] * len(words))
    writer.add_token_types([*words.values()])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    return len(words)


def _add_weights(writer: Any, words: int) -> None:
    random = numpy.random.default_rng(0)
    matrices = {"token_embd": (words, WIDTH), "output": (words, WIDTH)}
    norms = ["output_norm"]
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        norms += [f"{block}.attn_norm", f"{block}.ffn_norm"]
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrices[f"{block}.{name}"] = (WIDTH, WIDTH)
        matrices[f"{block}.ffn_gate"] = matrices[f"{block}.ffn_up"] = (INNER, WIDTH)
        matrices[f"{block}.ffn_down"] = (WIDTH, INNER)
    for name in norms:
        writer.add_tensor(f"{name}.weight", numpy.ones(WIDTH, dtype=numpy.float32))
    for name, shape in matrices.items():
        weights = (random.standard_normal(shape) * 0.05).astype(numpy.float32)
        writer.add_tensor(f"{name}.weight", weights)


if __name__ == "__main__":
    main(*sys.argv[1:])
