"""How a kernel is started and listened to: where its sockets lie and where its words go."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from jupyter_client import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from traitlets.config import Config

# A kernel that is stopped with the run leaves nbclient's task behind, of which asyncio would print a traceback. Of a
# kernel that dies during a run papermill tells.
logging.getLogger("asyncio").addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], DeadKernelError))
)


@contextmanager
def local_sockets() -> Iterator[Config]:
    """Kernel settings: where the system has them, sockets in a folder of their own instead of TCP ports, which
    parallel runs take from each other and other users of a machine can connect to."""
    if os.name != "posix":
        yield Config()
        return
    with tempfile.TemporaryDirectory(prefix="kernel-") as folder:
        yield Config({"KernelManager": {"transport": "ipc", "connection_file": f"{folder}/kernel.json"}})


def kernel_manager(log: TextIO) -> type[AsyncKernelManager]:
    """A kernel's own messages (not those of its cells) go to the log: nobody asked for them on the screen."""

    class LoggedKernelManager(AsyncKernelManager):
        async def start_kernel(self, **options: Any) -> None:
            await super().start_kernel(stdout=log.fileno(), stderr=log.fileno(), **options)

    return LoggedKernelManager


class Tee:
    """A text file for papermill that also hands on whole lines."""

    def __init__(self, log: TextIO, echo: Callable[[str], None] | None):
        self.log, self.echo, self.rest = log, echo, ""

    def write(self, text: str) -> None:
        self.log.write(text)
        *lines, self.rest = (self.rest + text).replace("\r", "\n").split("\n")
        for line in lines:
            if self.echo and line.strip():
                self.echo(line)

    def flush(self) -> None:
        self.log.flush()
