"""Recommends models for this machine, and downloads models from the Hugging Face hub into its cache.

>>> import dreamframe
>>> dreamframe.models.fetch("stabilityai/sd-turbo")
>>> dreamframe.models.fetch_for(StreamDiffusionParams.daydream())

`HF_ENDPOINT`, `HF_HUB_OFFLINE`, `HF_TOKEN`, `HF_HOME` and `HF_HUB_CACHE` have the same meaning as for the package
`huggingface_hub`, whose cache this is.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from . import _dreamframe
from .errors import DreamframeError
from .params import StreamDiffusionParams

__all__ = ["FetchedModel", "Progress", "Recommendation", "fetch", "fetch_for", "recommend"]

Progress: TypeAlias = Callable[[str, str, int, int], object]
"""Called with the model, the file, the bytes downloaded so far and the bytes of all files. An exception that it raises
cancels the download."""


@dataclass(frozen=True)
class FetchedModel:
    """A model that was downloaded, or could not be."""

    id: str
    """The id: of a repository, or a path in one."""
    field: str
    """The use of the model, such as `model_id` or `controlnets[0].model_id`."""
    path: Path | None
    """Where its files are; None if the download failed."""
    error: DreamframeError | None
    """The reason for a failure."""
    optional: bool
    """Whether a stream can be created without it."""


@dataclass(frozen=True)
class Recommendation:
    """A model at one size, with what it needs on this machine."""

    model: str
    """The short name, which `StreamDiffusionParams.for_model` takes."""
    model_id: str
    """The id of its repository: the parameter `model_id`."""
    width: int
    """Width of the pictures in pixels."""
    height: int
    """Height of the pictures in pixels."""
    steps: int
    """Denoising steps of each frame."""
    pictures_per_second: float
    """Estimated pictures per second."""
    frame_ms: float
    """Estimated milliseconds of a frame."""
    encode_ms: float
    """Milliseconds of the encoder in it."""
    unet_ms: float
    """Milliseconds of the UNet in it, for all steps."""
    decode_ms: float
    """Milliseconds of the decoder in it."""
    memory_bytes: int
    """Estimated bytes of memory while it runs. Loading takes more."""
    fits: bool | None
    """Whether this fits into the memory that was available; None if the system does not report that."""
    download_mb: int | None
    """About how many megabytes are downloaded; 0 for the embedded model, None if it is not known."""
    licence: str
    """The licence that its page names."""
    command: str | None
    """The command that downloads it; None for the embedded model."""


def recommend(*, threads: int | None = None, sizes: Sequence[tuple[int, int]] = ()) -> list[Recommendation]:
    """Lists the models that this machine can run, with estimated pictures per second.

    Models that fit into the memory are first, then those with more pictures per second. The processor is measured for
    about a second with `threads` threads (None for all); do not call this while a stream runs. `sizes` are pairs of
    width and height in pixels; without them each model is listed at squares that suit it. No model is needed or
    downloaded.

    Raises:
        InvalidArgumentError: no model supports any of the sizes, or `threads` is not in 1 to 1024.
        OutOfMemoryError: less than some 200 MB of memory are available.
    """
    return [Recommendation(**model) for model in _dreamframe._recommend(threads, list(sizes))]


def fetch(model_id: str, *, progress: Progress | bool | None = None) -> Path:
    """Downloads a model and returns its path. Complete files are kept, and an interrupted download continues.

    `model_id` is a repository (`organisation/name`), or a file or folder in one (`organisation/name/path`): a base
    model, a ControlNet, an autoencoder, a LoRA, an IP-Adapter, or the networks of processors. `progress` is called with
    the progress; True writes it to standard error, False does not, and None does so in a terminal or a notebook.

    Raises:
        ModelNotFoundError: there is no such model, or several, of which `model_id` does not name one.
        BadModelError: a file does not match its digest.
        IoError: the network or the disk fails.
    """
    with _Shown(progress) as report:
        return Path(_dreamframe._fetch(model_id, report))


def fetch_for(
    params: StreamDiffusionParams | Mapping[str, Any], *, progress: Progress | bool | None = None
) -> list[FetchedModel]:
    """Downloads all models that a stream with `params` uses.

    These are the base model, its tiny autoencoder, LoRAs, ControlNets, the IP-Adapter, the network that interpolates
    between pictures, and the networks of processors. A download that fails does not prevent the others, and has an
    `error` in the result.
    `progress` is as in `fetch`.
    """
    with _Shown(progress) as report:
        models = _dreamframe._fetch_for(params, report)
    return [
        FetchedModel(model_id, field, None if path is None else Path(path), error, optional)
        for model_id, field, path, error, optional in models
    ]


class _Shown:
    """Writes the progress of a download to standard error, in one line."""

    def __init__(self, progress: Progress | bool | None) -> None:
        shown = _is_watched() if progress is None else progress
        self._report: Progress | None = self._write if shown is True else None if shown is False else shown
        self._width = 0

    def __enter__(self) -> Progress | None:
        return self._report

    def __exit__(self, *exc: object) -> None:
        if self._width:
            sys.stderr.write("\n")
            sys.stderr.flush()

    def _write(self, model: str, file: str, done: int, total: int) -> None:
        share = 100 if total == 0 else 100 * done // total
        line = f"{model}: {share} % of {total / 1e6:.1f} MB, {file}"
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(line)


def _is_watched() -> bool:
    """Returns whether somebody sees standard error: in a terminal or a notebook."""
    return sys.stderr is not None and (sys.stderr.isatty() or "ipykernel" in sys.modules)
