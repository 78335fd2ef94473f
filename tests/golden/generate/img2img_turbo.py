"""Writes tests/golden/img2img_turbo: a tiny base model, files of img2img-turbo in the published layouts, and what torch
makes of eight frames with each.

    python tests/golden/generate/img2img_turbo.py

Needs torch, diffusers, transformers, peft and safetensors. LoRAs are those of PEFT in diffusers' networks, and the step
is that of diffusers' DDPMScheduler.

    model               a diffusers folder like SD-Turbo's: the UNet of Stable Diffusion 2.1, a full autoencoder
    edges.pkl           pix2pix-turbo
    sketch.pkl          pix2pix-turbo with two first convolutions, of which the strength mixes the outputs
    day2night.pkl       CycleGAN-turbo, of both directions
    golden.safetensors  pictures.MODE: [8, 64, 64, 3] u8; of two modes, for the first frame, latent.MODE, skip.N.MODE,
                        x.MODE, eps.MODE, clean.MODE and decoded.MODE in f32, channels last; the text's states.
                        Frames are those of tests/golden/stream.
    meta.json           the parameters of each mode, and the versions of the tools

Everything is stored in half precision, and computed in single precision from the stored values.
"""

import copy
import json
import pathlib
import platform
import shutil

import diffusers
import peft
import safetensors
import safetensors.torch
import torch
import transformers
from diffusers import AutoencoderKL, DDPMScheduler, EulerDiscreteScheduler, UNet2DConditionModel
from networks import last, randomise
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from stream import BETAS, FRAMES, GOLDEN, SIDE, TEXT_WIDTH, build_text_encoder, build_tokenizer, encode_text, settle

OUT = GOLDEN / "img2img_turbo"
SEED, NOISE_SEED = 20240611, 789
PROMPT = "a red garden"
# Of pix2pix-turbo; a name means all layers whose path ends with it.
UNET_TARGETS = ["to_k", "to_q", "to_v", "to_out.0", "conv", "conv1", "conv2", "conv_shortcut", "conv_out", "proj_in",
                "proj_out", "ff.net.2", "ff.net.0.proj"]
SKIPS = [f"skip_conv_{i}" for i in range(1, 5)]
VAE_TARGETS = ["conv1", "conv2", "conv_in", "conv_shortcut", "conv", "conv_out", *SKIPS, "to_k", "to_q", "to_v",
               "to_out.0"]
MODES = {
    "edges": {"weights": "edges.pkl"},
    "sketch-0.6": {"weights": "sketch.pkl", "strength": 0.6},
    "edges-0.4": {"weights": "edges.pkl", "strength": 0.4},
    "a2b": {"weights": "day2night.pkl"},
    "b2a": {"weights": "day2night.pkl", "direction": "b2a"},
}
# Those whose networks are compared one by one.
STEP_BY_STEP = ["sketch-0.6", "b2a"]


def build_unet():
    return randomise(UNet2DConditionModel(
        sample_size=SIDE // 8, block_out_channels=(8, 16), attention_head_dim=(1, 2), layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=TEXT_WIDTH, use_linear_projection=True,
    ))


def build_vae():
    return randomise(AutoencoderKL(
        block_out_channels=(4, 8, 12, 12), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1, norm_num_groups=4,
    ))


class SkipVae:
    """An autoencoder whose decoder adds what the encoder had before each of its blocks, through convolutions."""

    def __init__(self, vae, gamma=1.0):
        self.vae, self.gamma = vae, gamma

    def encode(self, picture):
        encoder = self.vae.encoder
        x, skips = encoder.conv_in(picture), []
        for block in encoder.down_blocks:
            skips.append(x)
            x = block(x)
        x = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(encoder.mid_block(x))))
        mean, _ = self.vae.quant_conv(x).chunk(2, 1)
        return mean * self.vae.config.scaling_factor, skips

    def decode(self, latent, skips):
        decoder = self.vae.decoder
        x = decoder.mid_block(decoder.conv_in(self.vae.post_quant_conv(latent / self.vae.config.scaling_factor)))
        for name, block, skip in zip(SKIPS, decoder.up_blocks, reversed(skips), strict=True):
            x = block(x + getattr(decoder, name)(skip * self.gamma))
        return decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(x)))


