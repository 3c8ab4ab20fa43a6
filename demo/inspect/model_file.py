"""A fitted model as one zip file: taken away, and brought back by whoever has it.

What is brought back is somebody else's: JSON and safetensors only, read by fmcore's own loader, and nothing in it may
make this server fetch an encoder or take pictures of a size that it does not offer itself.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from demo.common import checks
from demo.common.archive import MEGABYTE, Limits, unpack
from demo.common.own import MODELS, size_of
from fmcore.detector.model import FILE, Model, load_model, read_info
from fmcore.errors import ModelError, SettingsError

NAME = "flow-mismatching-model.zip"
LIMITS = Limits(count=40, single=150 * MEGABYTE, total=200 * MEGABYTE)
_WEIGHTS = re.compile(r"weights-\d+\.safetensors")


def write_model(folder: Path, token: str | None) -> Path:
    """The model as a zip file inside an existing empty folder. Raises `SettingsError` if it is gone."""
    model = MODELS.get(token)
    if model is None:
        raise SettingsError("There is no fitted model to save: give good pictures and press 'Fit' first.")
    model.save(folder / "model")
    with zipfile.ZipFile(folder / NAME, "w") as archive:  # weights do not become smaller
        for path in sorted((folder / "model").iterdir()):
            archive.write(path, f"model/{path.name}")
    return folder / NAME


def open_model(path: Path) -> tuple[Model, str]:
    """The model in an uploaded zip file, and the token under which it is kept now.

    Raises:
        DataError: if it is no zip file, or too large. ModelError: if it holds no model that can be used here.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        folder.mkdir()
        for entry in unpack(path, Path(temporary) / "parts", _wanted, LIMITS):
            if entry.path is None:
                raise ModelError(entry.why)
            entry.path.rename(folder / entry.name.name)
        if not (folder / FILE).is_file():
            raise ModelError(f"'{path.name}' holds no model: it takes {FILE} and its weights, as they were saved.")
        checks.stored_model(read_info(folder))
        try:
            model = load_model(folder)
        except ModelError as error:
            raise ModelError(str(error).replace(str(folder), path.name)) from None
    return model, MODELS.put(model, size_of(model))


def _wanted(name: PurePosixPath) -> bool:
    return name.name == FILE or _WEIGHTS.fullmatch(name.name) is not None
