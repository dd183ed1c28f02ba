"""What the command line shows while it works and how it is stopped: progress, signals, messages, numbers."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BAR_WIDTH = 40


@contextmanager
def progress_callback(lines: bool) -> Iterator[Callable[[float], None] | None]:
    """A progress callback: `lines` for other programs, else a bar on a terminal, else none."""
    if lines:
        last = ""

        def report(fraction: float) -> None:
            nonlocal last
            line = f"progress {fraction:.2f}"
            if line != last:
                print(line, flush=True)
                last = line

        yield report
    elif sys.stderr is not None and sys.stderr.isatty():
        def draw(fraction: float) -> None:
            done = round(BAR_WIDTH * fraction)
            sys.stderr.write(f"\r[{'#' * done}{'.' * (BAR_WIDTH - done)}] {100 * fraction:3.0f} %")
            sys.stderr.flush()

        try:
            yield draw
        finally:
            sys.stderr.write("\r" + " " * (BAR_WIDTH + 8) + "\r")
            sys.stderr.flush()
    else:
        yield None


@contextmanager
def terminate_like_interrupt() -> Iterator[None]:
    """Let a terminate signal stop the work as Ctrl-C does, so that what was begun is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signal_number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def complain(message: str) -> None:
    """One line on standard error."""
    print(f"medcompress: {message}", file=sys.stderr)


def warn(message: Warning | str, *_: object) -> None:
    """In the place of `warnings.showwarning`."""
    complain(f"warning: {message}")


def size_text(count: int) -> str:
    """Bytes with three digits and a unit."""
    if count < 1000:
        return f"{count} bytes"
    power = min((len(str(count)) - 1) // 3, 4)
    scaled = count / 1000**power
    return f"{scaled:.0f} {'kMGT'[power - 1]}B" if scaled >= 100 else f"{scaled:.3g} {'kMGT'[power - 1]}B"


def shape_text(shape: list[int] | tuple[int, ...]) -> str:
    """512 x 512 and the like."""
    return " x ".join(map(str, shape))


def stretches_text(stretches: list[list[int]]) -> str:
    """2 to 5, 9 to 9 and the like."""
    return ", ".join(f"{first} to {last}" for first, last in stretches)


def short_text(value: object) -> str:
    """JSON of at most 100 characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."
