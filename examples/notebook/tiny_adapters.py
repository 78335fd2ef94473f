"""Writes a ControlNet, a LoRA and an IP-Adapter that fit the demo model.

None of them was trained: their weights are random, apart from the ControlNet's copy of the demo model's first half.
They show how adapters are used, not what trained ones do.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEMO = Path(__file__).resolve().parents[2] / "models" / "demo" / "dreamframe-tiny"
TEXT = 128
"""Numbers of a token of the demo model's text encoder."""
ATTENTIONS = [96, 96, 96, 64, 64, 96]
"""Channels of the UNet's cross-attention layers: down, up, middle."""

Tensors = dict[str, tuple[str, list[int], bytes]]
"""The type, shape and bytes of tensors, by name."""


def read(path: Path) -> Tensors:
    """Reads a safetensors file: the length of its header, the header in JSON, the bytes of the tensors."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8:begin])
    header.pop("__metadata__", None)
    tensors: Tensors = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        tensors[name] = (entry["dtype"], entry["shape"], data[begin + first : begin + last])
    return tensors


def write(path: Path, tensors: Tensors) -> None:
    """Writes a safetensors file."""
    header: dict[str, Any] = {}
    end = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values()))


class Random:
    """Makes random tensors."""

    def __init__(self, seed: int) -> None:
        self._numbers = np.random.default_rng(seed)
        self.tensors: Tensors = {}

    def add(self, name: str, *shape: int, scale: float = 1.0) -> None:
        """Adds a weight whose layer keeps the size of its inputs, times `scale`."""
        inputs = max(1, int(np.prod(shape[1:])))
        self.put(name, self._numbers.normal(0.0, scale / np.sqrt(inputs), shape))

    def layer(self, name: str, *shape: int, scale: float = 1.0) -> None:
        """Adds a layer: a weight, and a bias of zeros."""
        self.add(f"{name}.weight", *shape, scale=scale)
        self.put(f"{name}.bias", np.zeros(shape[0]))

    def norm(self, name: str, width: int) -> None:
        """Adds a normalization that changes nothing else."""
        self.put(f"{name}.weight", np.ones(width))
        self.put(f"{name}.bias", np.zeros(width))

    def put(self, name: str, values: NDArray[Any]) -> None:
        """Adds these numbers."""
        self.tensors[name] = ("F32", list(values.shape), values.astype("<f4").tobytes())


def write_controlnet(folder: Path) -> None:
    """Writes a ControlNet in diffusers' layout, as before training, but with random last layers instead of zeros."""
    random = Random(1)
    halves = ("conv_in.", "time_embedding.", "down_blocks.", "mid_block.")
    unet = read(DEMO / "unet" / "diffusion_pytorch_model.safetensors")
    random.tensors.update({name: tensor for name, tensor in unet.items() if name.startswith(halves)})
    embedding = [8, 16, 32, 32]
    random.layer("controlnet_cond_embedding.conv_in", embedding[0], 3, 3, 3, scale=3.0)
    for index, (inputs, outputs) in enumerate(zip(embedding, embedding[1:], strict=False)):
        random.layer(f"controlnet_cond_embedding.blocks.{2 * index}", inputs, inputs, 3, 3, scale=3.0)
        random.layer(f"controlnet_cond_embedding.blocks.{2 * index + 1}", outputs, inputs, 3, 3, scale=3.0)
    random.layer("controlnet_cond_embedding.conv_out", 64, embedding[-1], 3, 3, scale=3.0)
    for index, channels in enumerate([64, 64, 64, 96]):
        random.layer(f"controlnet_down_blocks.{index}", channels, channels, 1, 1, scale=0.25)
    random.layer("controlnet_mid_block", 96, 96, 1, 1, scale=0.25)
    write(folder / "diffusion_pytorch_model.safetensors", random.tensors)
    config = json.loads((DEMO / "unet" / "config.json").read_text())
    config.update(_class_name="ControlNetModel", conditioning_embedding_out_channels=embedding)
    (folder / "config.json").write_text(json.dumps(config))


def write_lora(path: Path) -> None:
    """Writes a LoRA of rank 2, with kohya's names, for the attention layers in the middle of the UNet."""
    random = Random(2)
    middle = "lora_unet_mid_block_attentions_0_transformer_blocks_0"
    for layer, inputs in [("attn1_to_v", 96), ("attn1_to_out_0", 96), ("attn2_to_v", TEXT), ("attn2_to_out_0", 96)]:
        random.add(f"{middle}_{layer}.lora_down.weight", 2, inputs, scale=2.0)
        random.add(f"{middle}_{layer}.lora_up.weight", 96, 2, scale=2.0)
    write(path, random.tensors)


def write_ip_adapter(folder: Path) -> None:
    """Writes an IP-Adapter for SD 1.5 and its image encoder, in the published one's layout."""
    random = Random(3)
    features = 24
    random.layer("image_proj.proj", 4 * TEXT, features)
    random.norm("image_proj.norm", TEXT)
    for index, channels in enumerate(ATTENTIONS):
        random.add(f"ip_adapter.{2 * index + 1}.to_k_ip.weight", channels, TEXT, scale=2.0)
        random.add(f"ip_adapter.{2 * index + 1}.to_v_ip.weight", channels, TEXT, scale=10.0)
    write(folder / "ip-adapter_sd15.safetensors", random.tensors)
    write_image_encoder(folder / "image_encoder", features)


def write_image_encoder(folder: Path, features: int) -> None:
    """Writes a CLIP image encoder of two layers for 16x16 pixels."""
    width, inner, layers, patch, side = 32, 48, 2, 4, 16
    random = Random(4)
    random.add("vision_model.embeddings.class_embedding", width)
    random.add("vision_model.embeddings.patch_embedding.weight", width, 3, patch, patch)
    random.add("vision_model.embeddings.position_embedding.weight", (side // patch) ** 2 + 1, width)
    random.norm("vision_model.pre_layrnorm", width)
    for index in range(layers):
        layer = f"vision_model.encoder.layers.{index}"
        random.norm(f"{layer}.layer_norm1", width)
        random.norm(f"{layer}.layer_norm2", width)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            random.layer(f"{layer}.self_attn.{part}", width, width)
        random.layer(f"{layer}.mlp.fc1", inner, width)
        random.layer(f"{layer}.mlp.fc2", width, inner)
    random.norm("vision_model.post_layernorm", width)
    random.add("visual_projection.weight", features, width)
    write(folder / "model.safetensors", random.tensors)
    config = {
        "architectures": ["CLIPVisionModelWithProjection"],
        "hidden_act": "gelu",
        "hidden_size": width,
        "image_size": side,
        "intermediate_size": inner,
        "num_attention_heads": 4,
        "num_hidden_layers": layers,
        "patch_size": patch,
        "projection_dim": features,
    }
    (folder / "config.json").write_text(json.dumps(config))


def write_models(folder: Path) -> None:
    """Writes a folder of models: `tiny`, the demo model, `controlnet`, `lora`, and the IP-Adapter."""
    # There is no IP-Adapter for the model inside the package; a folder is taken for a model of its family, SD 1.5.
    shutil.copytree(DEMO, folder / "tiny")
    write_controlnet(folder / "controlnet")
    write_lora(folder / "lora" / "pytorch_lora_weights.safetensors")
    write_ip_adapter(folder / "h94" / "IP-Adapter" / "models")
