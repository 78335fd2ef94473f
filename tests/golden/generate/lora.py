"""Writes LoRA files in every layout that trainers have, and what the reference libraries make of them.

    python tests/golden/generate/lora.py

Needs torch, diffusers, transformers, peft and safetensors, and the checkpoints that `networks.py` writes. Each case is a
file (or PEFT's folder) under `tests/golden/lora`; `golden.safetensors` there has the outputs of the UNet and of the text
encoders once the LoRA is fused, for the inputs in the checkpoint's own golden. LoRAs are stored in half precision.
"""

import copy
import json
import platform
import shutil
from pathlib import Path

import diffusers
import peft
import torch
import transformers
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY, fuse_text_encoder_lora
from networks import ROOT, last
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection

SEED = 20240608
OUT = ROOT / "lora"

ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0"
MID = "mid_block.attentions.0.transformer_blocks.0"
SD15 = [
    "conv_in", "down_blocks.0.attentions.0.proj_in", f"{ATTENTION}.attn1.to_q", f"{ATTENTION}.attn2.to_k",
    f"{ATTENTION}.attn2.to_out.0", f"{ATTENTION}.ff.net.0.proj", f"{ATTENTION}.ff.net.2",
    "down_blocks.0.resnets.0.conv1", "down_blocks.0.downsamplers.0.conv", "down_blocks.1.resnets.0.conv_shortcut",
    "mid_block.resnets.1.time_emb_proj", f"{MID}.attn1.to_v", "up_blocks.0.upsamplers.0.conv",
    "up_blocks.1.resnets.2.conv2", "conv_out",
]
# Of the checkpoint `sdxl`, with what the original code calls them.
SDXL = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "down_blocks.0.resnets.0.conv1": "input_blocks.1.0.in_layers.2",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    "down_blocks.1.resnets.0.conv_shortcut": "input_blocks.3.0.skip_connection",
    "down_blocks.1.resnets.0.time_emb_proj": "input_blocks.3.0.emb_layers.1",
    "down_blocks.1.attentions.0.proj_in": "input_blocks.3.1.proj_in",
    "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k":
        "input_blocks.3.1.transformer_blocks.1.attn2.to_k",
    "mid_block.resnets.1.conv2": "middle_block.2.out_layers.3",
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0":
        "middle_block.1.transformer_blocks.0.attn1.to_out.0",
    "up_blocks.0.attentions.1.transformer_blocks.0.ff.net.0.proj":
        "output_blocks.1.1.transformer_blocks.0.ff.net.0.proj",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.1.2.conv",
    "up_blocks.1.resnets.0.conv1": "output_blocks.2.0.in_layers.2",
    "conv_out": "out.2",
}
TEXT = [f"text_model.encoder.layers.{layer}" for layer in ("0.self_attn.q_proj", "0.self_attn.out_proj", "1.mlp.fc1")]


class Checkpoint:
    """The networks of a tiny checkpoint, with the inputs of its golden."""

    def __init__(self, family):
        self.golden = load_file(ROOT / family / "golden.safetensors")
        self.family = family
        self.unet = UNet2DConditionModel.from_pretrained(ROOT / family / "unet")
        self.text = {}
        for name in ("text_encoder", "text_encoder_2"):
            folder = ROOT / family / name
            if folder.exists():
                projected = "WithProjection" in json.loads((folder / "config.json").read_text())["architectures"][0]
                kind = CLIPTextModelWithProjection if projected else CLIPTextModel
                self.text[name] = kind.from_pretrained(folder, dtype=torch.float32)

    def layer(self, name):
        """The linear layer or convolution called `name`: in the UNet, or behind its network's name."""
        for network, model in self.text.items():
            if name.startswith(network + "."):
                name = name.removeprefix(network + ".")
                if not hasattr(model, "text_model"):
                    name = name.removeprefix("text_model.")
                return model.get_submodule(name)
        return self.unet.get_submodule(name)

    @torch.no_grad()
    def run(self, case, golden):
        get = self.golden.get
        text_of_row = get("unet.text_of_row").long()
        added = None
        if "unet.pooled" in self.golden:
            added = dict(text_embeds=get("unet.pooled"), time_ids=get("unet.time_ids"))
        eps = self.unet(
            get("unet.sample").permute(0, 3, 1, 2), get("unet.timesteps").long(),
            encoder_hidden_states=get("unet.encoder_hidden_states")[text_of_row], added_cond_kwargs=added,
        ).sample
        self.keep(golden, f"{case}.unet.eps", last(eps), "unet.eps")
        for name, model in self.text.items():
            out = model(input_ids=get(f"{name}.input_ids").long(), output_hidden_states=True)
            self.keep(golden, f"{case}.{name}.last", out.last_hidden_state, f"{name}.last")
            if hasattr(out, "text_embeds"):
                self.keep(golden, f"{case}.{name}.pooled", out.text_embeds, f"{name}.pooled")

    def keep(self, golden, key, value, plain):
        golden[key] = value.clone().contiguous()
        plain = self.golden[plain]
        apart = (value - plain).abs().max() / plain.abs().max()
        print(f"{key:40} {tuple(value.shape)} changed by {apart:.3f}")


