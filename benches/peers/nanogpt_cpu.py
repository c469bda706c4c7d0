"""Trains the peer's GPT with nanoGPT's CPU recipe and says how long a step takes and how well it predicts.

    .venv/bin/python benches/peers/nanogpt_cpu.py --data input.txt --optimizer adamw --seed 1 --json

Recipe: characters as tokens, the first 90 % trains, warm-up then cosine to a tenth, clip at norm 1, decay on matrices
and embeddings alone. The result is the loss over the whole validation text, in windows that do not overlap.
A step is timed from batch to update, without evaluation.
"""

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path

import torch
from gpt import Gpt, Sizes
from torch import Tensor


class Lion(torch.optim.Optimizer):
    """x <- x(1 - lr*decay) - lr*sign(b1*m + (1 - b1)*g), then m <- b2*m + (1 - b2)*g; arXiv 2302.06675."""

    def __init__(self, params, lr: float, betas: tuple[float, float], weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            grads = [p.grad for p in params]
            for p in params:
                if not self.state[p]:
                    self.state[p]["exp_avg"] = torch.zeros_like(p)
            momenta = [self.state[p]["exp_avg"] for p in params]
            lr, (beta1, beta2) = group["lr"], group["betas"]
            direction = torch._foreach_lerp(grads, momenta, beta1)
            torch._foreach_sign_(direction)
            torch._foreach_mul_(params, 1.0 - lr * group["weight_decay"])
            torch._foreach_add_(params, direction, alpha=-lr)
            torch._foreach_lerp_(momenta, grads, 1.0 - beta2)


def optimizers(model: Gpt, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """The optimizers of the recipe; together they take every parameter once."""
    named = dict(model.named_parameters())
    vectors = [p for p in named.values() if p.dim() < 2]
    hidden = [p for name, p in named.items() if p.dim() == 2 and ".h." in name]
    tables = [p for name, p in named.items() if p.dim() == 2 and ".h." not in name]
    betas = (args.beta1, args.beta2)

    def groups(decayed: list[Tensor]) -> list[dict]:
        return [{"params": decayed, "weight_decay": args.weight_decay}, {"params": vectors, "weight_decay": 0.0}]

    if args.optimizer == "adamw":
        return [torch.optim.AdamW(groups(hidden + tables), lr=args.lr, betas=betas, fused=True)]
    if args.optimizer == "lion":
        return [Lion(groups(hidden + tables), lr=args.lr, betas=betas)]
    muon = torch.optim.Muon(
        hidden,
        lr=args.muon_lr,
        weight_decay=args.weight_decay,
        momentum=args.muon_momentum,
        adjust_lr_fn=args.muon_adjust_lr,
    )
    return [muon, torch.optim.AdamW(groups(tables), lr=args.lr, betas=betas, fused=True)]


def lr_factor(step: int, args: argparse.Namespace) -> float:
    """Linear warm-up, then half a cosine down to `min_ratio`; steps count from 0."""
    if step < args.warmup_steps:
        return (step + 1) / (args.warmup_steps + 1)
    share = (step - args.warmup_steps) / max(1, args.steps - args.warmup_steps)
    return args.min_ratio + (1.0 - args.min_ratio) * 0.5 * (1.0 + math.cos(math.pi * share))


def read(path: Path) -> tuple[Tensor, Tensor, int]:
    """Training and validation tokens of a text, and the size of its vocabulary."""
    text = path.read_text(encoding="utf-8")
    vocabulary = sorted(set(text))
    number = {c: i for i, c in enumerate(vocabulary)}
    tokens = torch.tensor([number[c] for c in text], dtype=torch.long)
    cut = int(len(text) * 0.9)
    return tokens[:cut], tokens[cut:], len(vocabulary)


def batch(tokens: Tensor, rows: int, length: int) -> tuple[Tensor, Tensor]:
    starts = torch.randint(len(tokens) - length, (rows,)).tolist()
    inputs = torch.stack([tokens[i : i + length] for i in starts])
    targets = torch.stack([tokens[i + 1 : i + 1 + length] for i in starts])
    return inputs, targets


@torch.no_grad()
def evaluate(model: Gpt, tokens: Tensor) -> float:
    """Nats per token; every token but the first is predicted once."""
    model.eval()
    length, total = model.sizes.block_size, 0.0
    whole = (len(tokens) - 1) // length
    inputs = tokens[: whole * length].view(whole, length)
    targets = tokens[1 : whole * length + 1].view(whole, length)
    parts = list(zip(inputs.split(64), targets.split(64)))
    rest = slice(whole * length, len(tokens) - 1), slice(whole * length + 1, len(tokens))
    if whole * length < len(tokens) - 1:
        parts.append((tokens[rest[0]].unsqueeze(0), tokens[rest[1]].unsqueeze(0)))
    for x, y in parts:
        total += model.loss(x, y, reduction="none").double().sum().item()
    model.train()
    return total / (len(tokens) - 1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="text file, UTF-8")
    parser.add_argument("--optimizer", choices=["adamw", "muon", "lion"], default="adamw")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--min-ratio", type=float, default=0.1)
    parser.add_argument("--warmup-steps", type=int, default=100)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--beta1", type=float, default=0.9)
    parser.add_argument("--beta2", type=float, default=0.99)
    parser.add_argument("--grad-clip", type=float, default=1.0)
    parser.add_argument("--muon-lr", type=float, default=0.02)
    parser.add_argument("--muon-momentum", type=float, default=0.95)
    parser.add_argument("--muon-adjust-lr", choices=["original", "match_rms_adamw"], default="original")
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--n-layer", type=int, default=4)
    parser.add_argument("--n-head", type=int, default=4)
    parser.add_argument("--n-embd", type=int, default=128)
    parser.add_argument("--block-size", type=int, default=64)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--bias", action="store_true")
    parser.add_argument("--no-eval", action="store_true", help="time steps only")
    parser.add_argument("--json", action="store_true", help="one line of JSON on stdout")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    train, val, vocab_size = read(args.data)
    sizes = Sizes(vocab_size, args.n_layer, args.n_head, args.n_embd, args.block_size, args.bias, args.dropout)
    model = Gpt(sizes)
    opts = optimizers(model, args)
    base = [[group["lr"] for group in opt.param_groups] for opt in opts]

    times, loss = [], math.nan
    for step in range(args.steps):
        began = time.perf_counter()
        factor = lr_factor(step, args)
        for opt, lrs in zip(opts, base):
            for group, lr in zip(opt.param_groups, lrs):
                group["lr"] = lr * factor
        mean = model.loss(*batch(train, args.batch_size, args.block_size))
        mean.backward()
        if args.grad_clip > 0.0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), args.grad_clip)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        loss = mean.item()
        times.append(time.perf_counter() - began)
        if step % 100 == 0:
            print(f"step {step}: loss {loss:.4f}", file=sys.stderr)

    result = {
        "peer": "pytorch eager",
        "torch": torch.__version__,
        "optimizer": args.optimizer,
        "seed": args.seed,
        "steps": args.steps,
        "threads": args.threads,
        "parameters": sum(p.numel() for p in model.parameters()),
        # The first steps allocate and choose algorithms.
        "ms_per_step": 1e3 * statistics.median(times[min(20, len(times) // 2) :]),
        "train_loss": loss,
        "val_loss": None if args.no_eval else evaluate(model, val),
    }
    if args.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:14} {value}")


if __name__ == "__main__":
    main()
