"""Builds the untrained parts (tokenizer, text encoder, UNet) of the demo model."""

import gzip
import json
import os

import torch
from diffusers import LCMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

BOS, EOS = "<|startoftext|>", "<|endoftext|>"


def write_tokenizer(bpe_gz, folder, merges=2000):
    """Cut CLIP's byte-pair vocabulary down to its first `merges` merges."""
    os.makedirs(folder, exist_ok=True)
    lines = gzip.open(bpe_gz, "rt", encoding="utf-8").read().split("\n")[1 : merges + 1]
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    order = [chr(b) for b in printable]
    order += [chr(256 + i) for i in range(256 - len(printable))]  # bytes without a glyph of their own
    words = order + [c + "</w>" for c in order] + ["".join(m.split()) for m in lines] + [BOS, EOS]
    with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as f:
        json.dump({w: i for i, w in enumerate(words)}, f, ensure_ascii=False, separators=(",", ":"))
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "\n".join(lines) + "\n")
    tok = dict(content=None, lstrip=False, normalized=True, rstrip=False, single_word=False)
    special = {k: {**tok, "content": v} for k, v in (("bos_token", BOS), ("eos_token", EOS), ("unk_token", EOS))}
    special["pad_token"] = EOS
    with open(os.path.join(folder, "special_tokens_map.json"), "w") as f:
        json.dump(special, f, indent=2)
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump(
            {
                "add_prefix_space": False,
                "bos_token": BOS,
                "eos_token": EOS,
                "unk_token": EOS,
                "pad_token": EOS,
                "do_lower_case": True,
                "errors": "replace",
                "model_max_length": 77,
                "tokenizer_class": "CLIPTokenizer",
            },
            f,
            indent=2,
        )
    return CLIPTokenizer.from_pretrained(folder)


def build_text_encoder(tokenizer, hidden=128, layers=2, heads=4, mlp=256):
    n = len(tokenizer)
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=n,
            hidden_size=hidden,
            intermediate_size=mlp,
            projection_dim=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
            bos_token_id=n - 2,
            eos_token_id=n - 1,
            pad_token_id=n - 1,
            initializer_factor=1.0,
        )
    )


def build_unet(widths=(96, 96), layers=1, cross=128, channels=16):
    """Two levels. The first attends to words alone: attention between its pixels took half of the time at 512 x 512."""
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=layers,
        block_out_channels=tuple(widths),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),  # the last block draws the texture
        mid_block_type="UNetMidBlock2DCrossAttn",
        only_cross_attention=(True, False),
        cross_attention_dim=cross,
        attention_head_dim=tuple(width // 32 for width in widths),  # diffusers reads this as the number of heads
        norm_num_groups=16,
        use_linear_projection=True,
    )


@torch.no_grad()
def identity_start(unet):
    """Start as eps = x / std(x): a +x/-x channel pair rides the outermost skip.

    silu(v) - silu(-v) = v, so the pair survives the last norm and activation exactly and the
    network only has to learn corrections to its noisy input.
    """
    for att in unet.up_blocks[-1].attentions:
        att.proj_out.weight.zero_()
        att.proj_out.bias.zero_()
    cin, cout, last = unet.conv_in, unet.conv_out, unet.up_blocks[-1].resnets[-1]
    c = cin.out_channels
    k = 2 * unet.config.in_channels
    cin.weight[:k] = 0
    cin.bias[:k] = 0
    last.conv_shortcut.weight[:k] = 0
    last.conv_shortcut.bias[:k] = 0
    last.conv2.weight[:k] = 0
    last.conv2.bias[:k] = 0
    cout.weight.mul_(0.2)
    cout.bias.zero_()
    cout.weight[:, :k] = 0
    for j in range(k):
        s = 1.0 if j % 2 == 0 else -1.0
        cin.weight[j, j // 2, 1, 1] = s
        last.conv_shortcut.weight[j, last.conv_shortcut.in_channels - c + j, 0, 0] = 1.0
        cout.weight[j // 2, j, 1, 1] = s


def scheduler():
    return LCMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        prediction_type="epsilon",
        original_inference_steps=50,
        clip_sample=False,
        set_alpha_to_one=True,
    )
