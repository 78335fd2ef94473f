"""What all training scripts share: options, precision, optimiser, averaged weights, checkpoints, log."""

import argparse
import contextlib
import functools
import json
import math
import os
import random
import time

import numpy as np
import torch


def autocast(device):
    kind = str(device).split(":")[0]
    return torch.autocast(kind, torch.bfloat16) if kind in ("cpu", "cuda") else contextlib.nullcontext()


def quick_backward(network):
    """Computes convolutions with few channels or a stride in float32, on CPUs.

    Their backward pass in bfloat16 took 10 to 20 times as long with PyTorch 2.15.
    """

    def forward(layer, x):
        with torch.autocast(x.device.type, enabled=False):
            return layer._conv_forward(x.float(), layer.weight, layer.bias)

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d) and (min(layer.weight.shape[:2]) <= 32 or layer.stride != (1, 1)):
            layer.forward = functools.partial(forward, layer)


def to_signed(pictures, device="cpu"):
    """uint8 (n, height, width, 3) -> float32 in -1..1, (n, 3, height, width), channels last in memory."""
    tensor = torch.from_numpy(np.ascontiguousarray(pictures)).to(device)
    return tensor.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_bytes(pictures):
    return pictures.float().add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def slopes(picture):
    return picture[..., 1:] - picture[..., :-1], picture[..., 1:, :] - picture[..., :-1, :]


def sharpness(picture):
    """Mean absolute slope of pictures in -1..1; divided by the target's, below 1 means blur, above 1 added detail."""
    return float(sum(s.abs().mean() for s in slopes(picture.clamp(-1, 1))))


class Average:
    """Running average of the weights; this is what is exported."""

    def __init__(self, model, decay=0.999):
        self.decay, self.steps = decay, 0
        self.values = {k: v.detach().clone().float() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model):
        self.steps += 1
        rate = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                self.values[name].lerp_(value.float(), rate)
            else:
                self.values[name].copy_(value)


