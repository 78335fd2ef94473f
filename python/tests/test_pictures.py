"""Pictures: arrays that own their memory, have metadata, and display themselves in notebooks."""

from __future__ import annotations

import base64
import copy
import io
import pickle
import weakref
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dreamframe import ClosedError, Picture, StreamDiffusion, StreamDiffusionParams

from conftest import SIDE, gradient, small_stream


@pytest.fixture
def picture(stream: StreamDiffusion) -> Picture:
    return stream(gradient())


def test_picture_owns_its_memory(picture: Picture) -> None:
    assert isinstance(picture, np.ndarray)
    assert (picture.shape, picture.dtype) == ((SIDE, SIDE, 4), np.uint8)
    assert picture.flags.owndata
    assert picture.flags.c_contiguous
    assert picture.flags.writeable
    assert (picture.width, picture.height) == (SIDE, SIDE)
    assert (picture[..., 3] == 255).all()
    assert picture[..., :3].std() > 10, "there is something to see"


def test_pictures_do_not_share_memory(stream: StreamDiffusion) -> None:
    first = stream(gradient())
    kept = first.copy()
    for _ in range(8):
        assert not np.shares_memory(first, stream(gradient()[::-1]))
    assert np.array_equal(first, kept)


def test_picture_remains_valid_after_its_stream_closed() -> None:
    stream = small_stream()
    picture = stream(gradient())
    kept = picture.copy()
    stream.close()
    gone = weakref.ref(stream) if hasattr(stream, "__weakref__") else None
    del stream
    assert gone is None or gone() is None
    assert np.array_equal(picture, kept)


def test_pictures_have_ids_and_source_ids(stream: StreamDiffusion) -> None:
    assert stream.delay == 1
    pictures = [stream(gradient()) for _ in range(4)]
    assert [picture.id for picture in pictures] == [0, 1, 2, 3]
    assert [picture.source_id for picture in pictures] == [0, 0, 1, 2]
    assert {picture.kind for picture in pictures} == {"new"}
    assert {picture.version for picture in pictures} == {0}


def test_stage_timings_are_in_order_of_execution(picture: Picture) -> None:
    assert list(picture.timings) == ["preprocess", "encode", "control", "unet", "decode", "postprocess", "frame"]
    *stages, whole = picture.timings.values()
    assert 0 < sum(stages) <= whole


def test_kind_is_how_the_picture_was_made() -> None:
    with small_stream(enable_similar_image_filter=True, similar_image_filter_threshold=0.1) as stream:
        kinds = [stream(gradient()).kind for _ in range(3)]
        assert kinds[0] == "new"
        assert "repeated" in kinds
    with small_stream(skip_diffusion=True) as stream:
        assert stream(gradient()).kind == "passed"


@pytest.mark.parametrize("output", ["rgb", "rgba", "bgra"])
def test_output_has_the_requested_channel_order(output: str) -> None:
    with small_stream() as stream, small_stream(output=output) as other:
        rgba, picture = stream(gradient()), other(gradient())
    channels = {"rgb": [0, 1, 2], "rgba": [0, 1, 2, 3], "bgra": [2, 1, 0, 3]}[output]
    assert picture.shape == (SIDE, SIDE, len(channels))
    assert np.array_equal(picture, rgba[..., channels])
    assert np.array_equal(np.asarray(picture.to_pil()), rgba[..., :3])


def test_picture_is_readable_by_pil_and_others(picture: Picture) -> None:
    assert np.array_equal(np.asarray(Image.fromarray(picture)), picture)
    assert np.array_equal(np.asarray(memoryview(picture)), picture)
    assert np.array_equal(np.from_dlpack(picture), picture)
    assert np.shares_memory(np.from_dlpack(picture), picture)
    image = picture.to_pil()
    assert (image.mode, image.size) == ("RGB", (SIDE, SIDE))


def test_operations_on_a_picture_return_plain_arrays(picture: Picture) -> None:
    assert type(picture / 2) is np.ndarray
    assert type(picture + picture) is np.ndarray
    assert not isinstance(picture.mean(), Picture)
    assert not isinstance(picture.max(axis=0), Picture)
    assert type(np.asarray(picture)) is np.ndarray


def test_notebooks_display_the_picture(picture: Picture) -> None:
    png = picture._repr_png_()
    assert png is not None
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), picture[..., :3])
    html = picture._repr_html_()
    assert html is not None
    assert base64.b64encode(png).decode() in html
    assert "<script" not in html


@pytest.mark.parametrize("part", [np.s_[0], np.s_[..., 0], np.s_[:0], np.s_[:, :, :2]])
def test_slice_that_is_not_an_image_is_displayed_as_numbers(part: Any, picture: Picture) -> None:
    piece: Any = picture[part]
    assert piece._repr_png_() is None
    assert piece._repr_html_() is None
    assert repr(piece)


