"""The plan of a network run: its training settings, fixed once at the start and kept beside its checkpoint.

Minutes become a number of steps when a run starts, so that a resumed run ends where the unbroken one would have. A
network that sees few images too often knows them by heart and marks defects worse, so minutes end with the most
passes over the images. What the run was asked to do and a fingerprint of its images are kept with it, so that it is
never continued as another.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from pathlib import Path

import torch
from torch import Tensor

from fmcore.detector.settings import FitSettings
from fmcore.errors import ModelError
from fmcore.fields.unet import VelocityUNet
from fmcore.training import checkpoint
from fmcore.training.ahead import workers_for
from fmcore.training.loop import MOST_STEPS, TrainSettings, start_training, train
from fmcore.training.team import Team

RUN_FILE = "run.json"


def make_or_resume_plan(
    settings: FitSettings,
    network: VelocityUNet,
    pool: Tensor,
    labels: Tensor,
    data: str,
    *,
    folder: Path | None,
    team: Team,
) -> TrainSettings:
    """Training settings of a new run, or those of the unfinished one in ``folder``.

    Args:
        pool: training images ``(N, C, H, W)``, with their ``labels`` ``(N,)``; for measuring speed.
        data: `fingerprint` of all images.
        team: its main process decides, and writes.

    Raises:
        ModelError: if ``folder`` holds a run with other settings or images, or a damaged one.
        TrainingError: if processes of the team have other images, or another ``folder``.
    """
    wanted = {"settings": settings.model_dump(mode="json"), "data": data}
    plan = _read(folder, wanted) if folder is not None else None
    team.require_same(f"{data} {plan}", "images and unfinished run")
    if plan is not None:
        return plan
    plan = TrainSettings.parse(
        steps=settings.steps or 1,
        batch=settings.batch,
        learning_rate=settings.learning_rate,
        time_power=settings.time_power,
        source=settings.noise_source,
        defects=settings.defects,
        seed=settings.seed,
        precision=_precision(settings, next(network.parameters()).device),
        save_every=settings.save_every,
    )
    if settings.steps is None:
        steps = round(settings.minutes * 60 / _seconds_per_step(network, pool, labels, plan, team))
        plan = plan.replace(steps=min(max(1, steps), most_steps(settings, len(pool))))
    plan = plan.replace(warmup=min(100, plan.steps // 5))
    plan = TrainSettings.model_validate_json(team.text_of_main(plan.model_dump_json()))
    if folder is not None and team.main:
        run = json.dumps(wanted | {"plan": plan.model_dump(mode="json")}, indent=1)
        checkpoint.write_atomically(folder / RUN_FILE, lambda temporary: temporary.write_text(run))
    return plan


def most_steps(settings: FitSettings, count: int) -> int:
    """The steps that make the most passes over ``count`` training images, the last one begun counted whole."""
    return min(math.ceil(settings.passes * count / settings.batch), MOST_STEPS)


def forget_run(folder: str | Path) -> None:
    """Remove the plan and the checkpoint of a run that has become a model, and what a killed process left."""
    for name in (checkpoint.FILE, RUN_FILE):
        for path in (Path(folder) / name, *Path(folder).glob(f".{name}.*")):
            path.unlink(missing_ok=True)


def fingerprint(images: dict[str, Tensor]) -> str:
    """16 hexadecimal digits of names and pixels ``(N, C, H, W)``."""
    digest = hashlib.sha256()
    for name, batch in images.items():
        digest.update(name.encode())
        digest.update(batch.cpu().contiguous().numpy())
    return digest.hexdigest()[:16]


def _read(folder: Path, wanted: dict) -> TrainSettings | None:
    path = folder / RUN_FILE
    if not path.is_file():
        return None
    try:
        run = json.loads(path.read_text())
        plan = TrainSettings.model_validate_json(json.dumps(run["plan"]))
    except (ValueError, KeyError, TypeError):
        raise ModelError(f"'{path}' is damaged: give another --out, or delete the folder.") from None
    if {k: run.get(k) for k in wanted} != wanted:
        raise ModelError(f"'{folder}' holds a run with other settings or images: repeat those, or give another folder.")
    return plan


def _seconds_per_step(network: VelocityUNet, pool: Tensor, labels: Tensor, plan: TrainSettings, team: Team) -> float:
    """Of a few steps; the network's weights are put back afterwards."""
    before = {k: v.clone() for k, v in network.core.state_dict().items()}
    ahead = workers_for(next(network.parameters()).device)
    # Batches that are made ahead come in bursts, and the first are ready early: then the mean of later steps counts.
    trial = plan.replace(steps=60 if ahead else 6)
    speeds = [r.images_per_second for r in train(start_training(network, trial), pool, labels, trial, team=team)]
    network.core.load_state_dict(before)
    seconds = [plan.batch / speed for speed in speeds]
    return statistics.mean(seconds[len(seconds) // 2 :]) if ahead else statistics.median(seconds)


def _precision(settings: FitSettings, device: torch.device) -> str:
    if settings.precision != "auto":
        return settings.precision
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        fast = device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return "bfloat16" if fast else "float32"
