"""Several processes: real runs on the CPU, with `accelerate launch` and alone, compared with a run of one process.

Slow for its size: each run starts two or three interpreters.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, assert_one_sentence, write_blobs
from safetensors import safe_open
from test_loop import IMAGES, LABELS, new_network, settings_of

from fmcore.data.folders import find_good_images
from fmcore.detector.fit import fit
from fmcore.detector.model import load_model
from fmcore.detector.settings import FitSettings
from fmcore.errors import FlowMismatchingError, SettingsError, TrainingError
from fmcore.training import TrainSettings
from fmcore.training.checkpoint import FILE as CHECKPOINT
from fmcore.training.checkpoint import start_training
from fmcore.training.loop import train
from fmcore.training.team import join, one_sentence_if_another_ends, part_of, require_same, total

pytest.importorskip("accelerate")

# Widths of three channels per normalised group: with one, a bias has no gradient but rounding noise, which AdamW
# scales up to steps of full size. Five images do not split evenly.
WIDTHS = (24, 48)
PYTHONPATH = (ROOT, ROOT / "tests" / "training", ROOT / "tests")
LONG = {"batch": 5, "steps": 24, "save_every": 2, "learning_rate": 2e-3}


def launch(*arguments: object) -> subprocess.Popen:
    """``accelerate launch`` with every default spelt out, so that it has nothing to warn of."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, PYTHONPATH))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def workers(script: Path, *arguments: object, processes: int) -> list[subprocess.Popen]:
    """The processes that a launch would start, without the launcher."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free.getsockname()[1], "OMP_NUM_THREADS": 1}
    shared |= {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    shared |= {"PYTHONPATH": os.pathsep.join(map(str, PYTHONPATH))}
    started = []
    for rank in range(processes):
        own = {name: str(value) for name, value in {**shared, "RANK": rank, "LOCAL_RANK": rank}.items()}
        command = [sys.executable, str(script), *map(str, arguments)]
        started.append(subprocess.Popen(command, cwd=ROOT, env=os.environ | own, stderr=subprocess.PIPE, text=True))
    return started


def steps_done(folder: Path) -> int:
    """Finished steps of the checkpoint in a folder, 0 where there is none."""
    if not (folder / CHECKPOINT).exists():
        return 0
    with safe_open(folder / CHECKPOINT, framework="pt") as file:
        return int(file.metadata()["step"])


def wait_for_step(folder: Path, step: int, process: subprocess.Popen) -> int:
    deadline = time.monotonic() + 180
    while (done := steps_done(folder)) < step:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.02)
    return done


RUN = """
import sys, torch
from test_loop import IMAGES, LABELS, new_network, settings_of, start_training, train
from test_accelerate import LONG, WIDTHS
from fmcore.training.team import join, one_sentence_if_another_ends

torch.set_num_threads(1)
accelerator = join("cpu")
state = start_training(new_network(widths=WIDTHS))
with one_sentence_if_another_ends():
    list(train(state, IMAGES, LABELS, settings_of(**LONG), sys.argv[1], accelerator))
    accelerator.wait_for_everyone()
    accelerator.end_training()
"""


def test_a_killed_run_continues_to_the_weights_of_an_unbroken_one(tmp_path):
    """SIGKILL of one of two processes, of which the other tells; the rest in one process."""
    (tmp_path / "run.py").write_text(RUN)
    main, other = workers(tmp_path / "run.py", tmp_path, processes=2)
    wait_for_step(tmp_path, 2, main)
    other.kill()
    other.communicate(timeout=60)
    _, err = main.communicate(timeout=180)
    assert main.returncode != 0 and "TrainingError: Another process has ended" in err, err
    killed = steps_done(tmp_path)
    assert 2 <= killed < LONG["steps"]
    states = []
    for folder in (tmp_path, None):
        state = start_training(new_network(widths=WIDTHS))
        trained = [r.step for r in train(state, IMAGES, LABELS, settings_of(**LONG), folder)]
        assert trained == list(range((killed if folder else 0) + 1, LONG["steps"] + 1))
        states.append(state.network.core.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=0, atol=2e-5, msg=lambda text, n=name: f"{n}: {text}")


SCRIPT = """
import json, sys, torch
from test_loop import IMAGES, LABELS, new_network, settings_of, start_training, train
from fmcore.training.team import join, part_of, require_same, total
from fmcore.errors import FlowMismatchingError

