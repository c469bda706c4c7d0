"""Computes logits, loss and gradients with the peer's network from weights that the host wrote.

    .venv/bin/python benches/peers/parity.py in.safetensors out.safetensors

`in` holds every parameter under its name, and `tokens` and `targets`, [b, t] of i64; its metadata are n_head and
block_size. `out` holds `logits`, `loss` and `grad/<name>`. tests/parity.rs compares them with the host's.
"""

import sys

import torch
from gpt import Gpt, Sizes
from safetensors import safe_open
from safetensors.torch import save_file


def main() -> None:
    source, target = sys.argv[1:]
    with safe_open(source, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        metadata = file.metadata()
    tokens, targets = tensors.pop("tokens"), tensors.pop("targets")
    vocab_size, n_embd = tensors["transformer.wte.weight"].shape
    tied = "lm_head.weight" not in tensors
    n_layer = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("transformer.h."))
    bias = "transformer.ln_f.bias" in tensors
    sizes = Sizes(vocab_size, n_layer, int(metadata["n_head"]), n_embd, int(metadata["block_size"]), bias, 0.0, tied)
    model = Gpt(sizes).to(tensors["transformer.wte.weight"].dtype)
    if tied:
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    model.load_state_dict(tensors, strict=True)
    loss = model.loss(tokens, targets)
    loss.backward()
    out = {f"grad/{name}": parameter.grad.contiguous() for name, parameter in model.named_parameters()}
    out["logits"] = model(tokens).detach().contiguous()
    out["loss"] = loss.detach()
    save_file(out, target)


if __name__ == "__main__":
    main()