def factors(layer, rank):
    """Random `down` and `up` that change a layer by about a third of what it is."""
    weight = layer.weight
    rest = weight.shape[1:]
    down = torch.randn(rank, *rest) / weight[0].numel() ** 0.5
    up = torch.randn(weight.shape[0], rank, *(1,) * (len(rest) - 1)) * 0.4 / rank**0.5
    return down.half().float(), up.half().float()


def halves(state):
    return {key: value.half().contiguous() for key, value in state.items()}


def kohya(checkpoint, names, text, rank, alpha, prefixes):
    """`names` are pairs: the layer's, and what the file calls it."""
    state = {}
    for own, written in [*names, *((name, None) for name in text)]:
        down, up = factors(checkpoint.layer(own), rank)
        if written is None:
            network, inside = own.split(".", 1)
            written = f"{prefixes[network]}.{inside}"
        else:
            written = f"lora_unet.{written}"
        flat = written.replace(".", "_")
        state |= {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up}
        # One alpha for all: of several, diffusers loses those of attentions, and gives layers without any one of another.
        state[f"{flat}.alpha"] = torch.tensor(alpha)
    return state


def old_names(name):
    """An attention's projection as who trained processors called it."""
    parts = {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out.0": "to_out", "q_proj": "to_q", "out_proj": "to_out"}
    for part, old in parts.items():
        if name.endswith(f".{part}"):
            module = name.removesuffix(f".{part}")
            return f"{module}.{old}_lora" if "self_attn" in name else f"{module}.processor.{old}_lora"
    raise ValueError(name)


def dotted(checkpoint, names, rank, write):
    """`write` gives the names of `down` and `up` for a layer's name."""
    state = {}
    for name in names:
        down, up = factors(checkpoint.layer(name), rank)
        state |= dict(zip(write(name), (down, up)))
    return state


def fuse(checkpoint, state, scale, adapter, metadata=None):
    """As `load_lora_weights` and `fuse_lora` do it."""
    xl = "text_encoder_2" in checkpoint.text
    pipeline = StableDiffusionXLPipeline if xl else StableDiffusionPipeline
    state, alphas = pipeline.lora_state_dict(dict(state), unet_config=checkpoint.unet.config)
    pipeline.load_lora_into_unet(state, alphas, checkpoint.unet, adapter_name=adapter, metadata=metadata)
    checkpoint.unet.fuse_lora(lora_scale=scale, adapter_names=[adapter])
    checkpoint.unet.unload_lora()
    for name, model in checkpoint.text.items():
        if any(key.startswith(f"{name}.") for key in state):
            pipeline.load_lora_into_text_encoder(
                state, alphas, model, prefix=name, adapter_name=adapter, metadata=metadata
            )
            fuse_text_encoder_lora(model, lora_scale=scale, adapter_names=[adapter])
            peft_layers_off(model)


def peft_layers_off(model):
    for name, module in list(model.named_modules()):
        if hasattr(module, "base_layer"):
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], module.base_layer)
    model.peft_config, model._hf_peft_config_loaded = {}, False


def write(name, state, metadata=None):
    save_file(halves(state), OUT / f"{name}.safetensors", metadata=metadata)
    return state


def with_text(names):
    return [f"text_encoder.{name}" for name in names]


