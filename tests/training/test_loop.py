"""Training: it learns, repeats bit for bit, survives being stopped or killed, and refuses what cannot work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, assert_one_sentence, blob_tensors
from safetensors.torch import load_file

from fmcore.errors import ModelError, TrainingError
from fmcore.fields.place_gaussian import PlaceGaussianField
from fmcore.fields.unet import VelocityUNet
from fmcore.training import TrainSettings, checkpoint, loop
from fmcore.training.checkpoint import start_training
from fmcore.training.loop import Batches, flow_matching_loss, learning_rate, train

IMAGES = blob_tensors(range(8))[..., 4:28]  # 3 x 32 x 24: not square
LABELS = torch.tensor([0, 1] * 4)


def new_network(start: str = "closed-form", widths: tuple[int, ...] = (16, 32), images=IMAGES) -> VelocityUNet:
    starts = [PlaceGaussianField.fit(images[LABELS == i]) for i in (0, 1)] if start == "closed-form" else None
    return VelocityUNet.new(starts, images.shape[1:], 2, widths=widths, blocks=1, seed=0)


def settings_of(**changes) -> TrainSettings:
    return TrainSettings.parse(**{"steps": 8, "batch": 4, "save_every": 3, "precision": "float32", **changes})


def run(settings: TrainSettings, folder: Path | None = None, stop_after: int | None = None, images=IMAGES, **network):
    """Train a new network; returns its state and the records."""
    state, records = start_training(new_network(images=IMAGES, **network)), []
    steps = train(state, images, LABELS, settings, folder)
    for record in steps:
        records.append(record)
        if record.step == stop_after:
            steps.close()
    return state, records


def assert_same_weights(first, second):
    for a, b in ((first.network.core, second.network.core), (first.average.module, second.average.module)):
        pairs = zip(a.state_dict().items(), b.state_dict().values(), strict=True)
        assert [name for (name, x), y in pairs if not torch.equal(x, y)] == []


@pytest.fixture(scope="module")
def unbroken():
    return run(settings_of())[0]


@pytest.mark.parametrize(("start", "falls_to"), [("none", 0.8), ("closed-form", 0.97)])
def test_loss_falls_on_a_tiny_set(start, falls_to):
    _, records = run(settings_of(steps=40, learning_rate=5e-3), start=start)
    losses = [r.loss for r in records]
    assert np.mean(losses[-10:]) < falls_to * np.mean(losses[:5])
    assert [r.step for r in records] == list(range(1, 41)) and records[-1].images_per_second > 0
    assert [r.progress for r in records] == pytest.approx([i / 40 for i in range(1, 41)])
    assert len(records[-1].loss_by_time) == 10


@pytest.mark.parametrize(("start", "falls_to"), [("none", 0.85), ("closed-form", 0.995)])
def test_feature_maps_of_an_odd_grid_are_learned_too(start, falls_to):
    """64 channels on 5 x 9 places, four patterns mixed; compared with no training on the same draws."""
    generator = torch.Generator().manual_seed(0)
    patterns, mix = torch.randn(8, 4, generator=generator), torch.randn(4, 64, generator=generator)
    images = (patterns @ mix)[..., None, None] + 0.3 * torch.randn(8, 64, 5, 9, generator=generator)

    def last_losses(rate: float) -> float:
        settings = settings_of(steps=30, batch=8, learning_rate=rate)
        records = list(train(start_training(new_network(start, images=images)), images, LABELS, settings))
        return np.mean([r.loss for r in records[-10:]])

    assert last_losses(6e-3) < falls_to * last_losses(1e-9)


def test_same_seed_gives_the_same_weights_and_another_seed_others(unbroken):
    assert_same_weights(run(settings_of())[0], unbroken)
    other = run(settings_of(seed=1))[0]
    assert not torch.equal(other.network.core.head.weight, unbroken.network.core.head.weight)


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_a_stopped_run_continues_to_the_same_weights(tmp_path, unbroken, stop_after):
    _, before = run(settings_of(), tmp_path, stop_after=stop_after)
    resumed, after = run(settings_of(), tmp_path)
    assert before[-1].step == stop_after and after[0].step == stop_after + 1 and after[-1].step == 8
    assert_same_weights(resumed, unbroken)
    finished, nothing = run(settings_of(), tmp_path)
    assert nothing == []
    assert_same_weights(finished, unbroken)


class Lazy(torch.utils.data.Dataset):
    """The images, made when they are asked for; what they depend on is known without."""

    def __init__(self):
        self.asked = 0

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, index: int) -> torch.Tensor:
        self.asked += 1
        return IMAGES[index].clone()


@pytest.mark.parametrize("workers", [0, 2])
def test_lazy_images_and_workers_change_no_bit(tmp_path, unbroken, workers):
    images, state, before = Lazy(), start_training(new_network()), torch.get_rng_state()
    list(train(state, images, LABELS, settings_of(), tmp_path, workers=workers))
    assert_same_weights(state, unbroken)
    assert images.asked == (0 if workers else 8 * 4)  # only those that are drawn
    assert torch.equal(torch.get_rng_state(), before)


def test_other_images_are_refused(tmp_path):
    state = start_training(new_network())
    records = train(state, IMAGES, LABELS, settings_of(), tmp_path, "files, sizes and a view")
    next(records)
    records.close()
    with pytest.raises(ModelError) as caught:
        next(train(state, IMAGES, LABELS, settings_of(), tmp_path, "other files"))
    assert_one_sentence(caught.value, "differs in images", "another folder")


def test_a_killed_run_continues_to_the_same_weights(tmp_path, unbroken):
    """SIGKILL two steps after the checkpoint of step 3: those two are lost and made again."""
    script = (
        "import torch; torch.set_num_threads(1)\n"
        "import sys; sys.path += ['tests', 'tests/training']\n"
        "from test_loop import IMAGES, LABELS, new_network, settings_of, start_training, train\n"
        "state, folder = start_training(new_network()), sys.argv[1]\n"
        "for r in train(state, IMAGES, LABELS, settings_of(), folder):\n"
        "    print(r.step, flush=True)\n"
        "    if r.step == 5: sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    steps = [process.stdout.readline().strip() for _ in range(5)]
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert steps == ["1", "2", "3", "4", "5"] and process.returncode == -signal.SIGKILL
    resumed, records = run(settings_of(), tmp_path)
    assert records[0].step == 4
    assert_same_weights(resumed, unbroken)


def test_checkpoint_is_one_safetensors_file_and_nothing_else(tmp_path, unbroken):
    state, _ = run(settings_of(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [checkpoint.FILE]
    tensors = load_file(tmp_path / checkpoint.FILE)
    assert {key.split(".")[0] for key in tensors} == {"network", "average", "optimizer"}
    assert torch.equal(tensors["average.module.head.weight"], state.network.core.head.weight)
    assert not torch.equal(tensors["network.head.weight"], state.network.core.head.weight)


def test_failed_write_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    run(settings_of(), tmp_path, stop_after=3)
    before = (tmp_path / checkpoint.FILE).read_bytes()

    def fail(path, content):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(ModelError) as caught:
        run(settings_of(), tmp_path)
    assert_one_sentence(caught.value, checkpoint.FILE, "disk full", "free space")
    assert (tmp_path / checkpoint.FILE).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [checkpoint.FILE]


@pytest.mark.parametrize("bad", [float("nan"), 1e30])
@pytest.mark.parametrize("start", ["closed-form", "none"])
def test_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path, bad, start):
    run(settings_of(), tmp_path, stop_after=3, start=start)
    before = (tmp_path / checkpoint.FILE).read_bytes()
    with pytest.raises(TrainingError) as caught:
        run(settings_of(), tmp_path, start=start, images=torch.full_like(IMAGES, bad))
    assert_one_sentence(caught.value, "at step 4", "lower the learning rate")
    assert (tmp_path / checkpoint.FILE).read_bytes() == before


def test_gradient_that_is_not_finite_stops_before_the_weights_follow_it(tmp_path, monkeypatch):
    """The loss of the step is still finite; saved weights must stay so too, or the run could never go on."""

    def infinite_gradient(*batch, **options):
        losses = flow_matching_loss(*batch, **options)
        losses.register_hook(lambda gradient: gradient * float("inf"))
        return losses

    run(settings_of(), tmp_path, stop_after=3)
    before = (tmp_path / checkpoint.FILE).read_bytes()
    state = start_training(new_network())
    with monkeypatch.context() as patch, pytest.raises(TrainingError) as caught:
        patch.setattr(loop, "flow_matching_loss", infinite_gradient)
        list(train(state, IMAGES, LABELS, settings_of(), tmp_path))
    assert_one_sentence(caught.value, "gradient became nan", "at step 4", "learning rate")
    assert all(torch.isfinite(v).all() for v in state.network.core.state_dict().values())
    assert (tmp_path / checkpoint.FILE).read_bytes() == before


def test_training_time_includes_that_before_a_resume(tmp_path):
    before, _ = run(settings_of(), tmp_path, stop_after=5)
    after, records = run(settings_of(), tmp_path)
    spent = sum(4 / r.images_per_second for r in records)
    assert before.seconds > 0 and after.seconds == pytest.approx(before.seconds + spent)
    assert run(settings_of(), tmp_path)[0].seconds == after.seconds


def test_other_settings_are_refused_by_name(tmp_path):
    run(settings_of(), tmp_path, stop_after=1)
    with pytest.raises(ModelError) as caught:
        run(settings_of(batch=2, seed=3), tmp_path)
    assert_one_sentence(caught.value, "differs in batch, seed", "another folder")


def test_checkpoint_of_another_network_or_a_damaged_one_is_refused(tmp_path):
    run(settings_of(), tmp_path, stop_after=1)
    with pytest.raises(ModelError, match="does not fit this network"):
        run(settings_of(), tmp_path, widths=(8, 16))
    path = tmp_path / checkpoint.FILE
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelError) as caught:
        run(settings_of(), tmp_path)
    assert_one_sentence(caught.value, "missing or damaged")


def test_minutes_are_a_budget_that_a_resume_goes_on_with(tmp_path, monkeypatch):
    """A clock of half a second per look makes every step last half a second."""
    ticks = iter(range(1_000_000))
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) / 2)
    settings = settings_of(steps=None, minutes=0.1, passes=1e4)
    _, before = run(settings, tmp_path, stop_after=5)
    state, after = run(settings, tmp_path)
    assert [r.step for r in before + after] == list(range(1, 13)) and state.seconds == 6.0
    assert [r.progress for r in before + after] == pytest.approx([i / 12 for i in range(1, 13)])
    assert run(settings, tmp_path)[1] == []


def test_most_passes_end_a_run_before_its_minutes():
    _, records = run(settings_of(steps=None, minutes=60.0, passes=3.0))
    assert len(records) == 6 and records[-1].progress == 1  # 3 passes over 8 images, 4 at a time


def test_learning_rate_warms_up_and_falls_to_zero():
    rates = [learning_rate(step, step / 1000, 0.1) for step in range(1001)]
    assert rates[0] == pytest.approx(0.001) and rates[49] == pytest.approx(0.05, rel=0.01)
    assert max(rates) < 0.1 and rates[500] == pytest.approx(0.05) and rates[1000] == pytest.approx(0)
    assert learning_rate(3, 0.2, 0.1) == pytest.approx(0.1 * 0.5 * (1 + np.cos(0.2 * np.pi)))  # a short run


def test_the_rate_used_follows_the_progress():
    state, used = start_training(new_network("none")), []
    for _ in train(state, IMAGES, LABELS, settings_of()):
        used.append(state.optimizer.param_groups[0]["lr"])
    assert used == pytest.approx([learning_rate(step, step / 8, 1e-3) for step in range(8)])


def test_loss_is_eq_1_in_units_of_the_start_s_own_error():
    x0, x1, t = torch.randn(4, 3, 32, 24), IMAGES[:4], torch.tensor([0.1, 0.4, 0.7, 0.95])
    labels, shape = LABELS[:4], (4, 1, 1, 1)
    state, u = (1 - t.view(shape)) * x0 + t.view(shape) * x1, x1 - x0
    for start in ("none", "closed-form"):
        network = run(settings_of(steps=3), start=start)[0].network
        network.level.fill_(2.0)
        with torch.no_grad():
            expected = (network(state, t, labels) - u).square().mean((1, 2, 3))
            if start == "closed-form":
                floor = [2 * float(network.starts[c].residual_variance(s)) for c, s in zip(labels, t, strict=True)]
                expected = expected / torch.tensor(floor)
            torch.testing.assert_close(flow_matching_loss(network, x0, x1, t, labels), expected, rtol=1e-3, atol=1e-4)


def test_bfloat16_is_close_to_float32():
    first, second = (run(settings_of(precision=p))[1] for p in ("float32", "bfloat16"))
    losses = [[r.loss for r in records] for records in (first, second)]
    np.testing.assert_allclose(*losses, rtol=0.05)
    assert losses[0] != losses[1]


@pytest.mark.parametrize("memory", [0.0, checkpoint.EMA])
def test_average_without_memory_is_the_network_itself_and_else_lags_until_the_end(monkeypatch, memory):
    monkeypatch.setattr(checkpoint, "EMA", memory)
    state, lags = start_training(new_network()), []
    for _ in train(state, IMAGES, LABELS, settings_of()):
        lags.append(not torch.equal(state.average.module.head.weight, state.network.core.head.weight))
        assert state.network.training
    assert lags == [False] + 7 * [memory > 0]  # the first update copies
    assert torch.equal(state.average.module.head.weight, state.network.core.head.weight)
    assert not state.network.training


def test_average_follows_its_recursion():
    """decay_n = min(EMA, (1 + n) / (10 + n)) after n updates; the first update copies."""
    state, expected = start_training(new_network("none")), None
    for n, _ in enumerate(train(state, IMAGES, LABELS, settings_of(steps=6))):
        current = state.network.core.head.bias.detach().clone()
        decay = min(checkpoint.EMA, (1 + n) / (10 + n))
        expected = current if n == 0 else decay * expected + (1 - decay) * current
    torch.testing.assert_close(state.average.module.head.bias, expected)


def test_loss_by_time_is_nan_only_where_no_time_has_been():
    _, records = run(settings_of(steps=1, batch=2))
    visited = {int(t * 10) for t in Batches(IMAGES, LABELS, 2, 0)[0].t}
    assert {i for i, value in enumerate(records[0].loss_by_time) if np.isfinite(value)} == visited