def add_skips(vae):
    """The convolutions of the skip connections, each as wide as what it takes and what it is added to."""
    widths = vae.config.block_out_channels
    taken = [widths[0], *widths[:-1]][::-1]
    added = [widths[-1], *widths[:0:-1]]
    for name, to, of in zip(SKIPS, added, taken, strict=True):
        setattr(vae.decoder, name, randomise(torch.nn.Conv2d(of, to, 1, bias=False)))


def randomise_loras(module, adapter):
    """Factors that change each layer by about a third of what it is, as stored."""
    for name, value in module.named_parameters():
        if f"lora_A.{adapter}" in name:
            value.data = (torch.randn_like(value) / value[0].numel() ** 0.5).half().float()
        elif f"lora_B.{adapter}" in name:
            value.data = (torch.randn_like(value) * 0.3 / value.shape[1] ** 0.5).half().float()


def with_lora(module, targets, rank, adapter, alpha=8):
    config = LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights=False, target_modules=targets)
    module.add_adapter(config, adapter_name=adapter)
    randomise_loras(module, adapter)
    return module.eval()


class Twin(torch.nn.Module):
    """Two convolutions, of whose outputs the strength makes a mixture."""

    def __init__(self, own, trained):
        super().__init__()
        self.conv_in_pretrained, self.conv_in_curr, self.strength = own, trained, 1.0

    def forward(self, x):
        return self.conv_in_pretrained(x) * (1 - self.strength) + self.conv_in_curr(x) * self.strength


def half(state):
    return {name: value.detach().half() for name, value in state.items()}


class Pix2Pix:
    # It takes pictures in 0..1, and makes such in -1..1.
    UNSIGNED = True

    def __init__(self, base, ranks, twins):
        unet, vae = copy.deepcopy(base)
        other = randomise(copy.deepcopy(unet.conv_in))
        unet.conv_in = Twin(unet.conv_in, other) if twins else other
        add_skips(vae)
        self.ranks, self.twins = ranks, twins
        # The adapter's name is PEFT's own.
        self.unet = with_lora(unet, UNET_TARGETS, ranks[0], "default")
        self.vae = with_lora(vae, VAE_TARGETS, ranks[1], "vae_skip")

    def save(self, name):
        parts = {
            "unet_lora_target_modules": UNET_TARGETS, "vae_lora_target_modules": VAE_TARGETS,
            "rank_unet": self.ranks[0], "rank_vae": self.ranks[1],
        }
        unet, vae = self.unet.state_dict(), self.vae.state_dict()
        parts["state_dict_unet"] = half({k: v for k, v in unet.items() if "lora" in k or "conv_in" in k})
        parts["state_dict_vae"] = half({k: v for k, v in vae.items() if "lora" in k or "skip" in k})
        torch.save(parts, OUT / name)

    def at(self, strength, _direction):
        self.unet.set_adapters(["default"], weights=[strength])
        self.vae.set_adapters(["vae_skip"], weights=[strength])
        if self.twins:
            self.unet.conv_in.strength = strength
        vae = SkipVae(self.vae, strength)
        return self.unet, vae, vae


class VaePair(torch.nn.Module):
    def __init__(self, vae, vae_b2a):
        super().__init__()
        self.vae, self.vae_b2a = vae, vae_b2a


