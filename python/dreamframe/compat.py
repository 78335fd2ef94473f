"""The interface of the original StreamDiffusion wrapper: existing scripts run with one changed import.

>>> from dreamframe.compat import StreamDiffusionWrapper     # was: from utils.wrapper import StreamDiffusionWrapper
>>> stream = StreamDiffusionWrapper("demo", t_index_list=[41, 46], cfg_type="none")
>>> stream.prepare(prompt="stained glass window")
>>> picture = stream(image="in.png")

Differences from the original:

- Models are diffusers folders or single files below `models` or in the Hugging Face cache; nothing is downloaded.
- `preprocess_image` returns a `uint8` array of height x width x 3, not a tensor. Arrays and tensors are accepted
  wherever the original accepts tensors: `uint8`, or floats from 0 to 1, or from -1 to 1 if any value is negative.
- The first picture is already complete: the `batch_size` warm-up calls are unnecessary, but harmless.
- `seed` takes effect; the original draws its noise from seed 2 after `prepare`. The noise is that of
  `torch.manual_seed`, so the same seed gives the same picture.
- An update is applied entirely or not at all, and a value out of range raises `InvalidParamsError`; the original
  clamps or ignores some.
- Text to image starts from a grey frame with different noise for each picture, and runs all steps in one call.
  With `t_index_list=[0]` the input is pure noise; the original uses no frame.
- One frame per call: in img2img mode `frame_buffer_size` must be 1. Latents are not returned.
- `device="cuda"` selects the fastest device that this build supports, and warns if that is the CPU. Weights are `f32`
  for every float type except `bf16`.
- Options that concern only TensorRT or several GPUs (`warmup`, `engine_dir`, `device_ids` and similar) are accepted
  and ignored. The scheduler variants of the TensorRT engines are not supported: `scheduler` is "lcm", `sampler`
  "normal".

New programs should use `dreamframe.StreamDiffusion`: it has update costs, sessions and typed parameters.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ._compat import OutputType, configurations, given_out, pixels_of
from ._dreamframe import StreamDiffusion
from .errors import InvalidArgumentError, InvalidFrameError, UnsupportedError

__all__ = ["StreamDiffusionWrapper"]

Prompt = str | Sequence[tuple[str, float]]
Interpolation = Literal["linear", "slerp"]

_log = logging.getLogger(__name__)

# Options that concern only TensorRT engines, several GPUs and warm-up runs.
_HINTS = frozenset(
    {
        "build_engines_if_missing",
        "device_ids",
        "engine_dir",
        "max_batch_size",
        "min_batch_size",
        "use_controlnet",
        "use_ipadapter",
        "use_tiny_vae",
        "vae_builder_opt_batch",
        "warmup",
    }
)
# The largest seed is JavaScript's largest safe integer.
_SEEDS = 1 << 53
_GREY = 128


class StreamDiffusionWrapper:
    """Drop-in replacement of the original wrapper; see the module documentation for the differences."""

    def __init__(
        self,
        model_id_or_path: str,
        t_index_list: Sequence[int],
        *,
        lora_dict: Mapping[str, float] | None = None,
        mode: Literal["img2img", "txt2img"] = "img2img",
        output_type: OutputType = "pil",
        lcm_lora_id: str | None = None,
        device: object = None,
        dtype: object = None,
        frame_buffer_size: int = 1,
        width: int = 512,
        height: int = 512,
        acceleration: Literal["none", "xformers", "tensorrt"] = "tensorrt",
        do_add_noise: bool = True,
        use_lcm_lora: bool | None = None,
        enable_similar_image_filter: bool = False,
        similar_image_filter_threshold: float = 0.98,
        similar_image_filter_max_skip_frame: int = 10,
        use_denoising_batch: bool = True,
        cfg_type: Literal["none", "full", "self", "initialize"] = "self",
        seed: int = 2,
        use_safety_checker: bool = False,
        safety_checker_threshold: float = 0.5,
        skip_diffusion: bool = False,
        normalize_prompt_weights: bool = True,
        normalize_seed_weights: bool = True,
        scheduler: Literal["lcm", "ddim", "tcd"] = "lcm",
        sampler: str = "normal",
        controlnet_config: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        ipadapter_config: Mapping[str, Any] | None = None,
        image_preprocessing_config: Sequence[Mapping[str, Any]] | None = None,
        image_postprocessing_config: Sequence[Mapping[str, Any]] | None = None,
        latent_preprocessing_config: Sequence[Mapping[str, Any]] | None = None,
        latent_postprocessing_config: Sequence[Mapping[str, Any]] | None = None,
        models: str | os.PathLike[str] = "models",
        **hints: object,
    ) -> None:
        """Loads the model; the prompt is empty until `prepare` is called.

        `model_id_or_path` is a folder or file, "demo", or an id that is searched below `models` and in the Hugging
        Face cache. A negative `seed` selects a random seed.
        """
        unknown = sorted(hints.keys() - _HINTS)
        if unknown:
            raise TypeError(f"StreamDiffusionWrapper() takes no argument {unknown[0]!r}")
        for name, value in hints.items():
            _log.info("%s=%r means nothing here", name, value)
        _check_mode(mode, cfg_type, frame_buffer_size, sampler)

        self.mode = mode
        self.output_type: OutputType = output_type
        self.width = width
        self.height = height
        self.frame_buffer_size = frame_buffer_size
        self.use_denoising_batch = use_denoising_batch
        self.cfg_type = cfg_type
        self.batch_size = len(t_index_list) * frame_buffer_size if use_denoising_batch else frame_buffer_size
        self._seed: int | None = random.randrange(1_000_000) if seed < 0 else seed
        self._drawn = 0
        model, source = _locate(model_id_or_path, models)
        changes: dict[str, Any] = {
            "model_id": model,
            "prompt": "",
            "negative_prompt": "",
            "cfg_type": cfg_type,
            "guidance_scale": 1.0 if cfg_type == "none" else 1.1,
            "delta": 1.0,
            "t_index_list": list(t_index_list),
            "width": width,
            "height": height,
            "lora_dict": dict(lora_dict) if lora_dict else None,
            "use_lcm_lora": use_lcm_lora is None or use_lcm_lora,
            "acceleration": acceleration,
            "do_add_noise": do_add_noise,
            "scheduler": scheduler,
            # Text to image has no stream of frames: each picture runs all its steps in one call.
            "use_denoising_batch": use_denoising_batch and mode == "img2img",
            "enable_similar_image_filter": enable_similar_image_filter,
            "similar_image_filter_threshold": similar_image_filter_threshold,
            "similar_image_filter_max_skip_frame": similar_image_filter_max_skip_frame,
            "seed": self._seed,
            "use_safety_checker": use_safety_checker,
            "safety_checker_threshold": safety_checker_threshold,
            "skip_diffusion": skip_diffusion,
            "normalize_prompt_weights": normalize_prompt_weights,
            "normalize_seed_weights": normalize_seed_weights,
        }
        if lcm_lora_id is not None:
            changes["lcm_lora_id"] = lcm_lora_id
        changes |= configurations(
            controlnet_config=controlnet_config,
            ipadapter_config=ipadapter_config,
            image_preprocessing_config=image_preprocessing_config,
            image_postprocessing_config=image_postprocessing_config,
            latent_preprocessing_config=latent_preprocessing_config,
            latent_postprocessing_config=latent_postprocessing_config,
        )
        self._engine = StreamDiffusion(
            changes,
            models=source,
            dtype="bf16" if "bf" in str(dtype) else "f32" if "32" in str(dtype) else "auto",
            noise="torch-cpu",
            fit="stretch",
            output="rgb",
        )
        if str(device).startswith("cuda") and "cuda" not in self._engine.device.lower():
            _log.warning("device: got %r, this build uses %s", str(device), self._engine.device)

    @property
    def stream(self) -> StreamDiffusionWrapper:
        """Returns this object: existing scripts also write `wrapper.stream.update_prompt(...)`."""
        return self

    @property
    def engine(self) -> StreamDiffusion:
        """The underlying stream, for features that the original does not have."""
        return self._engine

    def prepare(
        self,
        prompt: Prompt,
        negative_prompt: str = "",
        num_inference_steps: int = 50,
        guidance_scale: float = 1.2,
        delta: float = 1.0,
        prompt_interpolation_method: Interpolation = "slerp",
        seed_list: Sequence[tuple[int, float]] | None = None,
        seed_interpolation_method: Interpolation = "linear",
    ) -> None:
        """Sets the prompt and the guidance; `t_index_list` stays."""
        self.update_stream_params(
            num_inference_steps=num_inference_steps,
            t_index_list=self._engine.params.t_index_list,
            guidance_scale=guidance_scale,
            delta=delta,
            prompt_list=prompt,
            negative_prompt=negative_prompt,
            prompt_interpolation_method=prompt_interpolation_method,
            seed_list=seed_list,
            seed_interpolation_method=seed_interpolation_method,
        )

    def update_prompt(
        self,
        prompt: Prompt,
        negative_prompt: str | None = None,
        prompt_interpolation_method: Interpolation | None = None,
        **hints: object,
    ) -> None:
        """Changes the prompt, or the list of weighted prompts, from the next picture on."""
        unknown = sorted(hints.keys() - {"clear_blending", "warn_about_conflicts"})
        if unknown:
            raise TypeError(f"update_prompt() takes no argument {unknown[0]!r}")
        self.update_stream_params(
            prompt_list=prompt,
            negative_prompt=negative_prompt,
            prompt_interpolation_method=prompt_interpolation_method,
        )

    def update_stream_params(
        self,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        delta: float | None = None,
        t_index_list: Sequence[int] | None = None,
        seed: int | None = None,
        prompt_list: Prompt | None = None,
        negative_prompt: str | None = None,
        prompt_interpolation_method: Interpolation | None = None,
        normalize_prompt_weights: bool | None = None,
        seed_list: Sequence[tuple[int, float]] | None = None,
        seed_interpolation_method: Interpolation | None = None,
        normalize_seed_weights: bool | None = None,
        use_safety_checker: bool | None = None,
        safety_checker_threshold: float | None = None,
        **forks: Any,
    ) -> None:
        """Applies every argument that is not None before the next picture; on an error, applies none."""
        if guidance_scale is not None and self.cfg_type == "none":
            guidance_scale = 1.0
        seeds = seed if seed_list is None else list(seed_list)
        prompts = prompt_list if prompt_list is None or isinstance(prompt_list, str) else list(prompt_list)
        values: dict[str, Any] = {
            "num_inference_steps": num_inference_steps,
            "t_index_list": None if t_index_list is None else list(t_index_list),
            "guidance_scale": guidance_scale,
            "delta": delta,
            "seed": seeds,
            "prompt": prompts,
            "negative_prompt": negative_prompt,
            "prompt_interpolation_method": prompt_interpolation_method,
            "normalize_prompt_weights": normalize_prompt_weights,
            "seed_interpolation_method": seed_interpolation_method,
            "normalize_seed_weights": normalize_seed_weights,
            "use_safety_checker": use_safety_checker,
            "safety_checker_threshold": safety_checker_threshold,
        }
        changes = {name: value for name, value in values.items() if value is not None}
        self._engine.update(changes | configurations(**forks))
        if seeds is not None:
            self._seed, self._drawn = (seed if seed_list is None else None), 0
        if t_index_list is not None and self.use_denoising_batch:
            self.batch_size = len(t_index_list) * self.frame_buffer_size

    def __call__(self, image: object = None, prompt: Prompt | None = None) -> Any:
        """Makes a picture: from `image` in the mode img2img, from noise in the mode txt2img."""
        return self.txt2img(prompt) if self.mode == "txt2img" else self.img2img(image, prompt)

    def img2img(self, image: object, prompt: Prompt | None = None) -> Any:
        """Restyles `image`: a path, a PIL image, an array or a tensor."""
        if prompt is not None:
            self.update_prompt(prompt)
        if image is None:
            raise InvalidFrameError("image: missing, expected a path, a PIL image, an array or a tensor for img2img")
        return self.postprocess_image(self._engine(pixels_of(image, self.width, self.height)), self.output_type)

    def txt2img(self, prompt: Prompt | None = None) -> Any:
        """Makes a picture from the prompt alone, or a list of pictures if `frame_buffer_size` is above 1."""
        if prompt is not None:
            self.update_prompt(prompt)
        pictures = [self._text_to_image() for _ in range(self.frame_buffer_size)]
        return pictures[0] if self.frame_buffer_size == 1 else pictures

    def preprocess_image(self, image: object) -> NDArray[np.uint8]:
        """Resizes an image to the stream's size: `uint8`, height x width x 3."""
        return pixels_of(image, self.width, self.height)

    def postprocess_image(self, image_tensor: NDArray[np.uint8], output_type: OutputType = "pil") -> Any:
        """Returns a picture as a PIL image, as an array of floats from 0 to 1, or as a tensor, channels first."""
        return given_out(np.asarray(image_tensor), output_type)

    def _text_to_image(self) -> Any:
        if self._seed is not None:
            self._engine.update(seed=(self._seed + self._drawn) % _SEEDS)
            self._drawn += 1
        grey = np.full((self.height, self.width, 3), _GREY, np.uint8)
        return self.postprocess_image(self._engine(grey), self.output_type)


def _check_mode(mode: str, cfg_type: str, frame_buffer_size: int, sampler: str) -> None:
    if mode not in ("img2img", "txt2img"):
        raise InvalidArgumentError(f"mode: got {mode!r}, expected one of img2img, txt2img")
    if mode == "txt2img" and cfg_type != "none":
        raise InvalidArgumentError(f"cfg_type: got {cfg_type!r}, expected 'none' where mode is 'txt2img'")
    if frame_buffer_size < 1 or (mode == "img2img" and frame_buffer_size != 1):
        raise UnsupportedError(f"frame_buffer_size: got {frame_buffer_size}, expected 1: a call processes one frame")
    if sampler != "normal":
        raise UnsupportedError(f"sampler: got {sampler!r}, expected 'normal'")


def _locate(model: str, models: str | os.PathLike[str]) -> tuple[str, str]:
    """Returns the id of a model and the folder to search."""
    if model == "demo":
        return model, "demo"
    if os.path.exists(model):
        return os.path.basename(os.path.abspath(model)), model
    return model, os.fspath(models)
