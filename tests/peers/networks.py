"""The networks that are timed, as diffusers builds them, with seeded random weights and inputs."""

import hashlib
import json

import numpy as np

TOKENS = 77
TIME_IDS = 6
SEED = 1


class Network:
    """A part of a model at a fixed size: a UNet, or half of a tiny autoencoder."""

    def __init__(self, name, part, config, size, rows):
        self.name, self.part, self.config, self.size, self.rows = name, part, config, size, rows

    def file_name(self, *more):
        """Returns a name for files derived from this network, which changes with all of its properties."""
        whole = json.dumps([self.config, SEED, *more], sort_keys=True).encode()
        return f"{self.name}-{self.part}-{self.size}-{self.rows}-{hashlib.sha256(whole).hexdigest()[:12]}"

    def inputs(self):
        """The inputs in order, in f32; needs no torch."""
        random = np.random.default_rng(SEED)
        channels, side = self.config.get("in_channels", 4), self.size // 8
        normal = lambda *shape: random.standard_normal(shape, dtype=np.float32)  # noqa: E731
        if self.part == "encoder":
            return [random.uniform(-1, 1, (self.rows, 3, self.size, self.size)).astype(np.float32)]
        if self.part == "decoder":
            return [normal(self.rows, self.config.get("latent_channels", 4), side, side)]
        text = normal(self.rows, TOKENS, self.config["cross_attention_dim"])
        inputs = [normal(self.rows, channels, side, side), np.full(self.rows, 999, np.float32), text]
        if self.config.get("addition_embed_type") == "text_time":
            ids = TIME_IDS * self.config["addition_time_embed_dim"]
            inputs.append(normal(self.rows, self.config["projection_class_embeddings_input_dim"] - ids))
            inputs.append(np.full((self.rows, TIME_IDS), self.size, np.float32))
        return inputs

    def module(self):
        """The network as a torch module that takes the inputs in order and returns a tensor."""
        import diffusers
        import torch

        torch.manual_seed(SEED)
        config = {key: value for key, value in self.config.items() if not key.startswith("_")}
        if self.part == "unet":
            return wrapped_unet(diffusers.UNet2DConditionModel(**config).eval())
        autoencoder = diffusers.AutoencoderTiny(**config).eval()
        return autoencoder.encoder if self.part == "encoder" else autoencoder.decoder


def wrapped_unet(unet):
    """`unet` with its inputs in a row, as the converters want them."""
    import torch

    class Unet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unet = unet

        def forward(self, sample, timesteps, text, pooled=None, time_ids=None):
            added = None if pooled is None else {"text_embeds": pooled, "time_ids": time_ids}
            return self.unet(sample, timesteps, text, added_cond_kwargs=added, return_dict=False)[0]

    return Unet()