def orthogonal(matrix, steps=5):
    """A matrix near the closest one with orthonormal rows or columns, by the Newton-Schulz iterations of Muon
    (Keller Jordan and others, 2024)."""
    x = matrix / matrix.norm().clamp_min(1e-7)
    turned = x.shape[0] > x.shape[1]
    x = x.T if turned else x
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if turned else x


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are made orthogonal, for weights of layers; AdamW for vectors and embeddings.

    Orthogonal steps are scaled to the size of AdamW's, so that one rate fits both.
    """

    def __init__(self, named, rate, momentum=0.95, decay=0.01):
        layers, others = [], []
        for name, p in named:
            matrix = p.ndim >= 2 and "embedding" not in name and min(p.shape[0], p[0].numel()) >= 8
            (layers if matrix else others).append(p)
        groups = [{"params": layers, "orthogonal": True}, {"params": others, "orthogonal": False}]
        super().__init__(groups, {"lr": rate, "momentum": momentum, "decay": decay, "betas": (0.9, 0.99)})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    (self.orthogonal_step if group["orthogonal"] else self.adam_step)(p, group)

    def orthogonal_step(self, p, group):
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        state["momentum"].lerp_(p.grad, 1 - group["momentum"])
        step = orthogonal(p.grad.lerp(state["momentum"], group["momentum"]).reshape(len(p), -1))
        p.mul_(1 - group["lr"] * group["decay"])
        p.add_(step.reshape(p.shape), alpha=-group["lr"] * 0.2 * max(step.shape) ** 0.5)

    def adam_step(self, p, group):
        state, (first, second) = self.state[p], group["betas"]
        if not state:
            state |= {"steps": 0, "mean": torch.zeros_like(p), "power": torch.zeros_like(p)}
        state["steps"] += 1
        state["mean"].lerp_(p.grad, 1 - first)
        state["power"].lerp_(p.grad * p.grad, 1 - second)
        mean, power = (state[n] / (1 - beta ** state["steps"]) for n, beta in (("mean", first), ("power", second)))
        p.sub_(group["lr"] * mean / (power.sqrt() + 1e-8))


class Clock:
    """Training time, without that of a stopped process, and the learning rate: warm-up, then a cosine down to 2 %."""

    def __init__(self, minutes, rate, warmup=200):
        self.limit, self.rate, self.warmup = minutes * 60, rate, warmup
        self.used, self.steps, self.last = 0.0, 0, time.time()

    def tick(self):
        now = time.time()
        self.used += min(now - self.last, 60.0)
        self.last = now
        self.steps += 1

    @property
    def progress(self):
        return self.used / self.limit

    def current_rate(self):
        cosine = 0.5 * (1 + math.cos(math.pi * min(self.progress, 1)))
        return self.rate * min(1, (self.steps + 1) / self.warmup) * (0.02 + 0.98 * cosine)


def save(path, state):
    """Replaces the file at once: a process that is killed leaves the previous one."""
    torch.save(state, path + ".part")
    os.replace(path + ".part", path)


class Training:
    """A network with its optimiser, averaged weights, clock, log and checkpoint, from which it resumes."""

    def __init__(self, net, args, average=0.998, decay=0.01):
        self.net, self.checkpoint = net, os.path.join(args.out, "checkpoint.pt")
        self.parameters = [p for p in net.parameters() if p.requires_grad]
        named = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
        self.optimiser = Muon(named, args.rate, decay=decay)
        self.average, self.clock = Average(net, average), Clock(args.minutes, args.rate)
        self.log = Log(os.path.join(args.out, "log.jsonl"))
        if os.path.exists(self.checkpoint):
            state = torch.load(self.checkpoint, weights_only=True)
            net.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average.values, self.average.steps = state["average"], state["steps"]
            self.clock.used, self.clock.steps = state["used"], state["steps"]
        # A resumed run does not repeat the samples of its beginning.
        torch.manual_seed(self.clock.steps)
        random.seed(self.clock.steps)
        self.rng = np.random.default_rng(self.clock.steps)

    def learn(self, loss, **figures):
        for group in self.optimiser.param_groups:
            group["lr"] = self.clock.current_rate()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)):
            self.optimiser.step()
        self.average.update(self.net)
        self.clock.tick()
        self.log.add(loss=loss.item(), **figures)

    def save(self, **more):
        state = {
            "model": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.values,
        }
        save(self.checkpoint, state | {"steps": self.clock.steps, "used": self.clock.used} | more)

    def run(self, step, save, save_every):
        """Calls `step` until the time is used, and `save` every `save_every` steps and at the end."""
        while self.clock.progress < 1:
            step()
            if self.clock.steps % 50 == 0:
                self.log.write(step=self.clock.steps, minutes=round(self.clock.used / 60, 1))
            if self.clock.steps % save_every == 0:
                save()
        save()


class Log:
    """Running means of named figures, printed and appended to a file as JSON lines."""

    def __init__(self, path):
        self.path, self.sums, self.counts = path, {}, {}

    def add(self, **figures):
        for name, value in figures.items():
            if value == value:
                self.sums[name] = self.sums.get(name, 0.0) + float(value)
                self.counts[name] = self.counts.get(name, 0) + 1

    def write(self, **facts):
        line = facts | {name: round(total / self.counts[name], 5) for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        print(json.dumps(line), flush=True)
        with open(self.path, "a", encoding="utf-8") as file:
            print(json.dumps(line), file=file)


def options(description, minutes, batch, rate):
    """A parser with the options of all trainers, and these defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, nargs="+", help="folders of shards")
    parser.add_argument("--out", required=True, help="folder of the checkpoint, the log and what is exported")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=rate)
    parser.add_argument("--save-every", type=int, default=200, help="steps")
    return parser


def launch(trainer, args):
    """Trains with `trainer`, a class with the methods `step` and `save` and an attribute `training`."""
    os.makedirs(args.out, exist_ok=True)
    made = trainer(args)
    made.training.run(made.step, made.save, args.save_every)
