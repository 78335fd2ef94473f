"""A live view of pictures in a notebook, below the cell that starts it, while other cells run.

>>> from dreamframe.notebook import LiveView
>>> session = stream.start()
>>> view = LiveView(session)
>>> session.update(prompt="a watercolour")
>>> view.stop()
"""

import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .errors import InvalidArgumentError

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._dreamframe import Session
    from ._picture import Picture

__all__ = ["LiveView"]

_MOMENT = 0.1
"""Seconds after which the thread notices that the view was stopped."""


class LiveView:
    """Displays pictures in the output of a cell, each in place of the last, until they end or `stop` is called.

    Pictures are taken on a thread of the view; those that come faster than `fps` are not displayed. An iterator such as
    `stream.frames(camera)` is advanced by the view.
    """

    def __init__(self, pictures: "Session | Iterable[Picture]", *, fps: float = 15.0) -> None:
        """Starts to display `pictures`: of a session, or of any iterable.

        Raises:
            ImportError: IPython is not installed.
            InvalidArgumentError: `fps` is not more than 0 and at most 60.
        """
        if not 0.0 < fps <= 60.0:
            raise InvalidArgumentError(f"fps: got {fps}, expected more than 0 and at most 60")
        from IPython.display import DisplayHandle

        self._interval = 1.0 / fps
        self._pictures = pictures
        # On this thread, so that the pictures are below this cell and not below the one that runs later.
        self._handle: Any = DisplayHandle()
        self._handle.display({"text/plain": "<LiveView: no picture yet>"}, raw=True)
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self.shown = 0
        """The number of pictures displayed so far."""
        self._thread = threading.Thread(target=self._run, name="dreamframe-live-view", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether pictures are displayed."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Ends the display; the last picture stays. Raises what ended the display before, if anything did."""
        self._stopped.set()
        self.wait()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the pictures have ended, at most `timeout` seconds. Returns whether they have.

        Raises what ended the display, if anything did.
        """
        self._thread.join(timeout)
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return not self._thread.is_alive()

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            due = 0.0
            for picture in self._taken():
                now = time.monotonic()
                if now >= due:
                    due = now + self._interval
                    self._show(picture)
                if self._stopped.is_set():
                    return
        except BaseException as error:  # Raised where somebody waits.
            self._error = error

    def _taken(self) -> "Iterator[Picture]":
        wait = getattr(self._pictures, "wait", None)
        if wait is None:
            yield from self._pictures
            return
        session: Any = self._pictures
        while not self._stopped.is_set():
            picture = wait(_MOMENT)
            if picture is not None:
                yield picture
            elif not session.is_running:
                # It may have ended after a last picture.
                while (picture := session.poll()) is not None:
                    yield picture
                return

    def _show(self, picture: "Picture") -> None:
        png = picture._repr_png_()
        data = {"image/png": png, "text/plain": f"<Picture {picture.width}x{picture.height}>"}
        self._handle.update(data, raw=True)
        self.shown += 1
