"""Writes tests/golden/stream and stream-sdxs: tiny random models, eight frames, and the pictures of each mode.

The stream is written here in plain torch after the specification (sections 3, 4, 15.4 and the rulings of 21), with the
stock noise kept as the reference keeps it, before the shift; timesteps and coefficients are those of diffusers' own
LCMScheduler. The networks run in f32 on weights that were rounded to f16, which is how the folder has them.

    model               a diffusers folder, in stream-sdxs with a UNet laid out like that of SDXS-512-0.9
    frames.safetensors  frames: [8, 64, 64, 3] u8
    golden.safetensors  pictures.MODE: [8, 64, 64, 3] u8; latents.MODE: [8, 4, 8, 8] f32, before decoding
    meta.json           the parameters of each mode, changes of the scheduler's config, and the versions of the tools

Run by hand, with torch, diffusers and transformers: python tests/golden/generate/stream.py
"""

import functools
import json
import math
import pathlib
import platform
import shutil

import diffusers
import safetensors
import safetensors.torch
import torch
import transformers
from diffusers import (
    AutoencoderTiny,
    DDIMScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
    UNet2DConditionModel,
)
from diffusers.schedulers import scheduling_tcd
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

GOLDEN = pathlib.Path(__file__).resolve().parent.parent
SIDE, FRAMES, TEXT_WIDTH = 64, 8, 32

