"""Converts the published TensorFlow.js graph of MoveNet Lightning.

    python models/convert/movenet.py movenet-lightning.json models/networks/movenet/model.safetensors

Weights keep their half precision; kernels are `[out, in, height, width]`, as torch has them. What the graph works out
after its four heads has no weights that count: it is in `core/src/preprocess/pose/decode.rs`.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

EXTRACTOR = "StatefulPartitionedCall/center_net_mobile_net_v2fpn_feature_extractor/model_1/"
HEADS = {"center_0": (3, 4), "kpt_heatmap_0": (4, 5), "kpt_regress_0": (5, 6), "kpt_offset_0": (6, 7)}
NAMES = {"center_0": "center", "kpt_heatmap_0": "heatmap", "kpt_regress_0": "regress", "kpt_offset_0": "offset"}


def read(path):
    """All weights of a graph model by name."""
    graph = json.loads(Path(path).read_text())
    raw, place, weights = Path(path).with_suffix(".bin").read_bytes(), 0, {}
    for group in graph["weightsManifest"]:
        for spec in group["weights"]:
            dtype = np.dtype(spec["quantization"]["dtype"] if "quantization" in spec else spec["dtype"])
            count = int(np.prod(spec["shape"]))
            weights[spec["name"]] = np.frombuffer(raw, dtype, count, place).reshape(spec["shape"])
            place += count * dtype.itemsize
    assert place == len(raw)
    return weights


def kernel(value):
    return torch.from_numpy(value.copy()).permute(3, 2, 0, 1).contiguous()


def depthwise(value):
    return torch.from_numpy(value.copy()).permute(2, 3, 0, 1).contiguous()


def convert(weights):
    out = {}

    def layer(name, weight, bias=None, turn=kernel):
        out[f"{name}.weight"] = turn(weights[weight])
        if bias:
            out[f"{name}.bias"] = torch.from_numpy(weights[bias].copy())

    def folded(name, source, turn=kernel, kind="Conv2D"):
        layer(name, f"{source}/{kind}_weights", f"{source}/{kind}_bn_offset", turn)

    backbone = f"{EXTRACTOR}model/"
    folded("stem", f"{backbone}Conv1")
    for block in range(17):
        source = f"{backbone}block_{block}_" if block else f"{backbone}expanded_conv_"
        if block:
            folded(f"blocks.{block}.expand", f"{source}expand")
        folded(f"blocks.{block}.depthwise", f"{source}depthwise", depthwise, "depthwise")
        folded(f"blocks.{block}.project", f"{source}project")
    folded("top", f"{backbone}Conv_1")
    for level, number in enumerate(["", "_1", "_2", "_3"]):
        source = f"{EXTRACTOR}conv2d{number}"
        layer(f"lateral.{level}", f"{source}/Conv2D/ReadVariableOp", f"{source}/BiasAdd/ReadVariableOp")
    for level, number in enumerate(["", "_1", "_2"]):
        source = f"{EXTRACTOR}separable_conv2d{number}/separable_conv2d"
        layer(f"smooth.{level}.depthwise", f"{source}/ReadVariableOp", turn=depthwise)
        layer(f"smooth.{level}.pointwise", f"{source}_weights", f"{source}_bn_offset")
    for head, (separable, last) in HEADS.items():
        source, name = f"StatefulPartitionedCall/{head}/", NAMES[head]
        inner = f"{source}separable_conv2d_{separable}"
        layer(f"{name}.depthwise", f"{inner}/separable_conv2d/ReadVariableOp", turn=depthwise)
        layer(f"{name}.pointwise", f"{inner}/separable_conv2d/ReadVariableOp_1", f"{inner}/BiasAdd/ReadVariableOp")
        inner = f"{source}conv2d_{last}"
        layer(f"{name}.out", f"{inner}/Conv2D/ReadVariableOp", f"{inner}/BiasAdd/ReadVariableOp")
    used = sum(value.numel() for value in out.values())
    left = sum(value.size for name, value in weights.items() if value.ndim == 4 and not re.search("Reshape|truediv", name))
    assert used >= left, (used, left)
    return out


if __name__ == "__main__":
    save_file(convert(read(sys.argv[1])), sys.argv[2], metadata={"format": "pt"})
