"""Start the app: ``python app.py``. Address and port come from GRADIO_SERVER_NAME and GRADIO_SERVER_PORT."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
# Jobs run beside each other, one core each: threads of one that wait for one another stand still where cores are busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import demo
from demo.health import add_health


def has_screen() -> bool:
    """Whether opening a browser makes sense: a person's own computer, no Space and no automatic run."""
    if os.environ.get("SPACE_ID") or os.environ.get("CI"):
        return False
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


app = demo.build()

if __name__ == "__main__":
    demo.warm_up()
    server, _, _ = app.launch(inbrowser=has_screen(), prevent_thread_lock=True, **demo.launch_options())
    add_health(server, app)
    app.block_thread()