class CycleGan:
    UNSIGNED = False
    ADAPTERS = ("default_encoder", "default_decoder", "default_others")

    def __init__(self, base, ranks, images):
        self.unet, vae = copy.deepcopy(base)
        self.ranks, self.targets = ranks, {name: [] for name in self.ADAPTERS}
        for name, value in self.unet.named_parameters():
            if value.dim() < 2 or "norm" in name or not any(part in name for part in [*UNET_TARGETS, "conv_in"]):
                continue
            encodes, decodes = "down_blocks" in name or "conv_in" in name, "up_blocks" in name
            adapter = self.ADAPTERS[0 if encodes else 1 if decodes else 2]
            self.targets[adapter].append(name.removesuffix(".weight"))
        for adapter, targets in self.targets.items():
            with_lora(self.unet, targets, ranks[0], adapter, alpha=ranks[0])
        self.unet.set_adapters(list(self.ADAPTERS), weights=[1.0] * 3)
        vaes = [vae, randomise(copy.deepcopy(vae))]
        settle_vae(vaes[1], images)
        for one in vaes:
            add_skips(one)
            with_lora(one, VAE_TARGETS, ranks[1], "vae_skip")
        self.pair = VaePair(*vaes)

    def save(self, name):
        encoder, decoder, others = self.ADAPTERS
        parts = {
            "l_target_modules_encoder": self.targets[encoder], "l_target_modules_decoder": self.targets[decoder],
            "l_modules_others": self.targets[others], "vae_lora_target_modules": VAE_TARGETS,
            "rank_unet": self.ranks[0], "rank_vae": self.ranks[1],
        }
        for part, adapter in zip(("sd_encoder", "sd_decoder", "sd_other"), self.ADAPTERS, strict=True):
            parts[part] = half(get_peft_model_state_dict(self.unet, adapter_name=adapter))
        # Both are the state of the same autoencoders, and have the same tensors.
        state = self.pair.half().state_dict()
        parts["sd_vae_enc"], parts["sd_vae_dec"] = state, self.pair.state_dict()
        torch.save(parts, OUT / name)
        self.pair.float()

    def at(self, _strength, direction):
        vae = SkipVae(self.pair.vae if direction == "a2b" else self.pair.vae_b2a)
        return self.unet, vae, vae


def check_names():
    """The names that published files have."""
    load = lambda name: torch.load(OUT / name, weights_only=True)  # noqa: E731
    edges, sketch, cycle = load("edges.pkl"), load("sketch.pkl"), load("day2night.pkl")
    block = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    for part, names in [
        (edges["state_dict_unet"], ["conv_in.weight", "conv_in.bias", f"{block}.lora_A.default.weight",
                                    "down_blocks.0.downsamplers.0.conv.lora_B.default.weight"]),
        (edges["state_dict_vae"], ["encoder.conv_in.lora_A.vae_skip.weight", "decoder.skip_conv_1.base_layer.weight",
                                   "decoder.skip_conv_4.lora_B.vae_skip.weight",
                                   "encoder.mid_block.attentions.0.to_out.0.lora_A.vae_skip.weight"]),
        (sketch["state_dict_unet"], ["conv_in.conv_in_pretrained.weight", "conv_in.conv_in_curr.bias"]),
        (cycle["sd_encoder"], [f"{block}.lora_A.weight", "conv_in.lora_B.weight"]),
        (cycle["sd_vae_enc"], ["vae.encoder.conv_in.base_layer.weight", "vae_b2a.decoder.skip_conv_1.base_layer.weight",
                               "vae.encoder.conv_norm_out.weight", "vae.quant_conv.weight"]),
    ]:
        for name in names:
            assert name in part, name


def settle_vae(vae, images):
    """Gives latents and pictures the usual range; returns the latents. Clean latents of a UNet that was not trained are
    much larger, and the decoder makes them as large as what skip connections add."""
    factor = vae.config.scaling_factor
    settle(vae.quant_conv, lambda: vae.encode(images).latent_dist.parameters, 0.0, 1 / factor)
    latents = vae.encode(images).latent_dist.mean * factor
    settle(vae.post_quant_conv, lambda: vae.post_quant_conv(latents * 15 / factor), 0.0, 0.6)
    settle(vae.decoder.conv_out, lambda: vae.decode(latents * 15 / factor).sample, 0.0, 0.4)
    return latents