COMMON = {
    "prompt": "a red garden",
    "negative_prompt": "blurry, flat",
    "num_inference_steps": 50,
    "t_index_list": [30, 38, 46],
    "guidance_scale": 1.4,
    "delta": 0.5,
    "seed": 789,
    "do_add_noise": True,
    "use_denoising_batch": True,
    "width": SIDE,
    "height": SIDE,
}
MODES = {
    "none": ("none", {"guidance_scale": 1.0}),
    "self": ("self", {}),
    "full": ("full", {}),
    "initialize": ("initialize", {}),
    "sequential": ("none", {"guidance_scale": 1.0, "use_denoising_batch": False}),
    "one-stage-self": ("self", {"t_index_list": [38], "delta": 1.0}),
    # As the named models of Hyper-SD for one step.
    "one-step": ("none", {"guidance_scale": 1.0, "t_index_list": [25]}),
    "velocity": ("self", {"t_index_list": [20, 34, 46]}),
    # Each frame alone through diffusers' own schedulers: two steps as SDXL-Lightning's, and trajectory consistency.
    "euler": ("none", {"guidance_scale": 1.0, "scheduler": "ddim", "num_inference_steps": 2, "t_index_list": [0, 1]}),
    "ddim": ("none", {"guidance_scale": 1.0, "scheduler": "ddim", "num_inference_steps": 4, "t_index_list": [1, 2, 3]}),
    "tcd": ("none", {"guidance_scale": 1.0, "scheduler": "tcd", "eta": 0.3, "num_inference_steps": 4,
                     "t_index_list": [1, 2, 3]}),
    # The last two of eight steps, timesteps spaced otherwise, and a UNet that predicts the clean sample.
    "trailing": ("none", {"guidance_scale": 1.0, "scheduler": "ddim", "num_inference_steps": 8, "t_index_list": [6, 7],
                          "timestep_spacing": "trailing"}),
    "leading": ("none", {"guidance_scale": 1.0, "scheduler": "ddim", "num_inference_steps": 4, "t_index_list": [1, 2, 3],
                         "timestep_spacing": "leading"}),
    "sample": ("none", {"guidance_scale": 1.0, "scheduler": "ddim", "num_inference_steps": 2, "t_index_list": [0, 1]}),
}
# One step, from the noisiest timestep on, which SDXS was distilled at, and from one that keeps some of the frame.
SDXS_MODES = {
    "noisiest": ("none", {"guidance_scale": 1.0, "t_index_list": [0]}),
    "half": ("none", {"guidance_scale": 1.0, "t_index_list": [25]}),
}
# Changes of the scheduler's config, of Stable Diffusion 2.1's kind.
SCHEDULERS = {
    "velocity": {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    "sample": {"prediction_type": "sample"},
}

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SAMPLERS = {
    "euler": functools.partial(EulerDiscreteScheduler, timestep_spacing="trailing"),
    "trailing": functools.partial(EulerDiscreteScheduler, timestep_spacing="trailing"),
    "leading": functools.partial(DDIMScheduler, timestep_spacing="leading", steps_offset=1, clip_sample=False,
                                 set_alpha_to_one=True),
    "sample": functools.partial(EulerDiscreteScheduler, timestep_spacing="trailing"),
    "ddim": functools.partial(DDIMScheduler, timestep_spacing="trailing", clip_sample=False),
    "tcd": functools.partial(TCDScheduler, original_inference_steps=100),
}


def fill(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Random weights that keep the strength of what passes through, rounded to f16."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise / math.sqrt(parameter[0].numel()))
            else:
                parameter.copy_(parameter + 0.1 * noise)
            parameter.copy_(parameter.half())
    return network.eval()


@torch.no_grad()
def settle(layer: torch.nn.Conv2d, run, mean: float, deviation: float) -> None:
    """Scales and shifts the last layer so that each channel of what `run` gives has this mean and deviation."""
    out = run()
    factor = deviation / out.std((0, 2, 3))
    layer.weight.copy_((layer.weight * factor[:, None, None, None]).half())
    layer.bias.copy_(layer.bias * factor)
    layer.bias.copy_((layer.bias + mean - run().mean((0, 2, 3))).half())


def byte_symbols() -> list[str]:
    """The printable stand-ins of the 256 bytes in byte-level BPE, in the order of CLIP's vocabulary."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + k) for k in range(len(rest))]


def build_tokenizer(folder: pathlib.Path) -> CLIPTokenizer:
    symbols = byte_symbols()
    merges = [("g", "a"), ("r", "d"), ("ga", "rd"), ("e", "n</w>"), ("gard", "en</w>"), ("r", "e"), ("re", "d</w>")]
    tokens = symbols + [symbol + "</w>" for symbol in symbols] + ["".join(pair) for pair in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    vocabulary = {token: place for place, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in merges))
    specials = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    specials |= {"unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(specials, indent=2) + "\n")
    config = specials | {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    return CLIPTokenizer.from_pretrained(folder)


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return fill(CLIPTextModel(config), 1)


def build_unet() -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        sample_size=SIDE // 8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    return fill(unet, 2)


def build_sdxs_unet() -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        sample_size=SIDE // 8,
        block_out_channels=(16, 16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        mid_block_type=None,
        only_cross_attention=(True, False, False),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=(2, 4, 8),
        use_linear_projection=True,
        norm_num_groups=8,
    )
    return fill(unet, 4)


def build_vae() -> AutoencoderTiny:
    vae = AutoencoderTiny(
        encoder_block_out_channels=(16, 16, 16, 16),
        decoder_block_out_channels=(16, 16, 16, 16),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    )
    return fill(vae, 3)


def moving_frames() -> torch.Tensor:
    """A bright disc that crosses coloured stripes."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    frames = []
    for k in range(FRAMES):
        stripes = torch.stack([(x * 4 + 8 * k) % 256, (y * 4) % 256, (x * 2 + y * 2) % 256], dim=-1)
        disc = (x - 8 - 6 * k) ** 2 + (y - 20 - 3 * k) ** 2 < 144
        frames.append(torch.where(disc[..., None], torch.tensor([250, 220, 40]), stripes))
    return torch.stack(frames).to(torch.uint8)


class Stream:
    """Sections 3 and 4 as they stand, with the repairs; latents are [rows, 4, h, w]."""

    def __init__(self, cfg: str, params: dict, unet, scheduler, prompt, negative) -> None:
        self.cfg, self.unet, self.prompt, self.negative = cfg, unet, prompt, negative
        self.g, self.d = params["guidance_scale"], params["delta"]
        self.active = cfg != "none" and self.g > 1.0
        self.batched, self.add_noise = params["use_denoising_batch"], params["do_add_noise"]
        self.velocity = scheduler.config.prediction_type == "v_prediction"
        scheduler.set_timesteps(params["num_inference_steps"], original_inference_steps=100)
        self.t = scheduler.timesteps[params["t_index_list"]]
        self.n = len(self.t)
        self.alphas = scheduler.alphas_cumprod
        alphas = self.alphas[self.t].view(-1, 1, 1, 1)
        self.a, self.b = alphas.sqrt(), (1 - alphas).sqrt()
        scalings = [scheduler.get_scalings_for_boundary_condition_discrete(t) for t in self.t]
        self.c_skip = torch.tensor([float(skip) for skip, _ in scalings]).view(-1, 1, 1, 1)
        self.c_out = torch.tensor([float(out) for _, out in scalings]).view(-1, 1, 1, 1)
        torch.manual_seed(params["seed"])
        self.noise = torch.randn(self.n, 4, SIDE // 8, SIDE // 8)
        self.buffer, self.stock = None, self.noise.clone()

    def predict(self, x, t, text):
        predicted = self.unet(x, t, encoder_hidden_states=text, return_dict=False)[0]
        if not self.velocity:
            return predicted
        alphas = self.alphas[t].view(-1, 1, 1, 1)
        return alphas.sqrt() * predicted + (1 - alphas).sqrt() * x

    def consistency(self, eps, x, i):
        clean = (x - self.b[i] * eps) / self.a[i]
        return self.c_out[i] * clean + self.c_skip[i] * x

    def guided(self, x, t, stock, first):
        """The combined prediction, and the stock noise that it was made with."""
        rows = len(x)
        prompt, negative = (text.expand(rows, -1, -1) for text in (self.prompt, self.negative))
        if not self.active:
            return self.predict(x, t, prompt), stock
        if self.cfg == "full":
            both = self.predict(torch.cat([x, x]), torch.cat([t, t]), torch.cat([negative, prompt]))
            u, p = both.chunk(2)
            return u + self.g * (p - u), stock
        if self.cfg == "initialize" and first:
            text = torch.cat([self.negative, prompt])
            pred = self.predict(torch.cat([x[:1], x]), torch.cat([t[:1], t]), text)
            p, stock = pred[1:], torch.cat([pred[:1], stock[1:]])
        else:
            p = self.predict(x, t, prompt)
        u = self.d * stock
        return u + self.g * (p - u), stock

    def enter(self, z):
        return self.a[0] * z + self.b[0] * self.noise[:1]

    def batch(self, z):
        every = torch.arange(self.n)
        x = torch.cat([self.enter(z), self.buffer])
        stock = torch.cat([self.noise[:1], self.stock[:-1]])
        eps, stock = self.guided(x, self.t, stock, True)
        clean = self.consistency(eps, x, every)
        if self.active and self.cfg in ("self", "initialize"):
            residue = self.consistency(eps, self.b * stock, every)
            one = torch.ones(1, 1, 1, 1)
            a_next, b_next = torch.cat([self.a[1:], one]), torch.cat([self.b[1:], one])
            self.stock = self.noise.roll(-1, 0) + a_next * residue / b_next
        self.buffer = self.a[1:] * clean[:-1]
        if self.add_noise:
            self.buffer = self.buffer + self.b[1:] * self.noise[1:]
        return clean[-1:]

    def sequential(self, z):
        x, stock = self.enter(z), self.noise[:1]
        for i in range(self.n):
            eps, stock = self.guided(x, self.t[i : i + 1], stock, i == 0)
            clean = self.consistency(eps, x, i)
            if i + 1 < self.n:
                residue = self.consistency(eps, self.b[i] * stock, i)
                stock = self.noise[i + 1] + self.a[i + 1] * residue / self.b[i + 1]
                x = self.a[i + 1] * clean
                if self.add_noise:
                    x = x + self.b[i + 1] * self.noise[i + 1]
        return clean

    def step(self, z):
        if not self.batched:
            return self.sequential(z)
        if self.buffer is None:
            self.buffer = torch.zeros(self.n - 1, *z.shape[1:])
            for _ in range(self.n - 1):
                self.batch(z)
        return self.batch(z)


class Sampled:
    """Frames one after the other through the steps of a scheduler of diffusers; the first fills all rows of a batch."""

    def __init__(self, mode: str, params: dict, unet, prompt) -> None:
        self.params, self.unet, self.prompt = params, unet, prompt
        self.scheduler = SAMPLERS[mode](**BETAS, **SCHEDULERS.get(mode, {}))
        self.scheduler.set_timesteps(params["num_inference_steps"])
        torch.manual_seed(params["seed"])
        self.noise = torch.randn(len(params["t_index_list"]), 4, SIDE // 8, SIDE // 8)
        self.earlier: list[torch.Tensor] = []

    def picture(self, z):
        scheduler, indices = self.scheduler, self.params["t_index_list"]
        timesteps = [scheduler.timesteps[index] for index in indices]
        if not isinstance(scheduler, DDIMScheduler):
            scheduler.set_begin_index(indices[0])
            scheduler._step_index = None
        x = scheduler.add_noise(z, self.noise[:1], timesteps[0][None])
        for row, t in enumerate(timesteps):
            eps = self.unet(scheduler.scale_model_input(x, t), t, encoder_hidden_states=self.prompt, return_dict=False)[0]
            if isinstance(scheduler, TCDScheduler):
                # It draws its noise itself.
                new = self.noise[row + 1 : row + 2] if row + 1 < len(timesteps) else None
                scheduling_tcd.randn_tensor = lambda *_, new=new, **__: new
                x = scheduler.step(eps, t, x, eta=self.params["eta"]).prev_sample
            else:
                step = scheduler.step(eps, t, x)
                x, clean = step.prev_sample, step.pred_original_sample
        if isinstance(scheduler, TCDScheduler):
            # The last step leaves the noise of the first training timestep.
            start = scheduler.alphas_cumprod[0]
            return (x - (1 - start).sqrt() * eps) / start.sqrt()
        return clean

    def step(self, z):
        delay = len(self.params["t_index_list"]) - 1
        self.earlier = [*(self.earlier or [z] * delay), z][-delay - 1 :]
        return self.picture(self.earlier[0])


def encode_text(text: str, tokenizer, encoder) -> torch.Tensor:
    ids = tokenizer(text, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    return encoder(ids)[0]


def build_scheduler(**changes) -> LCMScheduler:
    return LCMScheduler(**BETAS, **changes)


@torch.no_grad()
def write(out: pathlib.Path, build, modes: dict) -> None:
    # For the biases, which keep a part of what the tools give them.
    torch.manual_seed(0)
    shutil.rmtree(out, ignore_errors=True)
    model = out / "model"
    tokenizer = build_tokenizer(model / "tokenizer")
    encoder, unet, vae = build_text_encoder(tokenizer), build(), build_vae()

    frames = moving_frames()
    images = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
    settle(vae.encoder.layers[-1], lambda: vae.encode(images).latents, 0.0, 1.0)
    latents_in = vae.encode(images).latents
    text = encode_text(COMMON["prompt"], tokenizer, encoder).expand(FRAMES, -1, -1)
    settle(unet.conv_out, lambda: unet(latents_in, 399, encoder_hidden_states=text).sample, 0.0, 0.5)
    # The decoder gives 2 y - 1 of its last layer's y.
    settle(vae.decoder.layers[-1], lambda: vae.decode(latents_in).sample * 0.5 + 0.5, 0.5, 0.2)
    golden = {}
    for mode, (cfg, changes) in modes.items():
        params = COMMON | changes
        scheduler = build_scheduler(**SCHEDULERS.get(mode, {}))
        texts = [encode_text(params[key], tokenizer, encoder) for key in ("prompt", "negative_prompt")]
        sampled = mode in SAMPLERS
        stream = Sampled(mode, params, unet, texts[0]) if sampled else Stream(cfg, params, unet, scheduler, *texts)
        latents = torch.cat([stream.step(z[None]) for z in latents_in])
        pictures = vae.decode(latents).sample
        levels = ((pictures * 0.5 + 0.5) * 255).round().clamp(0, 255).to(torch.uint8)
        golden[f"latents.{mode}"] = latents.contiguous()
        golden[f"pictures.{mode}"] = levels.permute(0, 2, 3, 1).contiguous()

    encoder.half().save_pretrained(model / "text_encoder")
    unet.half().save_pretrained(model / "unet")
    vae.half().save_pretrained(model / "vae")
    build_scheduler().save_pretrained(model / "scheduler")
    write_index(model)
    safetensors.torch.save_file({"frames": frames}, out / "frames.safetensors")
    safetensors.torch.save_file(golden, out / "golden.safetensors")
    write_meta(out, modes)
    report(latents_in, golden, modes)


def write_index(model: pathlib.Path) -> None:
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "scheduler": ["diffusers", "LCMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
    }
    (model / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def write_meta(out: pathlib.Path, modes: dict) -> None:
    versions = {tool.__name__: tool.__version__ for tool in (torch, diffusers, transformers, safetensors)}
    modes = {
        mode: {"cfg_type": cfg, "params": COMMON | changes, "scheduler": SCHEDULERS.get(mode, {})}
        for mode, (cfg, changes) in modes.items()
    }
    meta = {
        "versions": {"python": platform.python_version()} | versions,
        "noise": "torch-cpu",
        "tolerance": {"pictures": 1, "reason": "levels of 255: rounding of a value close to a half"},
        "pictures": "picture k is made from frame max(0, k - delay): the first frame fills all rows",
        "modes": modes,
    }
    (out / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")


def report(latents_in: torch.Tensor, golden: dict[str, torch.Tensor], modes: dict) -> None:
    """Prints whether the pictures distinguish the modes."""
    print(f"latents in: mean {latents_in.mean():.3f}, deviation {latents_in.std():.3f}")
    first = next(iter(modes))
    base = golden[f"pictures.{first}"].float()
    for mode in modes:
        latents, pictures = golden[f"latents.{mode}"], golden[f"pictures.{mode}"].float()
        clipped = ((pictures == 0) | (pictures == 255)).float().mean()
        moves = (pictures[1:] - pictures[:-1]).abs().mean()
        print(
            f"{mode}: latents {latents.mean():.3f} +- {latents.std():.3f}; pictures {pictures.mean():.1f} "
            f"+- {pictures.std():.1f}, clipped {clipped:.3f}, change a frame {moves:.2f}, "
            f"from {first} {(pictures - base).abs().mean():.2f}"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    write(GOLDEN / "stream", build_unet, MODES)
    write(GOLDEN / "stream-sdxs", build_sdxs_unet, SDXS_MODES)
