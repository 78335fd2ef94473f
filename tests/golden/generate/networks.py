"""Writes tiny random-weight checkpoints of every family, with what the reference libraries make of them.

    python tests/golden/generate/networks.py [family ...]

Needs torch, diffusers, transformers and safetensors. Each family is a folder as diffusers lays it out, with
`golden.safetensors` (inputs and outputs, pictures and latents channels-last) and `meta.json` (versions, seed) beside it.
Weights are stored in half precision, and the goldens made in single precision from the stored values.
"""

import json
import platform
import sys
import zlib
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

ROOT = Path(__file__).parents[1]
SEED = 20240607
TOKENS = 11


def randomise(module):
    """Weights of a size that keeps signals alive through the layers; norms near one, biases small."""
    for name, value in module.named_parameters():
        with torch.no_grad():
            if "norm" in name and name.endswith("weight"):
                value.copy_(1 + 0.2 * torch.randn_like(value))
            elif name.endswith("bias"):
                value.copy_(0.1 * torch.randn_like(value))
            elif "embedding.weight" in name:
                value.copy_(torch.randn_like(value))
            else:
                fan_in = value[0].numel()
                value.copy_(torch.randn_like(value) * 1.2 / fan_in**0.5)
            # What is stored is what is used.
            value.copy_(value.half().float())
    return module.eval()


def save(module, folder, name="diffusion_pytorch_model"):
    folder.mkdir(parents=True, exist_ok=True)
    module.save_config(folder) if hasattr(module, "save_config") else module.config.save_pretrained(folder)
    state = {key: value.half().contiguous() for key, value in module.state_dict().items() if value.is_floating_point()}
    if name == "model" and not any(key.startswith("text_model.") for key in state):
        # Published checkpoints have the prefix; newer libraries drop it in memory.
        state = {key if key.startswith("text_projection") else f"text_model.{key}": v for key, v in state.items()}
    save_file(state, folder / f"{name}.safetensors", metadata={"format": "pt"})


def last(x):
    """Channels last."""
    return x.permute(0, 2, 3, 1).contiguous()


UNET = dict(
    sample_size=16,
    block_out_channels=(16, 32),
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    layers_per_block=1,
    cross_attention_dim=32,
    attention_head_dim=4,
    norm_num_groups=8,
)
SDXL_TEXT = 32 + 48
UNETS = {
    "sd15": dict(UNET, layers_per_block=2),
    "sd21": dict(
        UNET,
        block_out_channels=(16, 24),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        only_cross_attention=(False, True),
    ),
    "sdxl": dict(
        UNET,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        cross_attention_dim=SDXL_TEXT,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=40 + 6 * 8,
    ),
    "lcm": dict(UNET, block_out_channels=(16, 16), time_cond_proj_dim=16, downsample_padding=0),
    "bk-sdm": dict(UNET, mid_block_type=None, block_out_channels=(8, 16, 16), attention_head_dim=4, norm_num_groups=4,
                   down_block_types=("CrossAttnDownBlock2D",) * 3, up_block_types=("CrossAttnUpBlock2D",) * 3),
    # SDXS-512-0.9: no self-attention on the highest level.
    "sdxs": dict(UNET, mid_block_type=None, block_out_channels=(8, 16, 16), attention_head_dim=(2, 4, 4), norm_num_groups=4,
                 down_block_types=("CrossAttnDownBlock2D",) * 3, up_block_types=("CrossAttnUpBlock2D",) * 3,
                 only_cross_attention=(True, False, False), use_linear_projection=True),
    # SDXS-512-DreamShaper: no attention on the highest level.
    "sdxs-dreamshaper": dict(
        UNET, mid_block_type=None, block_out_channels=(8, 16, 16), attention_head_dim=4, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    ),
    # SSD-1B: no attention in the middle, and other numbers of transformer layers on the way up.
    "ssd-1b": dict(
        UNET,
        mid_block_type="UNetMidBlock2D",
        block_out_channels=(8, 16, 16),
        norm_num_groups=4,
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=[1, 2, 2],
        reverse_transformer_layers_per_block=[[2, 2, 3], [2, 1, 1], 1],
        attention_head_dim=(2, 4, 4),
        use_linear_projection=True,
        cross_attention_dim=32,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=40 + 6 * 8,
    ),
    "uneven": dict(
        UNET,
        block_out_channels=(8, 24),
        mid_block_type="UNetMidBlock2D",
        layers_per_block=(1, 2),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        transformer_layers_per_block=[1, [2, 1]],
        reverse_transformer_layers_per_block=[[1, 2, 1], 1],
        time_embedding_dim=48,
        flip_sin_to_cos=False,
        freq_shift=1,
        conv_in_kernel=1,
        conv_out_kernel=5,
    ),
}


