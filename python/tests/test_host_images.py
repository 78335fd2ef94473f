"""Images of the host besides frames: those of `external` processors, and style images."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dreamframe import ClosedError, InvalidArgumentError, InvalidFrameError, StreamDiffusion, StreamDiffusionParams

from conftest import SIDE, gradient

LIMIT = 60.0
WHITE = np.full((5, 3, 3), 255, np.uint8)


def external_stream() -> StreamDiffusion:
    """A stream that returns its frames, or the image of the host."""
    chain = {"processors": [{"type": "external"}]}
    params = StreamDiffusionParams.demo(width=SIDE, height=SIDE, skip_diffusion=True, image_preprocessing=chain)
    return StreamDiffusion(params, threads=2)


def test_image_of_a_stream_replaces_the_frame_until_it_is_cleared() -> None:
    frame = gradient(channels=3)
    with external_stream() as stream:
        stream.set_external_image(WHITE)
        assert (np.asarray(stream(frame)) == 255).all()
        stream.clear_external_image()
        assert np.abs(np.asarray(stream(frame), int) - frame).max() <= 1


def test_image_of_a_controlnet_is_not_that_of_the_chains() -> None:
    frame = gradient(channels=3)
    with external_stream() as stream:
        stream.set_external_image(WHITE, controlnet="organisation/net")
        assert np.abs(np.asarray(stream(frame), int) - frame).max() <= 1
        stream.clear_external_image("organisation/net")


def test_image_of_a_session_replaces_the_frame() -> None:
    frame = gradient(channels=3)
    with external_stream() as stream, stream.start() as session:
        session.set_external_image(WHITE)
        session.submit(frame)
        picture = session.wait(LIMIT)
        assert picture is not None
        assert (np.asarray(picture) == 255).all()
        session.clear_external_image()
        session.submit(frame)
        picture = session.wait(LIMIT)
        assert picture is not None
        assert np.abs(np.asarray(picture, int) - frame).max() <= 1


def test_style_image_becomes_the_parameter() -> None:
    def shown(params: StreamDiffusionParams) -> Any:
        head, data = str(params.ip_adapter_style_image_url).split(",")
        assert head == "data:image/png;base64"
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))

    with external_stream() as stream:
        stream.set_style_image(WHITE)
        assert (shown(stream.params) == np.full((3, 3, 3), 255)).all(), "the central square"
        with stream.start() as session:
            ticket = session.set_style_image(np.zeros((4, 4, 3), np.uint8))
            session.wait_for(ticket, LIMIT)
            assert (shown(session.params) == np.zeros((4, 4, 3))).all()


def test_wrong_images_are_rejected_and_the_image_before_stays() -> None:
    frame = gradient(channels=3)
    with external_stream() as stream:
        stream.set_external_image(WHITE)
        with pytest.raises(InvalidArgumentError, match="empty id"):
            stream.set_external_image(WHITE, controlnet="")
        with pytest.raises(InvalidFrameError):
            stream.set_external_image(np.zeros((4, 4), np.uint8))
        assert (np.asarray(stream(frame)) == 255).all()


def test_closed_streams_and_stopped_sessions_accept_no_images() -> None:
    stream = external_stream()
    session = stream.start()
    session.stop()
    stream.close()
    for call in (
        lambda: stream.set_external_image(WHITE),
        lambda: stream.clear_external_image(),
        lambda: stream.set_style_image(WHITE),
        lambda: session.set_external_image(WHITE),
        lambda: session.clear_external_image(),
        lambda: session.set_style_image(WHITE),
    ):
        with pytest.raises(ClosedError):
            call()