def one_file_cases(golden):
    """Each case alone, at scale 0.8."""
    both = lambda middle: lambda name: tuple(f"{prefixed(name)}.{middle}.{end}.weight" for end in ("down", "up"))
    prefixed = lambda name: name if name.startswith("text_encoder") else f"unet.{name}"
    old = lambda name: tuple(f"{prefixed(old_names(name))}.{end}.weight" for end in ("down", "up"))
    peft_keys = lambda name: tuple(f"{prefixed(name)}.lora_{end}.weight" for end in ("A", "B"))
    attentions = [name for name in SD15 if ".attn" in name]
    text = with_text(TEXT)
    sd15, xl = Checkpoint("sd15"), Checkpoint("sdxl")
    te = {"text_encoder": "lora_te"}
    te12 = {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}
    text12 = [*text, *(f"text_encoder_2.{name}" for name in [*TEXT, "text_projection"])]
    metadata = {"unet.r": 2, "unet.lora_alpha": 3, "unet.target_modules": SD15, "text_encoder.r": 2,
                "text_encoder.lora_alpha": 1, "text_encoder.target_modules": [name for name in TEXT],
                "unet.alpha_pattern": {"down_blocks.0.resnets.0.conv1": 5}}
    if not hasattr(sd15.text["text_encoder"], "text_model"):
        raise SystemExit("the text encoder's layers have other names than in the metadata")
    # diffusers passes over these where they have its own names.
    plain = [name for name in SDXL if not name.startswith("add_embedding")]
    cases = {
        "processors": (sd15, dotted(sd15, [*attentions, *text[:2]], 4, old), None),
        "diffusers": (sd15, dotted(sd15, SD15, 3, both("lora")) | dotted(sd15, text, 3, both("lora_linear_layer")), None),
        "peft": (sd15, dotted(sd15, [*SD15, *text], 2, peft_keys), metadata),
        "kohya": (sd15, kohya(sd15, zip(SD15, SD15), text, 4, 2.0, te), None),
        "kohya-sdxl": (xl, kohya(xl, zip(plain, plain), text12, 2, 1.0, te12), None),
        "kohya-sdxl-original": (xl, kohya(xl, SDXL.items(), text12, 2, 3.0, te12), None),
    }
    for case, (checkpoint, state, config) in cases.items():
        header = {LORA_ADAPTER_METADATA_KEY: json.dumps(config)} if config else None
        write(case, state, header)
        fused = copy.deepcopy(checkpoint)
        fuse(fused, state, 0.8, "one", config)
        fused.run(case, golden)
    two = copy.deepcopy(sd15)
    fuse(two, cases["kohya"][1], 0.7, "one")
    fuse(two, cases["peft"][1], -0.4, "two", metadata)
    two.run("two", golden)


def peft_folder(golden):
    """What PEFT itself writes: a folder with its config."""
    checkpoint = Checkpoint("sd21")
    config = peft.LoraConfig(
        r=3, lora_alpha=2, use_rslora=True, alpha_pattern={"attn2.to_q": 4},
        target_modules=["to_q", "to_out.0", "proj_in", "conv1"],
    )
    model = peft.get_peft_model(checkpoint.unet, config)
    for name, module in model.named_modules():
        if hasattr(module, "lora_A"):
            down, up = factors(module.base_layer, 3)
            module.lora_A["default"].weight.data.copy_(down)
            module.lora_B["default"].weight.data.copy_(up)
    folder = OUT / "peft-folder"
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    file = folder / "adapter_model.safetensors"
    save_file(halves(load_file(file)), file)
    # Its own scale, which is 1.
    checkpoint.unet = model.merge_and_unload()
    checkpoint.text = {}
    checkpoint.run("peft-folder", golden)


def main():
    torch.manual_seed(SEED)
    OUT.mkdir(exist_ok=True)
    golden = {}
    one_file_cases(golden)
    peft_folder(golden)
    save_file(golden, OUT / "golden.safetensors")
    versions = {module.__name__: module.__version__ for module in (torch, diffusers, transformers, peft)}
    meta = dict(made_by="tests/golden/generate/lora.py", seed=SEED, python=platform.python_version(), **versions)
    (OUT / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")


if __name__ == "__main__":
    main()
