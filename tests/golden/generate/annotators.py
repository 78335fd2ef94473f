"""Writes tiny random networks of processors in the layouts that are published, and what torch makes of them.

    python tests/golden/generate/annotators.py PERSON.png MOVENET.json

Needs torch, torchvision, transformers, safetensors and pillow. PERSON.png is a picture of 512x512 with a person (the first frame of
`signing-person-512.mp4` was taken, (c) Intel Corporation, CC BY 4.0, github.com/intel-iot-devkit/sample-videos);
MOVENET.json is the TensorFlow.js graph that `models/convert/movenet.py` converts. Pictures and maps are channels-last.
Weights are stored in half precision, and the goldens made in single precision from the stored values.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.utils import flow_to_image
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

ROOT = Path(__file__).parents[1] / "annotators"
MODELS = Path(__file__).parents[3] / "models" / "networks"
SEED = 20240819
GOLDEN = {}


def randomise(module):
    for name, value in module.named_parameters():
        with torch.no_grad():
            if "norm" in name and name.endswith("weight"):
                value.copy_(1 + 0.2 * torch.randn_like(value))
            elif name.endswith(("bias", "norm")):
                value.copy_(0.1 * torch.randn_like(value))
            elif "lambda" in name:
                value.copy_(0.5 + 0.2 * torch.randn_like(value))
            else:
                value.copy_(torch.randn_like(value) * 1.2 / max(value[0].numel(), 1) ** 0.5)
            value.copy_(value.half().float())
    return module.eval()


def save(state, *place):
    path = ROOT.joinpath("models", *place)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.half().contiguous() for name, value in state.items()}, path, metadata={"format": "pt"})


def last(x):
    return x[0].permute(1, 2, 0).contiguous()


def picture(height, width):
    """Smooth, in 0..1, and exact in half precision; with one dimension for the batch."""
    x = F.interpolate(torch.rand(1, 3, 6, 6), size=(height, width), mode="bicubic").clamp(0, 1)
    return x.half().float()


class Block(nn.Module):
    def __init__(self, c_in, c, layers):
        super().__init__()
        self.convs = nn.Sequential(*[nn.Conv2d(c_in if i == 0 else c, c, 3, padding=1) for i in range(layers)])
        self.projection = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        for conv in self.convs:
            x = F.relu(conv(x))
        return x, self.projection(x)


class Hed(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.Parameter(torch.zeros(1, 3, 1, 1))
        for i, (c_in, c, layers) in enumerate(zip((3, *channels), channels, (2, 2, 3, 3, 3))):
            setattr(self, f"block{i + 1}", Block(c_in, c, layers))

    def forward(self, x):
        size, sides = x.shape[2:], []
        x = x * 255 - self.norm
        for i in range(5):
            x, side = getattr(self, f"block{i + 1}")(F.max_pool2d(x, 2) if i else x)
            sides.append(F.interpolate(side, size=size, mode="bilinear"))
        return torch.sigmoid(torch.cat(sides).mean(0, keepdim=True))


def hed():
    net = randomise(Hed((4, 4, 8, 8, 8)))
    with torch.no_grad():
        net.norm.copy_(torch.tensor([120.0, 110.0, 100.0]).view(1, 3, 1, 1))
        net.block1.convs[0].weight.div_(64)
        net.block1.convs[0].weight.copy_(net.block1.convs[0].weight.half().float())
    save(net.state_dict(), "lllyasviel", "Annotators", "ControlNetHED.safetensors")
    x = picture(32, 48)
    GOLDEN["hed.picture"], GOLDEN["hed.map"] = last(x), last(net(x))


class Residual(nn.Module):
    def __init__(self, c):
        super().__init__()
        half = lambda: [nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), nn.InstanceNorm2d(c)]
        self.conv_block = nn.Sequential(*half(), nn.ReLU(), *half())

    def forward(self, x):
        return x + self.conv_block(x)


class Lineart(nn.Module):
    def __init__(self, c):
        super().__init__()
        norm = lambda c: [nn.InstanceNorm2d(c), nn.ReLU()]
        down = lambda c: [nn.Conv2d(c, 2 * c, 3, stride=2, padding=1), *norm(2 * c)]
        up = lambda c: [nn.ConvTranspose2d(c, c // 2, 3, stride=2, padding=1, output_padding=1), *norm(c // 2)]
        self.model0 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(3, c, 7), *norm(c))
        self.model1 = nn.Sequential(*down(c), *down(2 * c))
        self.model2 = nn.Sequential(*[Residual(4 * c) for _ in range(3)])
        self.model3 = nn.Sequential(*up(4 * c), *up(2 * c))
        self.model4 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(c, 1, 7), nn.Sigmoid())

    def forward(self, x):
        return self.model4(self.model3(self.model2(self.model1(self.model0(x)))))


def lineart():
    x = picture(32, 40)
    GOLDEN["lineart.picture"] = last(x)
    for name, file in (("fine", "sk_model"), ("coarse", "sk_model2")):
        net = randomise(Lineart(2))
        save(net.state_dict(), "lllyasviel", "Annotators", f"{file}.safetensors")
        GOLDEN[f"lineart.{name}"] = last(1 - net(x))


AUTHORS = [
    ("backbone.embeddings.patch_embeddings.projection", "pretrained.patch_embed.proj"),
    ("backbone.embeddings.position_embeddings", "pretrained.pos_embed"),
    ("backbone.embeddings.cls_token", "pretrained.cls_token"),
    ("backbone.encoder.layer.", "pretrained.blocks."),
    ("backbone.layernorm", "pretrained.norm"),
    ("attention.output.dense", "attn.proj"),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("head.conv1", "depth_head.scratch.output_conv1"),
    ("head.conv2", "depth_head.scratch.output_conv2.0"),
    ("head.conv3", "depth_head.scratch.output_conv2.2"),
]
for i in range(4):
    AUTHORS += [
        (f"neck.reassemble_stage.layers.{i}.projection", f"depth_head.projects.{i}"),
        (f"neck.reassemble_stage.layers.{i}.resize", f"depth_head.resize_layers.{i}"),
        (f"neck.convs.{i}", f"depth_head.scratch.layer{i + 1}_rn"),
        (f"neck.fusion_stage.layers.{3 - i}.residual_layer1.convolution", f"depth_head.scratch.refinenet{i + 1}.resConfUnit1.conv"),
        (f"neck.fusion_stage.layers.{3 - i}.residual_layer2.convolution", f"depth_head.scratch.refinenet{i + 1}.resConfUnit2.conv"),
        (f"neck.fusion_stage.layers.{3 - i}.projection", f"depth_head.scratch.refinenet{i + 1}.out_conv"),
    ]


def as_published(state):
    """Newer libraries have other names in memory than files do."""
    names = {"q_proj": "attention.query", "k_proj": "attention.key", "v_proj": "attention.value", "o_proj": "output.dense"}
    out = {}
    for name, value in state.items():
        for ours, theirs in names.items():
            name = name.replace(f"attention.{ours}", f"attention.{theirs}")
        out[name] = value
    return out


def as_authors(state):
    """The same weights as the authors name and join them."""
    state, out = dict(state), {}
    for name in [name for name in state if ".attention.attention.query." in name]:
        parts = [state.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        state[name.replace("attention.attention.query", "attn.qkv")] = torch.cat(parts)
    for name, value in state.items():
        for theirs, authors in AUTHORS:
            name = name.replace(theirs, authors)
        out[name] = value
    return out


def depth():
    config = DepthAnythingConfig(
        backbone_config=Dinov2Config(
            hidden_size=16, num_hidden_layers=4, num_attention_heads=1, image_size=42, patch_size=14, mlp_ratio=4,
            out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False, apply_layernorm=True,
        ),
        reassemble_hidden_size=16, neck_hidden_sizes=[4, 4, 8, 8], fusion_hidden_size=4, head_hidden_size=4,
    )
    net = randomise(DepthAnythingForDepthEstimation(config))
    state = as_published({name: value for name, value in net.state_dict().items() if "mask_token" not in name})
    save(state, "depth-anything", "Depth-Anything-V2-Small-hf", "model.safetensors")
    save(as_authors(state), "authors", "depth", "model.safetensors")
    x = picture(28, 42)
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    found = net((x - mean) / std).predicted_depth[0]
    found = (found - found.min()) / (found.max() - found.min())
    GOLDEN["depth.picture"], GOLDEN["depth.map"] = last(x), found[..., None].contiguous()


class Dense(nn.Module):
    def __init__(self, c, growth):
        super().__init__()
        for i in range(5):
            setattr(self, f"conv{i + 1}", nn.Conv2d(c + i * growth, c if i == 4 else growth, 3, padding=1))

    def forward(self, x):
        seen = [x]
        for i in range(4):
            seen.append(F.leaky_relu(getattr(self, f"conv{i + 1}")(torch.cat(seen, 1)), 0.2))
        return self.conv5(torch.cat(seen, 1)) * 0.2 + x


class Triple(nn.Module):
    def __init__(self, c, growth):
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (Dense(c, growth) for _ in range(3))

    def forward(self, x):
        return self.rdb3(self.rdb2(self.rdb1(x))) * 0.2 + x


class Upscaler(nn.Module):
    def __init__(self, c, growth, blocks):
        super().__init__()
        conv = lambda c_in, c_out: nn.Conv2d(c_in, c_out, 3, padding=1)
        self.conv_first, self.body = conv(12, c), nn.Sequential(*[Triple(c, growth) for _ in range(blocks)])
        self.conv_body, self.conv_up1, self.conv_up2 = conv(c, c), conv(c, c), conv(c, c)
        self.conv_hr, self.conv_last = conv(c, c), conv(c, 3)

    def forward(self, x):
        x = self.conv_first(F.pixel_unshuffle(x, 2))
        x = x + self.conv_body(self.body(x))
        for up in (self.conv_up1, self.conv_up2):
            x = F.leaky_relu(up(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
        return self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2))


def upscaler():
    net = randomise(Upscaler(8, 4, 2))
    save(net.state_dict(), "xinntao", "Real-ESRGAN", "RealESRGAN_x2plus.safetensors")
    x = picture(10, 14)
    GOLDEN["upscaler.picture"], GOLDEN["upscaler.enlarged"] = last(x), last(net(x).clamp(0, 1))


def tin(person):
    """The edge network in the binary, whose weights are those that it was published with."""
    w = {name: value.float() for name, value in load_file(MODELS / "edges" / "model.safetensors").items()}

    def conv(name, x, step=1):
        weight = w[f"{name}.weight"]
        return F.conv2d(x, weight, w[f"{name}.bias"], padding=weight.shape[-1] // 2 * step, dilation=step)

    def enrich(name, x):
        near = F.relu(conv(f"{name}.conv", x))
        return near + sum(F.relu(conv(f"{name}.conv{i}", near, 4 * i)) for i in range(1, 5))

    def stage(number, x):
        one = F.relu(conv(f"conv{number}_1", x))
        two = F.relu(conv(f"conv{number}_2", one))
        seen = [conv(f"conv{number}_{i}_down", enrich(f"em{number}_{i}", x)) for i, x in ((1, one), (2, two))]
        return conv(f"score_stage{number}", seen[0] + seen[1]), two

    x = F.interpolate(person[:, :, 60:252, 160:352], size=(50, 64), mode="area").half().float()
    first, inner = stage(1, x * 255)
    second, _ = stage(2, F.max_pool2d(inner, 2, ceil_mode=True))
    second = F.interpolate(second, size=x.shape[2:], mode="bilinear", align_corners=True)
    edges = torch.sigmoid(conv("score_final", torch.cat([first, second], 1)))
    GOLDEN["edges.picture"], GOLDEN["edges.map"] = last(x), last(edges)


class Graph:
    """Just as much of TensorFlow as the pose graph asks for; all values channels-last."""

    def __init__(self, path):
        graph = json.loads(Path(path).read_text())
        self.nodes = {node["name"]: node for node in graph["modelTopology"]["node"]}
        raw, place, self.values = Path(path).with_suffix(".bin").read_bytes(), 0, {}
        for group in graph["weightsManifest"]:
            for spec in group["weights"]:
                dtype = np.dtype(spec["quantization"]["dtype"] if "quantization" in spec else spec["dtype"])
                count = int(np.prod(spec["shape"]))
                value = np.frombuffer(raw, dtype, count, place).reshape(spec["shape"])
                self.values[spec["name"]] = value.astype(np.float32 if dtype.kind == "f" else np.int64)
                place += count * dtype.itemsize

    def get(self, name):
        name, _, part = name.partition(":")
        if name not in self.values:
            node = self.nodes[name]
            inputs = [self.get(x) for x in node["input"]]
            self.values[name] = getattr(self, node["op"].lstrip("_"))(Attributes(node.get("attr", {})), *inputs)
        value = self.values[name]
        return value[int(part or 0)] if isinstance(value, list) else value

    def conv(self, a, x, weight, bias, depthwise):
        stride, size = int(a.list("strides")[1]), weight.shape[0]
        missing = [max((-(-n // stride) - 1) * stride + size - n, 0) if a.text("padding") == "SAME" else 0 for n in x.shape[1:3]]
        x = F.pad(torch.from_numpy(x).permute(0, 3, 1, 2), [y for n in reversed(missing) for y in (n // 2, n - n // 2)])
        weight = torch.from_numpy(weight).permute(*((2, 3, 0, 1) if depthwise else (3, 2, 0, 1)))
        bias = None if bias is None else torch.from_numpy(bias)
        x = F.conv2d(x, weight, bias, stride=stride, groups=weight.shape[0] if depthwise else 1)
        fused = [] if bias is None else a.texts("fused_ops")
        x = F.relu6(x) if "Relu6" in fused else F.relu(x) if "Relu" in fused else x
        return x.permute(0, 2, 3, 1).numpy()

    def FusedConv2D(self, a, x, weight, bias):
        return self.conv(a, x, weight, bias, False)

    def FusedDepthwiseConv2dNative(self, a, x, weight, bias):
        return self.conv(a, x, weight, bias, True)

    def DepthwiseConv2dNative(self, a, x, weight):
        return self.conv(a, x, weight, None, True)

    def ResizeBilinear(self, a, x, size):
        x = F.interpolate(torch.from_numpy(x).permute(0, 3, 1, 2), size=tuple(size), mode="bilinear")
        return x.permute(0, 2, 3, 1).numpy()

    def Cast(self, a, x):
        return x.astype(np.float32)

    def Unpack(self, a, x):
        axis = a.number("axis")
        return [part.squeeze(axis) for part in np.split(x, x.shape[axis], axis)]

    def Pack(self, a, *xs):
        return np.stack(xs, a.number("axis"))

    def ConcatV2(self, a, *xs):
        return np.concatenate(xs[:-1], int(xs[-1]))

    def GatherNd(self, a, x, places):
        return x[tuple(np.moveaxis(places.astype(np.int64), -1, 0))]

    ExpandDims = lambda self, a, x, axis: np.expand_dims(x, int(axis))
    Squeeze = lambda self, a, x: x.squeeze(0)
    Sub = lambda self, a, x, y: x - y
    Mul = lambda self, a, x, y: x * y
    AddV2 = lambda self, a, x, y: x + y
    RealDiv = lambda self, a, x, y: x / y
    FloorDiv = lambda self, a, x, y: x // y
    SquaredDifference = lambda self, a, x, y: (x - y) ** 2
    Sqrt = lambda self, a, x: np.sqrt(x)
    Sigmoid = lambda self, a, x: 1 / (1 + np.exp(-x))
    Reshape = lambda self, a, x, shape: x.reshape(tuple(shape))
    ArgMax = lambda self, a, x, axis: x.argmax(int(axis))
    Identity = lambda self, a, x: x


class Attributes:
    def __init__(self, raw):
        self.raw = raw

    def text(self, name):
        import base64

        return base64.b64decode(self.raw[name]["s"]).decode()

    def texts(self, name):
        import base64

        return [base64.b64decode(x).decode() for x in self.raw[name]["list"]["s"]]

    def list(self, name):
        return self.raw[name]["list"]["i"]

    def number(self, name):
        return int(self.raw.get(name, {}).get("i", 0))


def movenet(person, path):
    x = F.interpolate(person, size=(96, 96), mode="area").half().float()
    large = F.interpolate(x, scale_factor=2, mode="nearest")
    graph = Graph(path)
    graph.values["input"] = (large * 255).permute(0, 2, 3, 1).numpy()
    joints = graph.get("Identity")[0, 0]
    print(joints.round(3))
    GOLDEN["pose.picture"], GOLDEN["pose.joints"] = last(x), torch.from_numpy(joints.copy())


def wheel():
    flow = torch.randn(2, 9, 11) * 3
    flow[:, 4, 5] = 0
    GOLDEN["flow.vectors"] = flow.permute(1, 2, 0).contiguous()
    GOLDEN["flow.colours"] = flow_to_image(flow).permute(1, 2, 0).float() / 255


def main():
    torch.manual_seed(SEED)
    person = torch.from_numpy(np.asarray(Image.open(sys.argv[1]).convert("RGB")).copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        hed(), lineart(), depth(), upscaler(), tin(person), movenet(person, sys.argv[2]), wheel()
    half = {name for name in GOLDEN if name.endswith(".picture")}
    save_file({k: (v.half() if k in half else v.float()).contiguous() for k, v in GOLDEN.items()}, ROOT / "golden.safetensors")


if __name__ == "__main__":
    main()
