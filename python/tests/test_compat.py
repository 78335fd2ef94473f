"""Scripts for the original wrapper run with one changed import."""

from __future__ import annotations

import logging
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dreamframe import InvalidArgumentError, InvalidParamsError, StreamDiffusion, UnsupportedError
from dreamframe.compat import StreamDiffusionWrapper

from conftest import SIDE, gradient

# In the style of scripts for the original: keyword arguments, including options for its engines.
SCRIPT = """
import sys
from dreamframe.compat import StreamDiffusionWrapper

def main(input, output, prompt, model_id_or_path="demo", width=128, height=64, guidance_scale=1.2, delta=0.5):
    stream = StreamDiffusionWrapper(
        model_id_or_path=model_id_or_path, lora_dict=None, t_index_list=[40, 44, 47], frame_buffer_size=1,
        width=width, height=height, warmup=10, acceleration="xformers", mode="img2img", use_denoising_batch=True,
        cfg_type="self", seed=2, use_tiny_vae=True, engine_dir="engines", device_ids=None,
    )
    stream.prepare(prompt=prompt, negative_prompt="blurry", num_inference_steps=50, guidance_scale=guidance_scale,
                   delta=delta)
    image_tensor = stream.preprocess_image(input)
    for _ in range(stream.batch_size - 1):
        stream(image=image_tensor)
    stream(image=image_tensor).save(output)

main(*sys.argv[1:])
"""


def wrapper(**options: Any) -> StreamDiffusionWrapper:
    given: dict[str, Any] = {"t_index_list": [41, 46], "width": SIDE, "height": SIDE, "output_type": "np", **options}
    return StreamDiffusionWrapper("demo", **given)


