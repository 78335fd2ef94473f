"""Writes the results of nsfwjs' classifier for a few pictures, layer by layer as in its TensorFlow.js file.

    python tests/golden/generate/nsfw.py MODEL.json [PICTURES.json]

Needs torch and safetensors. MODEL.json is the file that `models/convert/nsfw.py` converts, with its weights beside it. The
pictures have a byte for each of red, green and blue; one is that of `annotators.py`. PICTURES.json, if named, gets them
for a run of TensorFlow.js itself, which was at most 5e-6 apart.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parents[1]
SEED = 20240819


def read(path):
    """The layers in order, and all weights by name, each out of its bytes."""
    model = json.loads(path.read_text())
    raw, place, weights = path.with_name("group1-shard1of1").read_bytes(), 0, {}
    for spec in model["weightsManifest"][0]["weights"]:
        count, stored = int(np.prod(spec["shape"])), spec["quantization"]
        data = torch.frombuffer(bytearray(raw[place : place + count]), dtype=torch.uint8).reshape(spec["shape"])
        weights[spec["name"]] = data.float() * np.float32(stored["scale"]) + np.float32(stored["min"])
        place += count
    return model["modelTopology"]["model_config"]["config"]["layers"], weights


def layer(kind, config, weights, xs):
    """One layer of Keras over `[1, channels, height, width]`."""
    x, name = xs[0], config["name"]
    if kind == "ZeroPadding2D":
        (top, bottom), (left, right) = config["padding"]
        return F.pad(x, (left, right, top, bottom))
    if kind in ("Conv2D", "DepthwiseConv2D"):
        depthwise = kind == "DepthwiseConv2D"
        kernel = weights[f"{name}/{'depthwise_kernel' if depthwise else 'kernel'}"]
        kernel = kernel.permute(*((2, 3, 0, 1) if depthwise else (3, 2, 0, 1)))
        stride, side = config["strides"][0], kernel.shape[2]
        assert config["padding"] == "valid" or stride == 1
        padding = side // 2 if config["padding"] == "same" else 0
        return F.conv2d(x, kernel, stride=stride, padding=padding, groups=x.shape[1] if depthwise else 1)
    if kind == "BatchNormalization":
        mean, variance, gamma, beta = (
            weights[f"{name}/{part}"] for part in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return F.batch_norm(x, mean, variance, gamma, beta, eps=config["epsilon"])
    if kind == "ReLU":
        return x.clamp(0, config["max_value"])
    if kind == "Add":
        return xs[0] + xs[1]
    if kind == "AveragePooling2D":
        return F.avg_pool2d(x, config["pool_size"], config["strides"])
    if kind == "Flatten":
        return x.permute(0, 2, 3, 1).flatten(1)
    if kind == "Dense":
        x = x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]
        return {"relu": F.relu, "softmax": lambda x: x.softmax(1)}[config["activation"]](x)
    assert kind == "Dropout", kind
    return x


def classify(layers, weights, picture):
    """`[height, width, 3]` in 0..255; the input as nsfwjs makes it."""
    x = F.interpolate((picture / 255).permute(2, 0, 1)[None], size=(224, 224), mode="bilinear", align_corners=True)
    values = {layers[0]["name"]: x}
    for one in layers[1:]:
        inputs = [values[node[0]] for node in one["inbound_nodes"][0]]
        values[one["name"]] = layer(one["class_name"], one["config"], weights, inputs)
    return values[layers[-1]["name"]][0]


def pictures():
    torch.manual_seed(SEED)
    person = load_file(ROOT / "annotators/golden.safetensors")["pose.picture"].float()
    smooth = F.interpolate(torch.rand(1, 3, 5, 9), size=(20, 320), mode="bicubic")[0].permute(1, 2, 0)
    stripes = torch.rand(6, 1, 3).repeat_interleave(10, 0).expand(60, 40, 3) * torch.rand(1, 40, 1).round()
    return [(picture.clamp(0, 1) * 255).round() for picture in (person, smooth, stripes)]


def main():
    layers, weights = read(Path(sys.argv[1]))
    golden, shown = {}, pictures()
    with torch.no_grad():
        probabilities = torch.stack([classify(layers, weights, picture) for picture in shown])
    print(probabilities)
    for i, picture in enumerate(shown):
        golden[f"pictures.{i}"] = picture.half()
    golden["probabilities"] = probabilities
    folder = ROOT / "nsfw"
    folder.mkdir(exist_ok=True)
    save_file({name: value.contiguous() for name, value in golden.items()}, folder / "golden.safetensors")
    if len(sys.argv) > 2:
        listed = [{"h": p.shape[0], "w": p.shape[1], "data": p.flatten().int().tolist()} for p in shown]
        Path(sys.argv[2]).write_text(json.dumps(listed))


if __name__ == "__main__":
    main()
