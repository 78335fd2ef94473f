"""Writes tests/golden/processors: small pictures, and what processors without networks make of them.

    python tests/golden/generate/processors.py

Needs torch, numpy, safetensors, pillow and opencv-python-headless. Every processor is written out here in torch, whole
kernels at a time; `canny` is OpenCV's own, and Lanczos' filter Pillow's. Pictures are crops of server/media (see its credits) and random numbers.

Results are stored as `round(x * 65535)`, but for those of canny, which are bits, and of latent_feedback.
"""

import json
import math
import platform
from pathlib import Path

import cv2
import numpy as np
import PIL
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.numpy import save_file

SEED = 11
ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "tests/golden/processors"
FILM = ROOT / "server/media/big-buck-bunny-360p.mp4"


def film(frame, x, y, width, height, every=1):
    """A crop of the film, as RGB bytes."""
    reader = cv2.VideoCapture(str(FILM))
    reader.set(cv2.CAP_PROP_POS_FRAMES, frame)
    ok, picture = reader.read()
    assert ok
    picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)[y : y + height * every, x : x + width * every]
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    assert picture.shape == (height, width, 3)
    return picture


def random(width, height, blur):
    """Noise, the smoother the larger `blur` is, over the whole range."""
    noise = np.random.default_rng(SEED + width + blur).random((height, width, 3)).astype(np.float32)
    if blur:
        noise = cv2.GaussianBlur(noise, (0, 0), blur)
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    return (noise * 255).round().astype(np.uint8)


def first(picture):
    """Bytes, channels last, as numbers in 0..1, channels first."""
    return torch.from_numpy(picture).permute(2, 0, 1).float() / 255.0


def each(x, kernel):
    """Every channel convolved with a square kernel, zeros outside."""
    kernel = torch.as_tensor(kernel, dtype=torch.float32)
    return F.conv2d(x[:, None], kernel[None, None], padding=kernel.shape[-1] // 2)[:, 0]


def gauss(sigma, side):
    x = torch.arange(side, dtype=torch.float64) - side // 2
    kernel = torch.exp(-(x[:, None] ** 2 + x[None] ** 2) / (2 * sigma**2))
    return kernel / kernel.sum()


def luma(x):
    return 0.299 * x[0] + 0.587 * x[1] + 0.114 * x[2]


SOBEL = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]


def blur(x, blur_intensity=2.0, kernel_size=15):
    return each(x, gauss(blur_intensity, kernel_size | 1))


def sharpen(
    x,
    sharpen_intensity=1.5,
    unsharp_radius=1.0,
    edge_enhancement=0.5,
    detail_boost=0.3,
    noise_reduction=0.1,
    multi_scale=True,
):
    def smooth(x, sigma):
        side = max(3, int(6 * sigma + 1))
        return each(x, gauss(sigma, side + 1 - side % 2))

    if noise_reduction > 0:
        x = (1 - noise_reduction) * x + noise_reduction * smooth(x, 0.3)
    if multi_scale:
        added = torch.zeros_like(x)
        for times, weight in (0.5, 0.3), (1, 0.5), (2, 0.2):
            sharp = (x + sharpen_intensity * weight * (x - smooth(x, unsharp_radius * times))).clamp(0, 1)
            added += weight * (sharp - x)
        x = (x + added).clamp(0, 1)
    else:
        x = (x + sharpen_intensity * (x - smooth(x, unsharp_radius))).clamp(0, 1)
    sobel = torch.tensor(SOBEL, dtype=torch.float32)
    x = (x + edge_enhancement * torch.sqrt(each(x, sobel) ** 2 + each(x, sobel.T) ** 2)).clamp(0, 1)
    return (x + detail_boost * each(x, [[0, -1, 0], [-1, 4, -1], [0, -1, 0]])).clamp(0, 1)


def soft_edge(x):
    five = [[-1, -2, 0, 2, 1], [-2, -3, 0, 3, 2], [-3, -5, 0, 5, 3], [-2, -3, 0, 3, 2], [-1, -2, 0, 2, 1]]
    seven = [[-1, -2, -3], [-2, -3, -4], [-3, -4, -5], [-4, -5, -6], [-3, -4, -5], [-2, -3, -4], [-1, -2, -3]]
    seven = [row + [0] + [-value for value in reversed(row)] for row in seven]
    g = luma(x)[None]
    edges = 0
    for kernel, scale, weight in (SOBEL, 1, 0.5), (five, 16, 0.3), (seven, 32, 0.2):
        kernel = torch.tensor(kernel, dtype=torch.float32) / scale
        edges += weight * torch.sqrt(each(g, kernel) ** 2 + each(g, kernel.T) ** 2)
    binomial = torch.tensor([1.0, 4, 6, 4, 1])
    edges = each(edges, binomial[:, None] * binomial[None] / 256)
    edges = edges / (edges.max() + 1e-8)
    return torch.sigmoid(6 * edges - 3).expand(3, -1, -1)


