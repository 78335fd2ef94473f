"""Every mistake of the table raises the error of its row."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dreamframe
from dreamframe import DreamframeError, StreamDiffusionParams

from conftest import gradient, small_stream
from mistakes import MISTAKES, Mistake


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    # The folders that are searched for models appear in messages.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", "cache")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    with (
        small_stream() as stream,
        small_stream() as other,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/whip"
        yield {
            **vars(dreamframe),
            "np": np,
            "stream": stream,
            "session": other.start(),
            "url": url,
            "publisher": dreamframe.publish(url),
            "frame": gradient(channels=3),
            "demo": StreamDiffusionParams.demo().model_dump(),
        }


def raised(mistake: Mistake, names: dict[str, Any]) -> Exception:
    with pytest.raises(Exception) as error:  # noqa: PT011
        exec(mistake.code, names)
    assert isinstance(error.value, Exception)
    return error.value


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.code)
def test_message_equals_that_of_the_table(mistake: Mistake, names: dict[str, Any]) -> None:
    error = raised(mistake, names)
    assert type(error).__name__ == mistake.error
    assert str(error).replace(os.sep, "/") == mistake.message


def test_at_least_thirty_mistakes_have_distinct_messages() -> None:
    assert len(MISTAKES) >= 30
    assert len({mistake.message for mistake in MISTAKES}) >= len(MISTAKES) - 4


def test_errors_inherit_from_builtin_exceptions() -> None:
    pairs = {
        "InvalidParamsError": ValueError,
        "InvalidFrameError": ValueError,
        "InvalidArgumentError": ValueError,
        "ModelNotFoundError": FileNotFoundError,
        "UnsupportedError": NotImplementedError,
        "OutOfMemoryError": MemoryError,
        "IoError": OSError,
    }
    for name, python in pairs.items():
        error = getattr(dreamframe, name)
        assert issubclass(error, python)
        assert issubclass(error, DreamframeError)
        assert error.__doc__
    assert issubclass(dreamframe.errors.TimeoutError, TimeoutError)
    kinds = [error.kind for error in DreamframeError.__subclasses__()]
    assert len(set(kinds)) == len(kinds)
