"""Writes tests/golden/single: what checkpoints in one file are made of, for a tiny model of each family.

    python tests/golden/generate/single.py

Needs torch, diffusers, transformers. Each FAMILY.json has the configs of a diffusers folder, and the tensors of the same
model in one file, each with the shape and the names of the folder's weights it is made of, and how: as it is ("same"),
one after the other ("stack"), with rows and columns exchanged ("transpose"), as a 1x1 convolution ("conv"). What only
training needed is "extra", with its own shape. The numbers are drawn by the tests.

The names are written down here once more, on their own; diffusers' converters must turn them back.
"""

import json
import platform
from pathlib import Path
from types import SimpleNamespace

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as converters
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

OUT = Path(__file__).resolve().parents[1] / "single"
WORDS = 49408

UNET = dict(norm_num_groups=32, sample_size=64)
UNETS = {
    "sd15": dict(
        UNET, block_out_channels=(32, 64), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), layers_per_block=2, cross_attention_dim=64,
        attention_head_dim=8,
    ),
    "sd21": dict(
        UNET, block_out_channels=(64, 128), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), layers_per_block=1, cross_attention_dim=64,
        attention_head_dim=(1, 2), use_linear_projection=True,
    ),
    "sdxl": dict(
        UNET, block_out_channels=(64, 64, 128), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2), attention_head_dim=(1, 1, 2), use_linear_projection=True,
        cross_attention_dim=64 + 128, addition_embed_type="text_time", addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=96 + 6 * 16, sample_size=128,
    ),
}
VAE = dict(
    block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    layers_per_block=2, norm_num_groups=32,
)
VAES = {"sd15": VAE, "sd21": VAE, "sdxl": dict(VAE, scaling_factor=0.13025)}


def text_config(projected=False, **changes):
    values = dict(
        vocab_size=WORDS, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=1,
        max_position_embeddings=77, bos_token_id=WORDS - 2, eos_token_id=WORDS - 1, pad_token_id=WORDS - 1,
        projection_dim=64, hidden_act="quick_gelu",
    )
    config = CLIPTextConfig(**{**values, **changes})
    config.architectures = ["CLIPTextModelWithProjection" if projected else "CLIPTextModel"]
    return config


TEXTS = {
    "sd15": [text_config()],
    "sd21": [text_config(hidden_act="gelu", pad_token_id=0)],
    "sdxl": [
        text_config(),
        text_config(True, hidden_size=128, num_attention_heads=2, projection_dim=96, hidden_act="gelu", pad_token_id=0),
    ],
}

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
ENDS = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_in": "input_blocks.0.0",
        "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2", "conv_norm_out": "out.0",
        "conv_out": "out.2"}
LAYER = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
         "self_attn.out_proj": "attn.out_proj"}


def unet_name(name, config):
    """The original name of a UNet's weight."""
    module, kind = name.rsplit(".", 1)
    if module in ENDS:
        return f"{ENDS[module]}.{kind}"
    head, *rest = name.split(".")
    per_level = config.layers_per_block + 1
    if head == "mid_block":
        what, i = rest[0], int(rest[1])
        place, tail = (f"middle_block.{2 * i}" if what == "resnets" else "middle_block.1"), rest[2:]
    else:
        level, what, i, tail = int(rest[0]), rest[1], int(rest[2]), rest[3:]
        if head == "down_blocks":
            first = 1 + level * per_level
            place = {"resnets": f"input_blocks.{first + i}.0", "attentions": f"input_blocks.{first + i}.1",
                     "downsamplers": f"input_blocks.{first + config.layers_per_block}.0"}[what]
        else:
            last = level * per_level + config.layers_per_block
            attends = config.up_block_types[level].startswith("CrossAttn")
            place = {"resnets": f"output_blocks.{level * per_level + i}.0",
                     "attentions": f"output_blocks.{level * per_level + i}.1",
                     "upsamplers": f"output_blocks.{last}.{2 if attends else 1}"}[what]
    if what == "resnets":
        tail = [RESNET[tail[0]], *tail[1:]]
    if what == "downsamplers":
        tail = ["op", *tail[1:]]
    return ".".join([place, *tail])