torch.set_num_threads(1)
accelerator, said = join("cpu"), {}
rank = accelerator.process_index
state, settings = start_training(new_network(widths=(24, 48))), settings_of(batch=4, steps=6)
records = list(train(state, IMAGES, LABELS, settings, accelerator=accelerator))
said["losses"] = [(r.loss, r.loss_by_time, r.progress, r.images_per_second) for r in records]
said["head"] = state.average.module.head.weight.flatten().tolist()
for name, images, changes in (("small", IMAGES, {"batch": 2}), ("nan", IMAGES * float("nan"), {"batch": 4})):
    try:
        list(train(start_training(new_network()), images, LABELS, settings_of(**changes), accelerator=accelerator))
    except FlowMismatchingError as error:
        said[name] = str(error)
settings = settings_of(batch=4, steps=None, minutes=0.01, passes=1e4)
records = list(train(start_training(new_network()), IMAGES, LABELS, settings, accelerator=accelerator))
said["minutes"] = [r.progress for r in records]
said["sum"] = total(torch.tensor([1.0, rank]), accelerator).tolist()
require_same("one", "images", accelerator)
try:
    require_same("one" if rank else "two", "images", accelerator)
except FlowMismatchingError as error:
    said["differ"] = str(error)
with open(f"{sys.argv[1]}/{rank}.json", "w") as file:
    json.dump(said, file)
