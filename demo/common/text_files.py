"""Pictures that an endpoint is sent as text, as MCP does: their data, or the address where they are.

gradio makes files of such text only where a parameter is exactly one file: neither where it may be left out, nor in a
list.
"""

from __future__ import annotations

import functools
import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from gradio.processing_utils import save_base64_to_cache, ssrf_protected_download
from gradio.utils import get_upload_folder

from demo.common.archive import MEGABYTE
from fmcore.errors import SettingsError

NAMES = ("picture", "pictures")  # the parameters that are files
UPLOADED = "/gradio_api/file="  # in the address of a file that was uploaded here
MOST_LETTERS = 200 * MEGABYTE  # of a file as text; what it holds has limits of its own


def files_as_text(endpoint: Callable) -> Callable:
    """Decorator of an endpoint whose ``picture`` or ``pictures`` may be text: "data:image/png;base64,...", the address
    of an upload or of a public file. What is made of it is gone when the endpoint has answered.

    Raises:
        SettingsError: for data that is damaged, and an address that cannot be fetched.
    """
    signature = inspect.signature(endpoint)

    @functools.wraps(endpoint)
    def answered(*args, **kwargs):
        given = signature.bind(*args, **kwargs).arguments
        uploads = Path(get_upload_folder())
        uploads.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="text-", dir=uploads) as folder:
            for name in NAMES:
                if name in given:
                    given[name] = _files(given[name], folder)
            return endpoint(**given)

    return answered


def _files(given: object, folder: str) -> object:
    if isinstance(given, list):
        return [_files(one, f"{folder}/{number}") for number, one in enumerate(given)]
    return {"path": _path(given, folder)} if isinstance(given, str) else given


def _path(text: str, folder: str) -> str:
    if len(text) > MOST_LETTERS:
        raise SettingsError(f"A file as text has at most {MOST_LETTERS} letters: upload it instead.")
    try:
        if text.startswith("data:"):
            return save_base64_to_cache(text, folder)
        if UPLOADED in text:
            return unquote(text.split(UPLOADED, 1)[1])  # checked as every upload is
        if text.startswith(("http://", "https://")):
            return ssrf_protected_download(text, folder)  # refuses the addresses of this machine and its network
    except Exception:
        what = "data of a picture are damaged" if text.startswith("data:") else f"picture '{text}' cannot be fetched"
        raise SettingsError(f"The {what}: send it as 'data:image/png;base64,...', or upload it first.") from None
    return text
