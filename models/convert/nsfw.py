"""Converts the published TensorFlow.js layers of nsfwjs' MobileNetV2 classifier.

    python models/convert/nsfw.py model.json models/networks/nsfw/model.safetensors

Kernels keep their eight bits, as `[out, in, height, width]`; each has a `range` (the step and the least number that its
bytes stand for), a `factor` for each output channel, and a `bias`: the batch norm that follows it, folded. A weight is
`(least + step * byte) * factor`.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

BN_EPS = 1e-3


def read(path):
    """All tensors by name: their bytes with the step and the least number of each."""
    path = Path(path)
    groups = json.loads(path.read_text())["weightsManifest"]
    raw = b"".join(path.with_name(name).read_bytes() for group in groups for name in group["paths"])
    place, tensors = 0, {}
    for spec in [spec for group in groups for spec in group["weights"]]:
        quantised, count = spec["quantization"], int(np.prod(spec["shape"]))
        assert quantised["dtype"] == "uint8", spec
        data = np.frombuffer(raw, np.uint8, count, place).reshape(spec["shape"])
        tensors[spec["name"]] = data, np.float32([quantised["scale"], quantised["min"]])
        place += count
    assert place == len(raw)
    return tensors


def numbers(tensor):
    data, (step, least) = tensor
    return data.astype(np.float32) * step + least


def convert(tensors):
    out, left = {}, set(tensors)

    def take(name):
        left.discard(name)
        return tensors[name]

    def layer(name, kernel, axes, factor, bias):
        data, limits = take(kernel)
        out[f"{name}.weight"], out[f"{name}.range"] = np.ascontiguousarray(data.transpose(axes)), limits
        out[f"{name}.factor"], out[f"{name}.bias"] = factor.astype(np.float32), bias.astype(np.float32)

    def folded(name, source, norm, depthwise=False):
        gamma, beta, mean, variance = (
            numbers(take(f"{norm}/{part}")).astype(np.float64)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        factor = gamma / np.sqrt(variance + BN_EPS)
        kernel, axes = ("depthwise_kernel", (2, 3, 0, 1)) if depthwise else ("kernel", (3, 2, 0, 1))
        layer(name, f"{source}/{kernel}", axes, factor, beta - mean * factor)

    folded("stem", "Conv1", "bn_Conv1")
    for block in range(17):
        source = f"block_{block}_" if block else "expanded_conv_"
        for part in ("expand", "depthwise", "project") if block else ("depthwise", "project"):
            folded(f"blocks.{block}.{part}", f"{source}{part}", f"{source}{part}_BN", part == "depthwise")
    folded("top", "Conv_1", "Conv_1_bn")
    for i in range(3):
        bias = numbers(take(f"dense_{i + 1}/bias"))
        layer(f"dense.{i}", f"dense_{i + 1}/kernel", (1, 0), np.ones_like(bias), bias)
    assert not left, left
    return out


if __name__ == "__main__":
    save_file(convert(read(sys.argv[1])), sys.argv[2], metadata={"format": "pt"})
