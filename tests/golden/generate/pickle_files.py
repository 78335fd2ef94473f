"""Writes the pickled weights under tests/golden/pickle with torch, and the same tensors as safetensors.

    python tests/golden/generate/pickle_files.py

Needs torch and safetensors. The tests compare both forms to the byte.
"""
import collections
import pathlib

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent.parent / "pickle"


def numbers(*shape, dtype=torch.float32):
    count = torch.Size(shape).numel()
    return ((torch.arange(count) * 37 % 101).float() / 50 - 1).reshape(shape).to(dtype)


def types():
    names = ["float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"]
    state = collections.OrderedDict((name, numbers(3, 4, dtype=getattr(torch, name))) for name in names)
    state["scalar"] = torch.tensor(2.5)
    state["empty"] = torch.zeros(0, 3)
    return state


def views():
    base, shared = numbers(6, 4), numbers(5)
    linear = torch.nn.Linear(3, 2)
    with torch.no_grad():
        linear.weight.copy_(numbers(2, 3))
    state = collections.OrderedDict(
        transposed=base.t(), rows=base[2:5], columns=base[:, 1:3], steps=base[::2, ::3], cube=numbers(2, 3, 4).permute(2, 0, 1),
        first=shared, second=shared, tail=shared[2:], parameter=torch.nn.Parameter(numbers(2, 2)),
        half=numbers(3, 3, dtype=torch.float16).t(),
    )
    state.update(linear.state_dict(prefix="linear."))
    state["linear.bias"] = numbers(2)
    return state


def lightning():
    state = {"model.a.weight": numbers(2, 3), "model.a.bias": numbers(2, dtype=torch.float16)}
    whole = {
        "epoch": 7, "global_step": 123_456_789_012, "pytorch-lightning_version": "1.9.0", "loss": 0.25, "big": 2**200,
        "state_dict": collections.OrderedDict(state), "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}}],
        "callbacks": {"best": None, "text": "x" * 5000, "raw": b"bytes", "names": {"a", "b"}},
    }
    return whole, state


def ip_adapter():
    nested = {"image_proj": {"proj.weight": numbers(4, 2)}, "ip_adapter": {"1.to_k_ip.weight": numbers(2, 2)}}
    return nested, {f"{part}.{name}": tensor for part, tensors in nested.items() for name, tensor in tensors.items()}


def lora():
    return {
        "unet.a.processor.to_q_lora.down.weight": numbers(2, 3), "unet.a.processor.to_q_lora.up.weight": numbers(4, 2),
    }


def main():
    HERE.mkdir(exist_ok=True)
    averaged = {"params": {"w": numbers(2)}, "params_ema": {"w": numbers(3)}}
    cases = {
        "zip.pt": (types(), None, {}),
        "legacy.pt": (types(), None, {"_use_new_zipfile_serialization": False}),
        "protocol_4.pt": (types(), None, {"pickle_protocol": 4}),
        "protocol_5.pt": (types(), None, {"pickle_protocol": 5}),
        "legacy_protocol_4.pt": (types(), None, {"_use_new_zipfile_serialization": False, "pickle_protocol": 4}),
        "views.pth": (views(), None, {}),
        "legacy_views.pth": (views(), None, {"_use_new_zipfile_serialization": False}),
        "lightning.ckpt": (*lightning(), {}),
        "averaged.pth": (averaged, averaged["params_ema"], {}),
        "ip_adapter.bin": (*ip_adapter(), {}),
        "lora.bin": (lora(), None, {}),
    }
    cases["float8.pt"] = ({"a": numbers(4).to(torch.float8_e4m3fn), "b": numbers(4).to(torch.float8_e5m2)}, None, {})
    for name, (content, tensors, options) in cases.items():
        torch.save(content, HERE / name, **options)
        tensors = content if tensors is None else tensors
        copies = {key: tensor.detach().contiguous().clone() for key, tensor in tensors.items()}
        save_file(copies, HERE / f"{name}.safetensors")
    torch.serialization.set_crc32_options(False)
    torch.save(lora(), HERE / "without_checksums.bin")
    save_file({key: tensor.clone() for key, tensor in lora().items()}, HERE / "without_checksums.bin.safetensors")


main()
