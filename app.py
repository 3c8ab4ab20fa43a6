"""Start the app: ``python app.py``. Address and port come from GRADIO_SERVER_NAME and GRADIO_SERVER_PORT."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # likewise: a log is no place for them
# Jobs run beside each other, one core each: threads of one that wait for one another stand still where cores are busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import demo
from demo.health import add_health


def has_screen() -> bool:
    """Whether opening a browser makes sense: a person's own computer, no Space and no automatic run."""
    if os.environ.get("SPACE_ID") or os.environ.get("CI"):
        return False
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


M_ARENA_MAX = -8  # of glibc's malloc.h


def bound_memory() -> None:
    """Let threads share two pools of memory: by default glibc gives each its own, and what a fit frees in one stays
    there, so that an app that fits for hours would grow to twice what it needs."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").mallopt(M_ARENA_MAX, 2)


app = demo.build()

if __name__ == "__main__":
    bound_memory()
    demo.warm_up()
    server, _, _ = app.launch(inbrowser=has_screen(), prevent_thread_lock=True, **demo.launch_options())
    add_health(server, app)
    app.block_thread()