@torch.no_grad()
def main() -> None:
    torch.manual_seed(SEED)
    shutil.rmtree(OUT, ignore_errors=True)
    model = OUT / "model"
    tokenizer = build_tokenizer(model / "tokenizer")
    text_encoder, unet, vae = build_text_encoder(tokenizer), build_unet(), build_vae()
    frames = safetensors.torch.load_file(GOLDEN / "stream" / "frames.safetensors")["frames"]
    images = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
    text = encode_text(PROMPT, tokenizer, text_encoder)
    latents, texts = settle_vae(vae, images), text.expand(FRAMES, -1, -1)
    settle(unet.conv_out, lambda: unet(latents, 999, encoder_hidden_states=texts).sample, 0.0, 0.5)
    base = (unet, vae)
    translators = {
        "edges.pkl": Pix2Pix(base, (4, 2), twins=False),
        "sketch.pkl": Pix2Pix(base, (8, 4), twins=True),
        "day2night.pkl": CycleGan(base, (3, 2), images),
    }
    for name, translator in translators.items():
        translator.save(name)
    check_names()
    golden = {"text": text.contiguous()}
    for mode, options in MODES.items():
        run_mode(mode, options, translators[options["weights"]], images, text, golden)
    safetensors.torch.save_file(golden, OUT / "golden.safetensors")
    for name, network in [("text_encoder", text_encoder), ("unet", unet), ("vae", vae)]:
        network.half().save_pretrained(model / name)
    EulerDiscreteScheduler(**BETAS, timestep_spacing="trailing").save_pretrained(model / "scheduler")
    write_notes(model)


def run_mode(mode, options, translator, images, text, golden):
    strength = options.get("strength", 1.0)
    unet, encoder, decoder = translator.at(strength, options.get("direction", "a2b"))
    scheduler = DDPMScheduler(**BETAS, clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(1)
    (t,) = scheduler.timesteps
    assert t == 999
    torch.manual_seed(NOISE_SEED)
    noise = torch.randn(1, 4, SIDE // 8, SIDE // 8)
    pictures = []
    for index, image in enumerate(images):
        latent, skips = encoder.encode(image[None] * 0.5 + 0.5 if translator.UNSIGNED else image[None])
        x = latent * strength + noise * (1 - strength)
        eps = unet(x, t, encoder_hidden_states=text).sample
        clean = scheduler.step(eps, t, x).pred_original_sample
        picture = decoder.decode(clean, skips)
        if index == 0:
            if mode in STEP_BY_STEP:
                parts = dict(latent=latent, x=x, eps=eps, clean=clean, decoded=picture)
                parts |= {f"skip.{i}": skip for i, skip in enumerate(skips)}
                golden |= {f"{part}.{mode}": last(value) for part, value in parts.items()}
            apart = (decoder.decode(clean, [0 * skip for skip in skips]) - picture).abs().mean()
            print(f"{mode:12} x {x.std():.2f} eps {eps.std():.2f} clean {clean.std():.2f} skips {apart:.2f}")
        pictures.append(last(picture.clamp(-1, 1)))
    levels = ((torch.cat(pictures) * 0.5 + 0.5) * 255).round().to(torch.uint8)
    print(f"{mode:12} mean {levels.float().mean():.0f} deviation {levels.float().std():.0f}")
    golden[f"pictures.{mode}"] = levels.contiguous()


def write_notes(model: pathlib.Path) -> None:
    index = {
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": diffusers.__version__,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (model / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    common = {"prompt": PROMPT, "t_index_list": [0], "guidance_scale": 1.0, "seed": NOISE_SEED}
    common |= {"width": SIDE, "height": SIDE}
    versions = {tool.__name__: tool.__version__ for tool in (torch, diffusers, transformers, peft, safetensors)}
    meta = {
        "made_by": "tests/golden/generate/img2img_turbo.py",
        "versions": {"python": platform.python_version()} | versions,
        "seed": SEED,
        "modes": {mode: common | {"img2img_turbo": options} for mode, options in MODES.items()},
    }
    (OUT / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")


if __name__ == "__main__":
    main()