def test_script_for_a_single_picture_runs(tmp_path: Path) -> None:
    Image.fromarray(gradient(96)).save(tmp_path / "in.png")
    (tmp_path / "script.py").write_text(SCRIPT)
    program = [sys.executable, "-I", "script.py", "in.png", "out.png", "moonlit night"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    picture = Image.open(tmp_path / "out.png")
    assert (picture.mode, picture.size) == ("RGB", (128, 64))
    assert np.asarray(picture).std() > 10


def test_pictures_equal_those_of_the_engine() -> None:
    stream = wrapper(seed=7)
    stream.prepare("blueprint", num_inference_steps=50, guidance_scale=1.0, delta=0.7)
    pictures = [np.rint(stream(gradient()) * 255).astype(np.uint8) for _ in range(3)]
    params = stream.engine.params
    assert (params.seed, params.t_index_list, params.prompt) == (7, [41, 46], "blueprint")
    with StreamDiffusion(params, noise="torch-cpu", output="rgb") as other:
        assert all(np.array_equal(picture, other(gradient())) for picture in pictures)


def test_app_with_a_prompt_for_each_frame_runs() -> None:
    stream = wrapper()
    stream.prepare(prompt="blueprint", negative_prompt="", num_inference_steps=50, guidance_scale=1.2)
    image = stream.preprocess_image(Image.fromarray(gradient()))
    first = stream(image=image, prompt="golden sunset")
    assert stream.engine.params.prompt == "golden sunset"
    for _ in range(3):
        second = stream(image=image, prompt="moonlit night")
    assert not np.array_equal(first, second)
    stream.stream.update_prompt("blueprint")
    assert stream.engine.params.prompt == "blueprint"


def test_text_to_image_pictures_differ() -> None:
    stream = wrapper(mode="txt2img", cfg_type="none", t_index_list=[0, 16, 32, 45], seed=3)
    stream.prepare(prompt="stained glass window", num_inference_steps=50)
    pictures = [stream() for _ in range(3)]
    assert all(picture.std() > 0.02 for picture in pictures)
    assert not np.array_equal(pictures[0], pictures[1])
    assert stream.engine.params.seed == 5
    again = wrapper(mode="txt2img", cfg_type="none", t_index_list=[0, 16, 32, 45], seed=3)
    again.prepare(prompt="stained glass window", num_inference_steps=50)
    assert np.array_equal(again.txt2img(), pictures[0]), "the seed counts"


def test_several_text_to_image_pictures_are_returned_as_a_list() -> None:
    stream = wrapper(mode="txt2img", cfg_type="none", t_index_list=[0], frame_buffer_size=3)
    pictures = stream(prompt="snow")
    assert (len(pictures), stream.batch_size) == (3, 3)


class Tensor:
    """The part of a tensor's interface that callers of the original use."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def float(self) -> Tensor:
        return Tensor(self.values.astype(np.float32))

    def is_floating_point(self) -> bool:
        return self.values.dtype.kind == "f"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.values


RGB = gradient(channels=3)
IMAGES: dict[str, Any] = {
    "uint8": RGB,
    "floats from 0 to 1": RGB / 255,
    "halves from 0 to 1": (RGB / 255).astype(np.float16),
    "floats from -1 to 1": RGB / 127.5 - 1,
    "channels first": np.ascontiguousarray((RGB / 255).transpose(2, 0, 1)),
    "a batch of one": (RGB / 127.5 - 1).transpose(2, 0, 1)[None],
    "PIL": Image.fromarray(RGB),
    "a tensor": Tensor((RGB / 255).transpose(2, 0, 1)),
    "a tensor of bytes": Tensor(RGB.transpose(2, 0, 1)),
    "a tensor of halves, in a batch": Tensor((RGB / 127.5 - 1).transpose(2, 0, 1)[None].astype(np.float16)),
}


@pytest.mark.parametrize("form", IMAGES)
def test_images_are_accepted_in_every_form(form: str) -> None:
    pixels = wrapper().preprocess_image(IMAGES[form])
    assert (pixels.dtype, pixels.shape, pixels.flags.c_contiguous) == (np.uint8, (SIDE, SIDE, 3), True)
    assert np.abs(pixels.astype(int) - RGB).max() <= (1 if "halves" in form else 0)


def test_files_are_resized_to_the_streams_size(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.fromarray(np.repeat(gradient(), 2, axis=1)).save(path)
    for image in (str(path), path):
        assert wrapper().preprocess_image(image).shape == (SIDE, SIDE, 3)
    assert wrapper()(str(path)).shape == (SIDE, SIDE, 3)


def test_output_types_match_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    pil = wrapper(output_type="pil")(gradient())
    assert (pil.mode, pil.size) == ("RGB", (SIDE, SIDE))
    floats = wrapper(output_type="np")(gradient())
    assert (floats.dtype, floats.shape) == (np.float32, (SIDE, SIDE, 3))
    assert 0 <= floats.min() <= floats.max() <= 1
    assert np.array_equal(np.rint(floats * 255), np.asarray(pil))
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(from_numpy=Tensor))
    tensor = wrapper(output_type="pt")(gradient())
    assert np.array_equal(tensor.values, floats.transpose(2, 0, 1))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="pip install torch"):
        wrapper(output_type="pt")(gradient())
    with pytest.raises(UnsupportedError, match="latent"):
        wrapper(output_type="latent")(gradient())


def test_parameters_are_updated_atomically() -> None:
    stream = wrapper()
    stream.update_stream_params(
        guidance_scale=1.4,
        delta=0.6,
        t_index_list=[30, 40, 45],
        prompt_list=[("snow", 0.5), ("fog", 0.5)],
        negative_prompt="blurry",
        seed_list=[(1, 0.5), (2, 0.5)],
        normalize_prompt_weights=False,
    )
    params = stream.engine.params
    assert (params.guidance_scale, params.delta, params.t_index_list) == (1.4, 0.6, [30, 40, 45])
    assert (params.prompt, params.seed) == ([("snow", 0.5), ("fog", 0.5)], [(1, 0.5), (2, 0.5)])
    assert (params.negative_prompt, params.normalize_prompt_weights, stream.batch_size) == ("blurry", False, 3)
    with pytest.raises(InvalidParamsError):
        stream.update_stream_params(delta=0.1, t_index_list=[60])
    assert stream.engine.params == params, "whole or not at all"


def test_guidance_scale_has_no_effect_without_cfg_type() -> None:
    stream = wrapper(cfg_type="none")
    stream.prepare("snow", guidance_scale=1.2)
    assert stream.engine.params.guidance_scale == 1.0


def test_configurations_of_the_fork_are_converted() -> None:
    stream = wrapper(image_preprocessing_config=[{"type": "sharpen", "order": 2}, {"type": "blur", "order": 1}])
    kinds = [processor.type for processor in stream.engine.params.image_preprocessing.processors]
    assert kinds == ["blur", "sharpen"]
    off = {"model_id": "a/b", "enabled": False, "conditioning_scale": 0.3}
    stream.update_stream_params(controlnet_config=[off], ipadapter_config={"enabled": False, "scale": 0.4})
    params = stream.engine.params
    assert (params.controlnets[0].model_id, params.controlnets[0].conditioning_scale) == ("a/b", 0.3)
    assert params.ip_adapter.scale == 0.4
    stream.update_stream_params(ipadapter_config={"enabled": False, "style_image": Image.fromarray(RGB)})
    assert stream.engine.params.ip_adapter_style_image_url.startswith("data:image/png;base64,")


def test_negative_seed_is_replaced_by_a_random_one() -> None:
    seeds = {wrapper(seed=-1).engine.params.seed for _ in range(4)}
    assert len(seeds) > 1
    assert all(isinstance(seed, int) and 0 <= seed < 1_000_000 for seed in seeds)


def test_ignored_options_are_accepted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="dreamframe.compat")
    wrapper(warmup=10, engine_dir="engines", dtype="torch.float16", device="cuda")
    told = " ".join(record.getMessage() for record in caplog.records)
    assert "engine_dir='engines' means nothing here" in told
    assert "device: got 'cuda', this build uses" in told


REFUSED: dict[str, tuple[type[Exception], str, Callable[[], object]]] = {
    "unknown argument": (TypeError, "no_such", lambda: wrapper(no_such=1)),
    "unknown update": (TypeError, "no_such", lambda: wrapper().update_stream_params(no_such=1)),
    "mode": (InvalidArgumentError, "img2img, txt2img", lambda: wrapper(mode="vid2vid")),
    "guidance of text": (InvalidArgumentError, "'none'", lambda: wrapper(mode="txt2img", cfg_type="self")),
    "frame buffer": (UnsupportedError, "frame_buffer_size: got 2", lambda: wrapper(frame_buffer_size=2)),
    "sampler": (UnsupportedError, "'karras'", lambda: wrapper(sampler="karras")),
    "no image": (ValueError, "image: missing", lambda: wrapper()()),
    "index": (InvalidParamsError, r"t_index_list\[0\]: got 51", lambda: wrapper(t_index_list=[51])),
    "missing model": (FileNotFoundError, "no/such", lambda: StreamDiffusionWrapper("no/such", [1])),
}


@pytest.mark.parametrize("what", REFUSED)
def test_unsupported_options_are_rejected_by_name(what: str) -> None:
    error, told, call = REFUSED[what]
    with pytest.raises(error, match=told):
        call()