def vae_name(name, config):
    """The original name of an autoencoder's weight, and how it is made."""
    levels = len(config.block_out_channels)
    parts = name.split(".")
    if parts[0] in ("quant_conv", "post_quant_conv") or parts[1] in ("conv_in", "conv_out"):
        return name, "same"
    half, module, *rest = parts
    if module == "conv_norm_out":
        return ".".join([half, "norm_out", *rest]), "same"
    if module == "mid_block" and rest[0] == "attentions":
        part = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out"}[rest[2]]
        how = "conv" if rest[-1] == "weight" and part != "norm" else "same"
        return f"{half}.mid.attn_1.{part}.{rest[-1]}", how
    if module == "mid_block":
        place, rest = f"mid.block_{int(rest[1]) + 1}", rest[2:]
    else:
        way = "down" if module == "down_blocks" else "up"
        level = int(rest[0]) if way == "down" else levels - 1 - int(rest[0])
        place = f"{way}.{level}." + (f"block.{rest[2]}" if rest[1] == "resnets" else f"{way}sample")
        rest = rest[3:]
    return ".".join([half, place, *("nin_shortcut" if part == "conv_shortcut" else part for part in rest)]), "same"


def with_prefix(name):
    """Published checkpoints have the prefix; newer libraries drop it in memory."""
    return name if name.startswith(("text_model.", "text_projection.")) else f"text_model.{name}"


def open_clip(names):
    """Original names, with the weights that each is made of and how."""
    made = {}
    for name in names:
        if name == "text_projection.weight":
            made["text_projection"] = ([name], "transpose")
        elif name.endswith("token_embedding.weight"):
            made["token_embedding.weight"] = ([name], "same")
        elif name.endswith("position_embedding.weight"):
            made["positional_embedding"] = ([name], "same")
        elif "final_layer_norm" in name:
            made[f"ln_final.{name.rsplit('.', 1)[1]}"] = ([name], "same")
        else:
            layer, module = name.removeprefix("text_model.encoder.layers.").split(".", 1)
            module, kind = module.rsplit(".", 1)
            block = f"transformer.resblocks.{layer}"
            if module in LAYER:
                made[f"{block}.{LAYER[module]}.{kind}"] = ([name], "same")
            elif module == "self_attn.q_proj":
                made[f"{block}.attn.in_proj_{kind}"] = ([name.replace(".q_proj.", f".{p}_proj.") for p in "qkv"], "stack")
    return made


def states(module, text=False):
    """The shapes of a network's weights."""
    found = {name: list(value.shape) for name, value in module.state_dict().items() if value.is_floating_point()}
    return {with_prefix(name): shape for name, shape in found.items()} if text else found


def config_of(module):
    return {key: value for key, value in json.loads(module.to_json_string()).items() if key != "_use_default_values"}


def make(how, values):
    if how == "stack":
        return torch.cat(values)
    if how == "transpose":
        return values[0].T
    return values[0][..., None, None] if how == "conv" else values[0]


