"""Steps of PyTorch's and pytorch_optimizer's optimizers, one command a line on stdin, one answer a line on stdout.

    {"do": "tensors", "shapes": [[...], ...], "device": "cpu", "threads": 2}
    {"do": "make", "label": "adamw", "peer": "torch fused", "hyper": {...}}
    {"do": "renewed", "count": 3}       as many steps, each with the gradients as they were: some optimizers change them
    {"do": "steps", "count": 10}        seconds for as many steps
    {"do": "changes"}                   what the steps changed: some elements of every parameter
    {"do": "move", "bytes": 1000000}    seconds for moving as many bytes, read and written: scaled in place, or copied

`benches/optimizer_peers.rs` asks. Parameters and gradients come from a formula that both sides compute, so that the
changes can be compared. Gradients stay the same from step to step.
"""

import json
import math
import sys
import time

import torch

SAMPLES = 64


def numbers(n, which, scale, device):
    """n numbers around zero, the same on every device and in every program."""
    index = torch.arange(n, dtype=torch.int64, device=device) + 1000003 * which
    return ((index * 48271 % 2147483647).to(torch.float64) / 2147483647 - 0.5).mul_(scale).to(torch.float32)


def betas(h):
    return h["beta1"], h["beta2"]


def table(h):
    """Peers by label and name; each takes the parameters. What is not said is the peer's own default."""
    import pytorch_optimizer as po
    from torch import optim

    lr = h["lr"]
    decay = h.get("weight_decay", 0.0)
    return {
        "adamw": {
            name: lambda p, how=how: optim.AdamW(p, lr=lr, betas=betas(h), eps=h["eps"], weight_decay=decay, **how)
            for name, how in [("torch fused", {"fused": True}), ("torch foreach", {"foreach": True})]
        },
        "sgdm": {
            name: lambda p, how=how: optim.SGD(p, lr=lr, momentum=h["momentum"], weight_decay=decay, **how)
            for name, how in [("torch fused", {"fused": True}), ("torch foreach", {"foreach": True})]
        },
        "adam": {"torch fused": lambda p: optim.Adam(p, lr=lr, betas=betas(h), eps=h["eps"], fused=True)},
        "adagrad": {"torch foreach": lambda p: optim.Adagrad(p, lr=lr, eps=h["eps"], foreach=True)},
        "rmsprop": {"torch foreach": lambda p: optim.RMSprop(p, lr=lr, alpha=h["alpha"], eps=h["eps"], foreach=True)},
        "adamax": {"torch foreach": lambda p: optim.Adamax(p, lr=lr, betas=betas(h), eps=h["eps"], foreach=True)},
        "radam": {"torch foreach": lambda p: optim.RAdam(p, lr=lr, betas=betas(h), eps=h["eps"], foreach=True)},
        "nadam": {
            "torch foreach": lambda p: optim.NAdam(
                p, lr=lr, betas=betas(h), eps=h["eps"], momentum_decay=h["momentum_decay"], foreach=True
            )
        },
        "adadelta": {"torch foreach": lambda p: optim.Adadelta(p, lr=lr, rho=h["rho"], eps=h["eps"], foreach=True)},
        "asgd": {
            "torch foreach": lambda p: optim.ASGD(
                p, lr=lr, lambd=h["lambd"], alpha=h["alpha"], t0=h["t0"], foreach=True
            )
        },
        "laprop": {
            "foreach": lambda p: po.LaProp(p, lr=lr, betas=betas(h), eps=h["eps"], weight_decay=decay, foreach=True)
        },
        "schedulefree-adamw": {
            "foreach": lambda p: po.ScheduleFreeAdamW(p, lr=lr, betas=betas(h), eps=h["eps"], foreach=True)
        },
        "schedulefree-sgd": {
            "foreach": lambda p: po.ScheduleFreeSGD(p, lr=lr, momentum=h["momentum"], foreach=True)
        },
        "stableadamw": {
            "foreach": lambda p: po.StableAdamW(
                p, lr=lr, betas=betas(h), eps=h["eps"], weight_decay=decay, kahan_sum=False, foreach=True
            )
        },
        "novograd": {"foreach": lambda p: po.NovoGrad(p, lr=lr, betas=betas(h), eps=h["eps"], foreach=True)},
        "dadapt-adam": {
            "foreach": lambda p: po.DAdaptAdam(
                p, lr=lr, betas=betas(h), d0=h["d0"], eps=h["eps"], weight_decouple=bool(h["decouple"]), foreach=True
            )
        },
        "lion": {"foreach": lambda p: po.Lion(p, lr=lr, betas=betas(h), weight_decay=decay, foreach=True)},
        "tiger": {"foreach": lambda p: po.Tiger(p, lr=lr, beta=h["beta"], weight_decay=decay, foreach=True)},
        "adabelief": {
            "foreach": lambda p: po.AdaBelief(
                p, lr=lr, betas=betas(h), eps=h["eps"], weight_decay=decay, rectify=bool(h["rectify"]), foreach=True
            )
        },
        "yogi": {
            "foreach": lambda p: po.Yogi(
                p, lr=lr, betas=betas(h), eps=h["eps"], initial_accumulator=h["initial_accumulator"], foreach=True
            )
        },
        "adopt": {
            "foreach": lambda p: po.ADOPT(
                p, lr=lr, betas=betas(h), eps=h["eps"], clip_lambda=lambda t: math.pow(t, h["clip_exp"]), foreach=True
            )
        },
        "adan": {
            "foreach": lambda p: po.Adan(
                p, lr=lr, betas=(h["beta1"], h["beta2"], h["beta3"]), eps=h["eps"], weight_decay=decay, foreach=True
            )
        },
        "ademamix": {
            "foreach": lambda p: po.AdEMAMix(
                p, lr=lr, betas=(h["beta1"], h["beta2"], h["beta3"]), alpha=h["alpha"], eps=h["eps"], foreach=True
            )
        },
        "lamb": {
            "foreach": lambda p: po.Lamb(p, lr=lr, betas=betas(h), eps=h["eps"], weight_decay=decay, foreach=True)
        },
        "prodigy": {
            "foreach": lambda p: po.Prodigy(p, lr=lr, betas=betas(h), eps=h["eps"], weight_decay=decay, foreach=True)
        },
        "adafactor": {"torch foreach": lambda p: optim.Adafactor(p, lr=lr, weight_decay=decay, foreach=True)},
        "came": {
            "foreach": lambda p: po.CAME(
                p,
                lr=lr,
                betas=(h["beta1"], h["beta2"], h["beta3"]),
                weight_decay=decay,
                clip_threshold=h["clip_threshold"],
                eps1=h["eps1"],
                eps2=h["eps2"],
                foreach=True,
            )
        },
        "ranger": {
            "foreach": lambda p: po.Ranger(
                p,
                lr=lr,
                betas=betas(h),
                alpha=h["alpha"],
                k=int(h["k"]),
                degenerated_to_sgd=True,
                weight_decay=decay,
                eps=h["eps"],
                foreach=True,
            )
        },
        "mars": {
            "foreach": lambda p: po.MARS(
                p,
                lr=lr,
                betas=betas(h),
                gamma=h["gamma"],
                lr_1d=lr,
                betas_1d=betas(h),
                weight_decay=decay,
                weight_decay_1d=decay,
                eps=h["eps"],
                foreach=True,
            )
        },
        "adamp": {
            "foreach": lambda p: po.AdamP(
                p,
                lr=lr,
                betas=betas(h),
                weight_decay=decay,
                delta=h["delta"],
                wd_ratio=h["wd_ratio"],
                nesterov=bool(h["nesterov"]),
                eps=h["eps"],
                foreach=True,
            )
        },
        "muon": {
            "torch": lambda p: optim.Muon(p, lr=lr, momentum=h["momentum"], weight_decay=decay),
            "pytorch_optimizer": lambda p: po.Muon(
                [{"params": p, "use_muon": True}], lr=lr, momentum=h["momentum"], weight_decay=decay
            ),
        },
        "soap": {
            "pytorch_optimizer": lambda p: po.SOAP(
                p, lr=lr, betas=betas(h), eps=h["eps"], weight_decay=decay, precondition_frequency=int(h["precondition_frequency"])
            )
        },
        "shampoo": {"pytorch_optimizer": lambda p: po.Shampoo(p, lr=lr, matrix_eps=h["epsilon"])},
    }