def standard_lineart(x, detect_resolution=512, gaussian_sigma=6.0, intensity_threshold=8.0):
    size = x.shape[1:]
    k = detect_resolution / min(size)
    height, width = (int(np.round(side * k)) for side in size)
    x = x * 255
    if k > 1:
        x = F.interpolate(x[None], (height, width), mode="bicubic", align_corners=False)
    else:
        x = F.interpolate(x[None], (height, width), mode="area")
    x = F.pad(x, (0, -width % 64, 0, -height % 64), mode="replicate")
    reach = math.ceil(3 * gaussian_sigma)
    at = torch.linspace(-1, 1, 2 * reach + 1, dtype=torch.float64)
    kernel = torch.exp(-(at**2) / (2 * gaussian_sigma**2))
    kernel = (kernel / kernel.sum()).float()
    padded = F.pad(x, (reach, reach, reach, reach), mode="reflect").transpose(0, 1)
    blurred = F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None]).transpose(0, 1)
    v = (blurred - x)[0].min(dim=0).values.clamp(min=0)
    dark = v[v > intensity_threshold]
    v = v / max(16.0, dark.median().item() if dark.numel() else 0.0) * 127
    v = v.clamp(0, 255).to(torch.uint8)[:height, :width].float() / 255
    return F.interpolate(v[None, None], size, mode="bilinear", align_corners=False)[0].expand(3, -1, -1)


def upscale(x, scale_factor=2.0, algorithm="bilinear"):
    """torch has no Lanczos filter; Pillow scales one channel of floats at a time."""
    size = tuple(int(side * scale_factor) for side in x.shape[1:])
    if algorithm == "lanczos":
        channels = [Image.fromarray(channel).resize(size[::-1], Image.Resampling.LANCZOS) for channel in x.numpy()]
        return torch.from_numpy(np.stack([np.array(channel) for channel in channels])).clamp(0, 1)
    rule = {} if algorithm == "nearest" else {"align_corners": False}
    return F.interpolate(x[None], size, mode=algorithm, **rule)[0].clamp(0, 1)


def passthrough(x):
    return x


CASES = [
    (passthrough, {}),
    (blur, {}),
    (blur, {"blur_intensity": 0.7, "kernel_size": 4}),
    (sharpen, {}),
    (sharpen, {"multi_scale": False, "noise_reduction": 0.0, "unsharp_radius": 2.5}),
    (sharpen, {"sharpen_intensity": 0.5, "edge_enhancement": 0.0, "detail_boost": 1.0, "noise_reduction": 1.0}),
    (soft_edge, {}),
    (standard_lineart, {}),
    (standard_lineart, {"detect_resolution": 24, "gaussian_sigma": 2.0, "intensity_threshold": 1.5}),
    (upscale, {}),
    (upscale, {"scale_factor": 1.7, "algorithm": "bicubic"}),
    (upscale, {"scale_factor": 1.3, "algorithm": "lanczos"}),
    (upscale, {"scale_factor": 1.6, "algorithm": "nearest"}),
]
CANNY = [{}, {"low_threshold": 20.7, "high_threshold": 60.2}, {"low_threshold": 300, "high_threshold": 120}]


def canny(picture, low_threshold=100, high_threshold=200):
    """OpenCV's, without the routines that a processor's maker puts in its place."""
    gray = (luma(first(picture)) * 255).to(torch.uint8).numpy()
    cv2.ipp.setUseIPP(False)
    edges = cv2.Canny(gray, low_threshold, high_threshold)
    cv2.ipp.setUseIPP(True)
    assert (edges == cv2.Canny(gray, low_threshold, high_threshold)).all()
    return edges


def main():
    small = {
        "film": film(10, 200, 80, 36, 24, 4),
        "odd": film(60, 40, 60, 25, 19, 6),
        "noise": random(14, 17, 0),
        "constant": np.full((9, 17, 3), (90, 200, 30), np.uint8),
        "black": np.zeros((8, 8, 3), np.uint8),
    }
    edged = small | {
        "film large": film(90, 160, 40, 112, 84, 2),
        "film odd": film(120, 100, 100, 91, 67, 2),
        "noise fine": random(61, 47, 1),
        "noise coarse": random(90, 70, 4),
        "line": np.pad(np.full((1, 1, 3), 255, np.uint8), ((3, 2), (2, 3), (0, 0))),
        "pixel": np.full((1, 1, 3), 255, np.uint8),
        "row": random(33, 1, 0),
        "column": random(1, 33, 0),
    }
    tensors = {f"picture.{name}": picture for name, picture in edged.items()}
    cases = []
    for processor, settings in CASES:
        for name, picture in small.items():
            result = processor(first(picture), **settings).permute(1, 2, 0).double()
            assert 0 <= result.min() and result.max() <= 1
            tensors[f"{len(cases)}.{name}"] = (result * 65535).round().numpy().astype(np.uint16)
        cases.append({"processor": processor.__name__, "settings": settings})
    edges = []
    for settings in CANNY:
        for name, picture in edged.items():
            tensors[f"canny.{len(edges)}.{name}"] = np.packbits(canny(picture, **settings) > 0)
        edges.append(settings)
    FOLDER.mkdir(exist_ok=True)
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, FOLDER / "golden.safetensors")
    meta = {
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            "pillow": PIL.__version__,
        },
        "seed": SEED,
        "pictures": "film: Big Buck Bunny, (c) Blender Foundation, www.bigbuckbunny.org, CC BY 3.0; the others are made",
        "pictures of processors": list(small),
        "pictures of canny": list(edged),
        "cases": cases,
        "canny": edges,
    }
    (FOLDER / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")
    for index, settings in enumerate(edges):
        share = {name: int(np.unpackbits(tensors[f"canny.{index}.{name}"]).sum()) for name in edged}
        print(settings, share)


if __name__ == "__main__":
    main()
