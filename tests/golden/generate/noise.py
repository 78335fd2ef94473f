"""Writes tests/golden/noise.json: what `core/src/stream/noise` must draw.

`torch_cpu` is what torch itself draws on a processor. `philox` is worked out here, number by number, from the published
algorithm and the layout that CUDA and torch have.
Run by hand, with torch and numpy: python tests/golden/generate/noise.py
"""

import json
import pathlib
import platform

import numpy as np
import torch

CPU_CASES = [(0, 16), (0, 20), (1, 64), (2, 256), (789, 324), (4294967301, 100), (18446744073709551615, 48)]
PHILOX_CASES = [(0, 32), (1, 64), (789, 324), (4294967301, 48), (18446744073709551615, 48)]


def torch_cpu(seed: int, length: int) -> list[float]:
    torch.manual_seed(seed)
    return torch.randn(length, dtype=torch.float32).tolist()


def philox_words(key: int, thread: int) -> tuple[int, int, int, int]:
    """The ten rounds of Philox 4x32 (Salmon et al., 2011); offset 0, `thread` in the upper half of the counter."""
    mask = 0xFFFFFFFF
    c0, c1, c2, c3 = 0, 0, thread & mask, thread >> 32
    k0, k1 = key & mask, key >> 32
    for _ in range(10):
        low, high = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (high >> 32) ^ c1 ^ k0, high & mask, (low >> 32) ^ c3 ^ k1, low & mask
        k0, k1 = (k0 + 0x9E3779B9) & mask, (k1 + 0xBB67AE85) & mask
    return c0, c1, c2, c3


def philox_normal(seed: int, length: int) -> list[int]:
    """The f16 bits of the first normal number of threads 0 to `length`; every operation is rounded to f32."""
    words = np.array([philox_words(seed, thread)[:2] for thread in range(length)], dtype=np.uint32)
    x, y = words[:, 0].astype(np.float32), words[:, 1].astype(np.float32)
    inverse = np.float32(2.0**-32)
    u = x * inverse + np.float32(2.0**-33)
    turn = np.float32(2.0 * np.pi) * inverse
    # One rounding for both, as a fused multiply-add has.
    v = (y.astype(np.float64) * np.float64(turn) + np.float64(turn / np.float32(2.0))).astype(np.float32)
    radius = np.sqrt(np.float32(-2.0) * np.log(u.astype(np.float64)).astype(np.float32))
    normal = radius * np.sin(v.astype(np.float64)).astype(np.float32)
    return normal.astype(np.float32).astype(np.float16).view(np.uint16).tolist()


def main() -> None:
    golden = {
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__},
        "torch_cpu": [{"seed": seed, "values": torch_cpu(seed, length)} for seed, length in CPU_CASES],
        "philox": [{"seed": seed, "f16_bits": philox_normal(seed, length)} for seed, length in PHILOX_CASES],
    }
    path = pathlib.Path(__file__).resolve().parent.parent / "noise.json"
    path.write_text(json.dumps(golden).replace("}, {", "},\n{") + "\n")
    first = np.array(golden["philox"][0]["f16_bits"], dtype=np.uint16).view(np.float16)
    print("philox, seed 0:", first[:5], " torch, seed 0:", golden["torch_cpu"][0]["values"][:9])


if __name__ == "__main__":
    main()