def text_config(vocab=64, **changes):
    values = dict(
        vocab_size=vocab, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=16, bos_token_id=vocab - 2, eos_token_id=vocab - 1, pad_token_id=vocab - 1,
        projection_dim=24, hidden_act="quick_gelu",
    )
    return CLIPTextConfig(**{**values, **changes})


def token_ids(vocab, pad):
    """Two texts of different lengths: start, words, end, padding."""
    ids = torch.full((2, TOKENS), pad)
    for row, words in enumerate((6, 3)):
        ids[row, 0] = vocab - 2
        ids[row, 1 : 1 + words] = torch.randint(1, vocab - 2, (words,))
        ids[row, 1 + words] = vocab - 1
    return ids


def text_encoder(folder, golden, prefix, config, projected=False):
    """Returns the states of all layers, the last one's with norm, and the pooled text if there is one."""
    config.architectures = [("CLIPTextModelWithProjection" if projected else "CLIPTextModel")]
    model = randomise((CLIPTextModelWithProjection if projected else CLIPTextModel)(config))
    save(model, folder, "model")
    ids = token_ids(config.vocab_size, config.pad_token_id)
    out = model(input_ids=ids, output_hidden_states=True)
    golden[f"{prefix}.input_ids"] = ids.to(torch.int32)
    golden[f"{prefix}.last"] = out.last_hidden_state
    golden[f"{prefix}.penultimate"] = out.hidden_states[-2]
    if projected:
        golden[f"{prefix}.pooled"] = out.text_embeds
    return out


def unet(folder, golden, config, states, pooled=None):
    model = randomise(UNet2DConditionModel(**config))
    save(model, folder / "unet")
    height, width = 8, 12
    timesteps = torch.tensor([759, 599, 19])
    text_of_row = torch.tensor([0, 1, 0])
    sample = torch.randn(3, 4, height, width)
    golden["unet.sample"] = last(sample)
    golden["unet.timesteps"] = timesteps.to(torch.int32)
    golden["unet.text_of_row"] = text_of_row.to(torch.int32)
    golden["unet.encoder_hidden_states"] = states
    golden["unet.timestep_embedding"] = model.time_proj(timesteps)
    added = None
    if pooled is not None:
        time_ids = torch.tensor([[96.0, 64, 0, 0, 96, 64], [64, 64, 8, 0, 64, 64], [96, 64, 0, 4, 96, 64]])
        golden["unet.pooled"] = pooled[text_of_row]
        golden["unet.time_ids"] = time_ids
        added = dict(text_embeds=pooled[text_of_row], time_ids=time_ids)

    def run(rows, **more):
        return last(model(sample[rows], timesteps[rows], encoder_hidden_states=states[text_of_row[rows]], **more).sample)

    rows = torch.arange(3)
    golden["unet.eps"] = run(rows, added_cond_kwargs=added)
    # One row and one text are laid out otherwise than three and two.
    one = None if added is None else {key: value[:1] for key, value in added.items()}
    golden["unet.eps_one_row"] = run(rows[:1], added_cond_kwargs=one)
    if config.get("time_cond_proj_dim"):
        guidance = torch.tensor([7.0, 0.5, 3.0])
        golden["unet.guidance"] = guidance
        embedded = guidance_embedding(guidance, config["time_cond_proj_dim"])
        golden["unet.eps_guided"] = run(rows, timestep_cond=embedded)