accelerator.wait_for_everyone()
accelerator.end_training()
"""


def test_every_step_has_the_loss_of_one_process_and_errors_reach_all(tmp_path):
    """Three processes share batches of four, of which the last gets two."""
    (tmp_path / "script.py").write_text(SCRIPT)
    for process in workers(tmp_path / "script.py", tmp_path, processes=3):
        _, err = process.communicate(timeout=180)
        assert process.returncode == 0, err
    said = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    assert json.dumps(said[0]) == json.dumps(said[1]) == json.dumps(said[2])  # as text, where NaN equals itself

    state = start_training(new_network(widths=WIDTHS))
    records = list(train(state, IMAGES, LABELS, settings_of(batch=4, steps=6)))
    assert [loss for loss, *_ in said[0]["losses"]] == pytest.approx([r.loss for r in records], rel=1e-5)
    bins = [by_time for _, by_time, *_ in said[0]["losses"]]
    np.testing.assert_allclose(bins, [r.loss_by_time for r in records], rtol=1e-4)
    expected = state.average.module.head.weight.detach().flatten().numpy()
    np.testing.assert_allclose(said[0]["head"], expected, rtol=0, atol=1e-5)

    assert_one_sentence(said[0]["small"], "'batch' = 2", "3 processes")
    assert_one_sentence(said[0]["nan"], "loss became nan at step 1")
    assert_one_sentence(said[0]["differ"], "the same images", "share")
    assert (
        said[0]["sum"] == [3.0, 3.0]
        and said[0]["minutes"][-1] == 1
        and said[0]["minutes"] == sorted(said[0]["minutes"])
    )


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "parts"
    write_blobs(folder, range(20))
    return folder


TRAINING = {**LONG, "steps": 12, "precision": "float32"}  # bfloat16 rounds too coarsely to compare runs
FIT = {"encoder": "none", "field": "unet", "false_alarm_rate": 0.2}
GROUPS = {"view": {"size": 32}, "options": {"widths": WIDTHS}, "paths": {"paths": 1, "times": 2}}


def options(**changes: object) -> list[str]:
    """Of the command line, for the fit of `fit_alone`."""
    values = {**FIT, **TRAINING, **GROUPS["view"], **GROUPS["paths"], "widths": "24,48", "device": "cpu", **changes}
    return [text for name, value in values.items() for text in (f"--{name.replace('_', '-')}", str(value))]


def fit_alone(parts: Path, folder: Path | None = None, **changes: object):
    settings = FitSettings.parse(**FIT, **GROUPS, training=TrainSettings.parse(**{**TRAINING, **changes}))
    records = list(fit(find_good_images(parts).categories, settings, folder=folder))
    return records[-1].model, [r.train.step for r in records if r.train]


def assert_close_models(first, second):
    weights = second.shared.core.state_dict()
    for name, value in first.shared.core.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=2e-5, msg=lambda text, n=name: f"{n}: {text}")
    a, b = first.threshold(), second.threshold()
    assert a.held_out == b.held_out and a.value == pytest.approx(b.value, rel=1e-4)
    np.testing.assert_allclose(first.normal_ranges["parts"].upper, second.normal_ranges["parts"].upper, rtol=1e-3)


def test_two_processes_make_the_model_of_one_and_one_of_them_speaks(parts, tmp_path):
    process = launch("-m", "fmcore", "fit", parts, "--out", tmp_path / "model", *options())
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    for text in ("parts: 20", "in 2 processes.", "parts: threshold", "Model written"):
        assert err.count(text) == 1, err
    assert out == "" and "Traceback" not in err and "Warning" not in err, err
    assert {p.name for p in (tmp_path / "model").iterdir()} == {"model.json", "weights-00.safetensors"}
    alone, together = fit_alone(parts)[0], load_model(tmp_path / "model")
    assert_close_models(together, alone)
    assert together.info.training["steps"] == alone.info.training["steps"] == 12


def test_an_interrupted_launch_says_so_once_and_one_process_goes_on(parts, tmp_path):
    """SIGTERM of the launcher; its workers stop after the same step."""
    process = launch("-m", "fmcore", "fit", parts, "--out", tmp_path, *options(steps=24))
    wait_for_step(tmp_path, 2, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=180)
    assert err.count("Repeat the same command") == 1, err
    stopped = steps_done(tmp_path)
    assert 2 <= stopped < 24 and not (tmp_path / "model.json").exists()
    finished, trained = fit_alone(parts, folder=tmp_path, steps=24)
    assert trained == list(range(stopped + 1, 25))
    assert_close_models(finished, fit_alone(parts, steps=24)[0])


@pytest.fixture
def launched(monkeypatch):
    """As the first of two processes sees its environment; no process group is ever made."""
    for name, value in {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "RANK": 0, "LOCAL_RANK": 0}.items():
        monkeypatch.setenv(name, str(value))
    return monkeypatch


def test_missing_accelerate_is_one_sentence(launched):
    launched.setitem(sys.modules, "accelerate", None)
    with pytest.raises(TrainingError) as caught:
        join("cpu")
    assert_one_sentence(caught.value, "needs Accelerate", "pip install accelerate")


def test_missing_accelerate_ends_the_command_line_before_anything_is_written(launched, call, parts, tmp_path):
    launched.setitem(sys.modules, "accelerate", None)
    code, out, err = call("fit", parts, "--out", tmp_path / "m", *options())
    assert code == 2 and out == "" and not (tmp_path / "m").exists()
    assert_one_sentence(err, "needs Accelerate", "pip install accelerate")


def test_more_processes_than_gpus_is_one_sentence(launched):
    launched.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SettingsError) as caught:
        join("cuda")
    assert_one_sentence(caught.value, "2 processes", "1 GPU", "--device cpu")


def test_launch_that_starts_one_process_in_place_of_several_is_refused(monkeypatch):
    """The environment that ``accelerate launch --cpu --num_processes 2`` makes."""
    from accelerate.commands.launch import launch_command_parser
    from accelerate.utils.launch import prepare_simple_launcher_cmd_env

    text = "--cpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no x.py"
    arguments = launch_command_parser().parse_args(text.split())
    arguments.use_cpu, arguments.num_cpu_threads_per_process = True, 1
    _, environment = prepare_simple_launcher_cmd_env(arguments)
    for name in set(environment) - set(os.environ):
        monkeypatch.setenv(name, environment[name])
    with pytest.raises(TrainingError) as caught:
        join("cpu")
    assert_one_sentence(caught.value, "one process only", "--multi_gpu", "--device cpu")


def test_an_ordinary_run_is_alone_and_does_not_import_accelerate(monkeypatch):
    for name in ("WORLD_SIZE", "LOCAL_RANK", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)
    values = torch.rand(5)
    assert join("cpu") is None and total(values, None) is values and part_of(5, None) == slice(0, 5)
    require_same("x", "images", None)
    program = "import sys, fmcore.training.loop; sys.exit('accelerate' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60).returncode == 0


@pytest.mark.parametrize(("count", "size"), [(7, 3), (4, 4), (16, 5), (1, 1), (2, 3)])
def test_parts_cover_the_batch_once_and_differ_by_one_image(count, size):
    accelerators = [SimpleNamespace(num_processes=size, process_index=rank) for rank in range(size)]
    parts = [list(range(count))[part_of(count, accelerator)] for accelerator in accelerators]
    assert [i for part in parts for i in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_only_a_lost_connection_is_reported_as_one():
    with pytest.raises(FlowMismatchingError) as caught, one_sentence_if_another_ends():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer.")
    assert_one_sentence(caught.value, "Another process", "repeat the command")
    with pytest.raises(RuntimeError, match="out of memory"), one_sentence_if_another_ends():
        raise RuntimeError("out of memory")
