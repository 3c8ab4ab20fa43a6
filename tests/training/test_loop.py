"""Training: it learns, repeats bit for bit, survives being stopped or killed, and refuses what cannot work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, assert_one_sentence, blob_tensors
from safetensors.torch import load_file

from fmcore.errors import ModelError, SettingsError, TrainingError
from fmcore.fields.gaussian import fit_gaussian
from fmcore.fields.unet import UNetSettings, VelocityUNet
from fmcore.training import checkpoint
from fmcore.training import loop as training
from fmcore.training.batches import draw
from fmcore.training.loop import (
    TrainSettings,
    adopt_average,
    learning_rate,
    loss_per_image,
    start_training,
    train,
)

IMAGES = blob_tensors(range(8))
LABELS = torch.tensor([0, 1] * 4)


def new_network(start: str = "gaussian", widths: tuple[int, ...] = (16, 32), patch: int = 4) -> VelocityUNet:
    torch.manual_seed(0)
    fields = [fit_gaussian(IMAGES[LABELS == i]) for i in (0, 1)] if start == "gaussian" else None
    return VelocityUNet(UNetSettings(size=32, categories=2, patch=patch, widths=widths, start=start), fields)


def settings_of(**changes) -> TrainSettings:
    return TrainSettings.parse(**{"steps": 8, "batch": 4, "warmup": 2, "save_every": 3, **changes})


def run(settings: TrainSettings, folder: Path | None = None, stop_after: int | None = None, **network):
    """Train a new network; returns its state and the records."""
    state, records = start_training(new_network(**network), settings), []
    steps = train(state, IMAGES, LABELS, settings, folder=folder)
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


def test_loss_falls_on_a_tiny_set():
    _, records = run(settings_of(steps=60, learning_rate=5e-3), start="none", patch=2)
    losses = [r.loss for r in records]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])
    assert [r.step for r in records] == list(range(1, 61)) and {r.steps for r in records} == {60}
    assert len(records[-1].loss_by_time) == 10 and records[-1].images_per_second > 0


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


def test_threads_that_make_batches_ahead_change_nothing(monkeypatch, tmp_path, unbroken):
    monkeypatch.setattr(training, "workers_for", lambda device: 3)
    before = threading.active_count()
    run(settings_of(), tmp_path, stop_after=3)
    assert threading.active_count() == before  # a stopped run leaves none behind
    assert_same_weights(run(settings_of(), tmp_path)[0], unbroken)


def test_a_killed_run_continues_to_the_same_weights(tmp_path, unbroken):
    """SIGKILL two steps after the checkpoint of step 3: those two are lost and made again."""
    script = (
        "import torch; torch.set_num_threads(1)\n"
        "import sys; sys.path.insert(0, 'tests')\n"
        "from test_loop import IMAGES, LABELS, new_network, settings_of, start_training, train\n"
        "state, folder = start_training(new_network(), settings_of()), sys.argv[1]\n"
        "for r in train(state, IMAGES, LABELS, settings_of(), folder=folder):\n"
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
    assert torch.equal(tensors["network.head.weight"], state.network.core.head.weight)


def test_failed_write_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    run(settings_of(), tmp_path, stop_after=3)
    before = (tmp_path / checkpoint.FILE).read_bytes()

    def fail(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(ModelError) as caught:
        run(settings_of(), tmp_path)
    assert_one_sentence(caught.value, checkpoint.FILE, "disk full", "free space")
    assert (tmp_path / checkpoint.FILE).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [checkpoint.FILE]


@pytest.mark.parametrize("bad", [float("nan"), 1e30])
@pytest.mark.parametrize("start", ["gaussian", "none"])
def test_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path, bad, start):
    run(settings_of(), tmp_path, stop_after=3, start=start)
    before = (tmp_path / checkpoint.FILE).read_bytes()
    state = start_training(new_network(start), settings_of())
    with pytest.raises(TrainingError) as caught:
        list(train(state, torch.full_like(IMAGES, bad), LABELS, settings_of(), folder=tmp_path))
    assert_one_sentence(caught.value, "at step 4", "learning rate (now 0.001)")
    assert (tmp_path / checkpoint.FILE).read_bytes() == before


def test_gradient_that_is_not_finite_stops_before_the_weights_follow_it(tmp_path, monkeypatch):
    """The loss of the step is still finite; saved weights must stay so too, or the run could never go on."""

    def with_infinite_gradient(*batch):
        losses = loss_per_image(*batch)
        losses.register_hook(lambda gradient: gradient * float("inf"))
        return losses

    run(settings_of(), tmp_path, stop_after=3)
    before = (tmp_path / checkpoint.FILE).read_bytes()
    state = start_training(new_network(), settings_of())
    with monkeypatch.context() as patch, pytest.raises(TrainingError) as caught:
        patch.setattr("fmcore.training.loop.loss_per_image", with_infinite_gradient)
        list(train(state, IMAGES, LABELS, settings_of(), folder=tmp_path))
    assert_one_sentence(caught.value, "gradient became nan", "at step 4", "learning rate")
    assert all(torch.isfinite(v).all() for v in state.network.core.state_dict().values())
    assert (tmp_path / checkpoint.FILE).read_bytes() == before


def test_training_time_includes_that_before_a_resume(tmp_path):
    before, _ = run(settings_of(), tmp_path, stop_after=5)
    after, records = run(settings_of(), tmp_path)
    spent = sum(4 / r.images_per_second for r in records)
    assert before.seconds > 0 and after.seconds == pytest.approx(before.seconds + spent)
    assert run(settings_of(), tmp_path)[0].seconds == after.seconds


def test_learning_rates_beyond_reason_are_refused():
    with pytest.raises(SettingsError, match="'learning_rate' = 5"):
        settings_of(learning_rate=5.0)


def test_other_settings_are_refused_by_name(tmp_path):
    run(settings_of(), tmp_path, stop_after=1)
    with pytest.raises(ModelError) as caught:
        run(settings_of(batch=2, seed=3), tmp_path)
    assert_one_sentence(caught.value, "(batch, seed)", "another folder")


def test_checkpoint_of_another_network_or_a_damaged_one_is_refused(tmp_path):
    run(settings_of(), tmp_path, stop_after=1)
    with pytest.raises(ModelError, match="does not fit this network"):
        run(settings_of(), tmp_path, widths=(8, 16))
    path = tmp_path / checkpoint.FILE
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelError) as caught:
        run(settings_of(), tmp_path)
    assert_one_sentence(caught.value, "missing or damaged")


def test_learning_rate_warms_up_and_falls_to_zero():
    settings = settings_of(steps=110, warmup=10, learning_rate=0.1)
    rates = [learning_rate(step, settings) for step in range(111)]
    assert rates[:10] == pytest.approx([0.01 * (i + 1) for i in range(10)])
    assert rates[10] == pytest.approx(0.1) and rates[60] == pytest.approx(0.05) and rates[110] == pytest.approx(0)


def test_loss_is_eq_1_in_units_of_the_gaussian_error():
    x0, x1, t = torch.randn(4, 3, 32, 32), IMAGES[:4], torch.tensor([0.1, 0.4, 0.7, 0.95])
    labels, shape = LABELS[:4], (4, 1, 1, 1)
    state, u = (1 - t.view(shape)) * x0 + t.view(shape) * x1, x1 - x0
    for start in ("none", "gaussian"):
        network = run(settings_of(steps=3), start=start)[0].network
        with torch.no_grad():
            expected = (network(state, t, labels) - u).square().mean((1, 2, 3))
            if start == "gaussian":
                floor = [float(network.gaussians[c].residual_variance(s)) for c, s in zip(labels, t, strict=True)]
                expected = expected / torch.tensor(floor)
            torch.testing.assert_close(loss_per_image(network, x0, x1, t, labels), expected, rtol=1e-3, atol=1e-4)


def test_average_without_memory_is_the_network_itself_and_else_lags():
    state, _ = run(settings_of(ema=0.0))
    assert torch.equal(state.average.module.head.weight, state.network.core.head.weight)
    state, _ = run(settings_of())
    assert not torch.equal(state.average.module.head.weight, state.network.core.head.weight)
    adopt_average(state)
    assert torch.equal(state.average.module.head.weight, state.network.core.head.weight)
    assert not state.network.training


def test_average_follows_its_recursion():
    """decay_n = min(ema, (1 + n) / (10 + n)) after n updates; the first update copies."""
    settings = settings_of(steps=6)
    state, expected = start_training(new_network("none"), settings), None
    for n, _ in enumerate(train(state, IMAGES, LABELS, settings)):
        current = state.network.core.head.bias.detach().clone()
        decay = min(settings.ema, (1 + n) / (10 + n))
        expected = current if n == 0 else decay * expected + (1 - decay) * current
    torch.testing.assert_close(state.average.module.head.bias, expected)


def test_loss_by_time_is_nan_only_where_no_time_has_been():
    _, records = run(settings_of(steps=1, batch=2, time_power=0.0))
    visited = {int(t * 10) for t in draw(8, None, (3, 32, 32), settings_of(batch=2, time_power=0.0), 0)[1]}
    assert {i for i, value in enumerate(records[0].loss_by_time) if np.isfinite(value)} == visited