def family(name):
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**UNETS[name]), AutoencoderKL(**VAES[name])
        texts = [(CLIPTextModelWithProjection if config.architectures[0].endswith("Projection") else CLIPTextModel)(config)
                 for config in TEXTS[name]]
    folder = {"unet": states(unet), "vae": states(vae)}
    configs = {"unet": config_of(unet), "vae": config_of(vae)}
    made = {}
    for weight in folder["unet"]:
        made[f"model.diffusion_model.{unet_name(weight, unet.config)}"] = ("unet", [weight], "same")
    for weight in folder["vae"]:
        original, how = vae_name(weight, vae.config)
        made[f"first_stage_model.{original}"] = ("vae", [weight], how)
    extras = {"model_ema.decay": [], "model_ema.num_updates": [], "alphas_cumprod": [1000]}
    for i, text in enumerate(texts):
        component = "text_encoder" if i == 0 else "text_encoder_2"
        folder[component], configs[component] = states(text, True), text.config.to_diff_dict() | {
            key: getattr(text.config, key) for key in ("hidden_act", "num_attention_heads", "vocab_size", "pad_token_id",
                                                       "max_position_embeddings", "num_hidden_layers")}
        if name == "sd21" or i == 1:
            prefix = "cond_stage_model.model." if name == "sd21" else "conditioner.embedders.1.model."
            for original, (weights, how) in open_clip(folder[component]).items():
                made[prefix + original] = (component, weights, how)
            extras[prefix + "logit_scale"] = []
            if name == "sd21":
                # One layer more than the UNet looks at, and a projection that it does not use.
                last = text.config.num_hidden_layers
                for original in [key for key in made if f"{prefix}transformer.resblocks.0." in key]:
                    weights = [folder[component][weight] for weight in made[original][1]]
                    shape = [sum(weight[0] for weight in weights), *weights[0][1:]]
                    extras[original.replace("resblocks.0.", f"resblocks.{last}.")] = shape
                extras[prefix + "text_projection"] = [text.config.hidden_size] * 2
        else:
            prefix = "cond_stage_model.transformer." if name == "sd15" else "conditioner.embedders.0.transformer."
            for weight in folder[component]:
                made[prefix + weight] = (component, [weight], "same")
            extras[prefix + "text_model.embeddings.position_ids"] = [1, 77]
    check(name, folder, made, extras, unet, vae, texts)
    table = {"configs": configs, "tensors": {part: {} for part in folder}, "extra": extras}
    for original, (part, weights, how) in made.items():
        table["tensors"][part][original] = [how, folder[part][weights[0]], *weights]
    OUT.mkdir(exist_ok=True)
    (OUT / f"{name}.json").write_text(compact(table))
    print(name, len(made), "tensors")


def check(name, folder, made, extras, unet, vae, texts):
    """diffusers' own converters must make the folder's weights of the file's."""
    torch.manual_seed(0)
    weights = {part: {key: torch.randn(shape) for key, shape in shapes.items()} for part, shapes in folder.items()}
    file = {original: make(how, [weights[part][key] for key in keys]) for original, (part, keys, how) in made.items()}
    file |= {original: torch.randn(shape) for original, shape in extras.items()}
    compare(converters.convert_ldm_unet_checkpoint(dict(file), dict(unet.config)), weights["unet"])
    compare(converters.convert_ldm_vae_checkpoint(dict(file), dict(vae.config)), weights["vae"])
    if name == "sd21":
        # diffusers knows the last of 24 layers by its number; here it is another one.
        kept = {key: value for key, value in file.items() if f"resblocks.{texts[0].config.num_hidden_layers}." not in key}
        kept.pop("cond_stage_model.model.text_projection")
        compare(converters.convert_open_clip_checkpoint(texts[0], kept), weights["text_encoder"])
        return
    prefix = "cond_stage_model.transformer." if name == "sd15" else "conditioner.embedders.0.transformer."
    found = converters.convert_ldm_clip_checkpoint(dict(file), remove_prefix=prefix)
    found.pop("text_model.embeddings.position_ids", None)
    compare(found, weights["text_encoder"])
    if name == "sdxl":
        # diffusers splits by the width of the projection, which is that of the states in all published files.
        square = {key: value for key, value in file.items() if not key.endswith("text_projection")}
        found = converters.convert_open_clip_checkpoint(texts[1], square, prefix="conditioner.embedders.1.model.")
        found["text_projection.weight"] = file["conditioner.embedders.1.model.text_projection"].T
        compare(found, weights["text_encoder_2"])


def compare(found, expected):
    assert found.keys() == expected.keys(), sorted(found.keys() ^ expected.keys())[:8]
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def compact(table):
    """One line a tensor."""
    def lines(value, depth):
        pad = " " * depth
        if depth < 3 and isinstance(value, dict):
            rows = [f"{pad} {json.dumps(key)}: {lines(entry, depth + 1)}" for key, entry in value.items()]
            return "{\n" + ",\n".join(rows) + f"\n{pad}}}"
        return json.dumps(value)
    return lines(table, 0) + "\n"


if __name__ == "__main__":
    for wanted in UNETS:
        family(wanted)
    versions = {module.__name__: module.__version__ for module in (torch, diffusers, transformers)}
    meta = dict(made_by="tests/golden/generate/single.py", python=platform.python_version(), **versions)
    (OUT / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")