def test_cropped_picture_is_displayed_as_an_image(picture: Picture) -> None:
    piece: Any = picture[8:24, 4:60]
    png = piece._repr_png_()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), picture[8:24, 4:60, :3])


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda picture: pickle.loads(pickle.dumps(picture)), lambda picture: picture.copy()],
    ids=["copy", "deepcopy", "pickle", "method"],
)
def test_copies_keep_pixels_and_metadata(copied: Any, picture: Picture) -> None:
    other = copied(picture)
    assert isinstance(other, Picture)
    assert np.array_equal(other, picture)
    assert not np.shares_memory(other, picture)
    assert (other.id, other.source_id, other.kind, other.version) == (0, 0, "new", 0)
    assert other.timings == picture.timings


def test_the_same_frames_give_the_same_pictures() -> None:
    frames = [np.roll(gradient(), 5 * index, axis=1) for index in range(4)]
    with small_stream(threads=1) as one, small_stream(threads=2) as two:
        for frame in frames:
            assert np.array_equal(one(frame), two(frame))


CHANNELS: dict[str, Any] = {
    "rgb": gradient(channels=3),
    "rgba": gradient(),
    "reversed rows": gradient(channels=3)[:, ::-1],
    "PIL RGB": Image.fromarray(gradient(channels=3)),
    "PIL RGBA": Image.fromarray(gradient()),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_pictures_have_the_channels_of_the_frame(name: str) -> None:
    params = StreamDiffusionParams.demo(width=SIDE, height=SIDE, skip_diffusion=True)
    expected = "rgba" if np.asarray(CHANNELS[name]).shape[2] == 4 else "rgb"
    with StreamDiffusion(params, threads=2) as stream:
        picture = stream(CHANNELS[name])
        assert (picture.order, picture.shape[2]) == (expected, len(expected))
        assert np.array_equal(picture[..., :3], np.asarray(CHANNELS[name])[..., :3])
        with stream.start() as session:
            session.submit(CHANNELS[name])
            other = session.wait(60)
    assert other is not None
    assert other.order == expected
    assert np.array_equal(other, picture)


def test_pictures_of_bgra_frames_are_bgra() -> None:
    params = StreamDiffusionParams.demo(width=SIDE, height=SIDE, skip_diffusion=True)
    with StreamDiffusion(params, threads=2, output="bgra") as stream:
        frame = stream(gradient())
    with StreamDiffusion(params, threads=2) as stream:
        picture = stream(frame)
    assert picture.order == "bgra"
    assert np.array_equal(picture, frame)
    assert np.array_equal(picture[..., [2, 1, 0]], gradient(channels=3))


def test_pictures_of_a_session_follow_the_newest_frame(stream: StreamDiffusion) -> None:
    params = StreamDiffusionParams.demo(width=SIDE, height=SIDE, skip_diffusion=True)
    orders: list[str] = []
    with StreamDiffusion(params, threads=2) as following, following.start() as session:
        for channels in (4, 3, 4):
            session.submit(gradient(channels=channels))
            picture = session.wait(60)
            assert picture is not None
            orders.append(picture.order)
    assert orders == ["rgba", "rgb", "rgba"]


def test_output_names_the_channels_of_all_pictures() -> None:
    with small_stream(output="bgra", skip_diffusion=True) as stream:
        assert {stream(gradient(channels=channels)).order for channels in (3, 4)} == {"bgra"}


def test_text_to_image_is_made_from_the_prompt_and_the_seed() -> None:
    def made(**changes: Any) -> Picture:
        params = StreamDiffusionParams.demo(width=SIDE, height=SIDE, t_index_list=[0, 16, 32, 45], **changes)
        with StreamDiffusion(params, threads=2) as stream:
            picture = stream.text_to_image()
            assert (picture.id, picture.source_id) == (stream.delay, 0), "the first frame, after all of its steps"
            return picture

    picture = made()
    assert (picture.shape, picture.order) == ((SIDE, SIDE, 3), "rgb")
    assert picture.std() > 5, "there is something to see"
    assert np.array_equal(picture, made())
    assert not np.array_equal(picture, made(seed=5))
    assert not np.array_equal(picture, made(prompt="moonlit night"))


def test_text_to_image_follows_updates_and_output() -> None:
    with small_stream(output="rgba", t_index_list=[0, 16, 32, 45]) as stream:
        first = stream.text_to_image()
        stream.update(prompt="moonlit night", width=2 * SIDE)
        second = stream.text_to_image()
    assert (first.shape, second.shape) == ((SIDE, SIDE, 4), (SIDE, 2 * SIDE, 4))
    with pytest.raises(ClosedError):
        stream.text_to_image()
