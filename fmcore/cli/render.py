"""``render``: the embedded data set, from code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fmcore.cli.console import progress_bar
from fmcore.cli.options import Given, with_settings
from fmcore.data.rendered import RenderSettings, write_dataset

HELP = {
    "train": "good training images per category",
    "test_good": "good test images per category",
    "test_per_defect": "test images per kind of defect",
    "size": "pixels per side",
    "seed": "seed of the renderer",
}


@with_settings(options=RenderSettings, help=HELP)
def render(
    out: Annotated[Path, typer.Argument(help="Folder to write, one MVTec-layout category each.")], options: Given
) -> None:
    """Render the embedded data set: brick, grass, gravel, gear, chip."""
    settings = RenderSettings.parse(**options)
    with progress_bar() as progress:
        task = progress.add_task("rendering", total=None)
        for record in write_dataset(out, settings):
            progress.update(task, completed=record.done, total=record.total, description=record.category)