def guidance_embedding(w, dim):
    from diffusers import LatentConsistencyModelPipeline

    return LatentConsistencyModelPipeline.get_guidance_scale_embedding(None, w, embedding_dim=dim)


def autoencoder(folder, golden, model):
    randomise(model)
    save(model, folder / "vae")
    picture = torch.rand(2, 3, 16, 24) * 2 - 1
    encoded = model.encode(picture)
    latent = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mean
    shift, factor = model.config.shift_factor or 0.0, model.config.scaling_factor
    latent = (latent - shift) * factor
    golden["vae.picture"] = last(picture)
    golden["vae.latent"] = last(latent)
    golden["vae.decoded"] = last(model.decode(latent / factor + shift).sample)


TINY = dict(
    encoder_block_out_channels=(20,) * 3, decoder_block_out_channels=(24,) * 3,
    num_encoder_blocks=(1, 2, 1), num_decoder_blocks=(2, 1, 1),
)
NARROW = dict(
    encoder_block_out_channels=(24,) * 4, decoder_block_out_channels=(16,) * 4,
    num_encoder_blocks=(1, 1, 0, 1), num_decoder_blocks=(1, 0, 1, 1), scaling_factor=0.8, shift_factor=0.1,
)
KL = dict(
    block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    layers_per_block=1, norm_num_groups=4,
)
AUTOENCODERS = {
    "sd15": lambda: AutoencoderKL(**KL),
    "sd21": lambda: AutoencoderTiny(**TINY),
    "sdxl": lambda: AutoencoderKL(**dict(KL, scaling_factor=0.13025)),
    "lcm": lambda: AutoencoderTiny(**NARROW),
    "uneven": lambda: AutoencoderKL(**dict(KL, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.1,
                                           latent_channels=8, mid_block_add_attention=False)),
}


@torch.no_grad()
def family(name):
    seed = SEED + zlib.crc32(name.encode()) % 1000
    torch.manual_seed(seed)
    folder, golden = ROOT / name, {}
    states, pooled = torch.randn(2, TOKENS, 32), None
    if name == "sdxl":
        one = text_encoder(folder / "text_encoder", golden, "text_encoder", text_config())
        two = text_config(hidden_size=48, projection_dim=40, hidden_act="gelu", pad_token_id=0)
        two = text_encoder(folder / "text_encoder_2", golden, "text_encoder_2", two, projected=True)
        states, pooled = torch.cat([one.hidden_states[-2], two.hidden_states[-2]], -1), two.text_embeds
    elif name == "sd15":
        # The old end token, by which the pooled position is that of the largest id.
        config = text_config(eos_token_id=2, projection_dim=32)
        states = text_encoder(folder / "text_encoder", golden, "text_encoder", config, projected=True).last_hidden_state
    elif name == "sd21":
        config = text_config(hidden_act="gelu", pad_token_id=0)
        states = text_encoder(folder / "text_encoder", golden, "text_encoder", config).last_hidden_state
    elif name == "ssd-1b":
        pooled = torch.randn(2, 40)
    unet(folder, golden, UNETS[name], states, pooled)
    if name in AUTOENCODERS:
        autoencoder(folder, golden, AUTOENCODERS[name]())
    golden = {key: value.clone().contiguous() for key, value in golden.items()}
    save_file(golden, folder / "golden.safetensors")
    versions = {module.__name__: module.__version__ for module in (torch, diffusers, transformers)}
    meta = dict(made_by="tests/golden/generate/networks.py", seed=seed, python=platform.python_version(), **versions)
    (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")
    for key, value in golden.items():
        print(f"{name:8} {key:32} {tuple(value.shape)} rms {value.float().square().mean().sqrt():.3f}")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or UNETS:
        family(wanted)