class Peer:
    def __init__(self):
        self.params, self.step, self.device = [], None, "cpu"

    def tensors(self, shapes, device, threads):
        torch.set_num_threads(threads)
        self.device, self.shapes = torch.device(device), shapes
        return self.device.type == "cpu" or torch.cuda.get_device_name(self.device)

    def values(self, which):
        n = math.prod(self.shapes[which])
        return numbers(n, which, 0.04, self.device).reshape(self.shapes[which])

    def gradient(self, which):
        n = math.prod(self.shapes[which])
        return numbers(n, which + 500, 0.002, self.device).reshape(self.shapes[which])

    def make(self, label, peer, hyper):
        self.params, self.step = [], None
        for which in range(len(self.shapes)):
            param = torch.nn.Parameter(self.values(which))
            param.grad = self.gradient(which)
            self.params.append(param)
        compiled = peer == "torch compiled"
        make = table(hyper)[label]["torch foreach" if compiled else peer]
        optimizer = make(self.params)
        self.step = torch.compile(optimizer.step) if compiled else optimizer.step
        return True

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def timed(self, count, what):
        self.wait()
        start = time.perf_counter()
        for _ in range(count):
            what()
        self.wait()
        return time.perf_counter() - start

    def renewed(self, count):
        for _ in range(count):
            for which, param in enumerate(self.params):
                param.grad.copy_(self.gradient(which))
            self.step()
        return True

    def steps(self, count):
        return self.timed(count, self.step)

    def changes(self):
        changes = []
        with torch.no_grad():
            for which, param in enumerate(self.params):
                change = (param.detach().double() - self.values(which).double()).flatten()
                changes.append(change[:: max(1, change.numel() // SAMPLES)][:SAMPLES].tolist())
        return changes

    def move(self, bytes):
        memory = torch.ones(bytes // 8, dtype=torch.float32, device=self.device)
        if self.device.type == "cuda":
            other = torch.empty_like(memory)
            self.timed(3, lambda: other.copy_(memory))
            return self.timed(10, lambda: other.copy_(memory)) / 10
        self.timed(1, lambda: memory.mul_(1.0000001))
        return min(self.timed(1, lambda: memory.mul_(1.0000001)) for _ in range(3))


def main():
    peer = Peer()
    for line in sys.stdin:
        command = json.loads(line)
        do = command.pop("do")
        try:
            answer = {"is": getattr(peer, do)(**command)}
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
