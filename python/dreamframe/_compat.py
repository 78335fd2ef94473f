"""Converts images and configurations of the original wrapper to this package's types, and pictures back."""

import base64
import importlib
import io
import os
from collections.abc import Mapping
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from .errors import UnsupportedError

OutputType = Literal["pil", "pt", "np"]

# The field of this package for each configuration key of the fork.
_CHAINS = {
    "image_preprocessing_config": "image_preprocessing",
    "image_postprocessing_config": "image_postprocessing",
    "latent_preprocessing_config": "latent_preprocessing",
    "latent_postprocessing_config": "latent_postprocessing",
}


def pixels_of(image: Any, width: int, height: int) -> NDArray[np.uint8]:
    """Reads any image that the original accepts; PIL images are resized to the stream's size."""
    if isinstance(image, (str, os.PathLike)):
        image = _pil().open(os.fspath(cast("str", image)))
    if hasattr(image, "convert") and hasattr(image, "resize"):
        return np.asarray(image.convert("RGB").resize((width, height)))
    if hasattr(image, "detach"):
        image = image.detach().cpu()
        image = image.float() if image.is_floating_point() else image
    pixels = np.asarray(image)
    if pixels.ndim == 4 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.ndim == 3 and pixels.shape[0] in (3, 4) and pixels.shape[2] not in (3, 4):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.dtype.kind == "f":
        zero_to_one = pixels / 2 + 0.5 if pixels.size and pixels.min() < 0 else pixels
        pixels = np.rint(zero_to_one * 255).clip(0, 255).astype(np.uint8)
    # The engine reports any other problem with the array.
    return np.ascontiguousarray(pixels)


def given_out(pixels: NDArray[np.uint8], output_type: str) -> Any:
    """Converts a picture to the output type of the original."""
    if output_type == "pil":
        return _pil().fromarray(pixels)
    floats = pixels.astype(np.float32) / 255.0
    if output_type == "np":
        return floats
    if output_type == "pt":
        return _tensor(floats)
    raise UnsupportedError(f"output_type: got {output_type!r}, expected one of pil, np, pt")


def configurations(**configurations: Any) -> dict[str, Any]:
    """Converts the fork's configurations to this package's fields."""
    changes: dict[str, Any] = {}
    for name, value in configurations.items():
        if value is None:
            continue
        if name == "controlnet_config":
            changes["controlnets"] = [value] if isinstance(value, Mapping) else list(value)
        elif name == "ipadapter_config":
            changes |= _ip_adapter(dict(value))
        elif name in _CHAINS:
            in_order = sorted(value, key=lambda processor: processor.get("order", 0))
            processors = [{key: one[key] for key in one if key != "order"} for one in in_order]
            changes[_CHAINS[name]] = {"enabled": True, "processors": processors}
        else:
            raise TypeError(f"update_stream_params() takes no argument {name!r}")
    return changes


def _ip_adapter(configuration: dict[str, Any]) -> dict[str, Any]:
    """Converts the fork's description of an image prompt; the style image is a path or a PIL image."""
    changes: dict[str, Any] = {}
    style = configuration.pop("style_image", None)
    if style is not None:
        image = _pil().open(style) if isinstance(style, (str, os.PathLike)) else style
        png = io.BytesIO()
        image.convert("RGB").save(png, "PNG")
        url = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
        changes["ip_adapter_style_image_url"] = url
    if "ipadapter_model_path" in configuration:
        configuration["ip_adapter_model_path"] = configuration.pop("ipadapter_model_path")
    if configuration:
        changes["ip_adapter"] = {"enabled": True} | configuration
    return changes


def _pil() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("paths and PIL images need Pillow: pip install pillow") from error
    return Image


def _tensor(floats: NDArray[np.float32]) -> Any:
    try:
        torch = cast("Any", importlib.import_module("torch"))
    except ImportError as error:
        raise ImportError('output_type "pt" needs PyTorch: pip install torch, or ask for "np"') from error
    return torch.from_numpy(np.ascontiguousarray(floats.transpose(2, 0, 1)))
