"""Several processes: real runs under `accelerate launch` on the CPU, compared with a run of one process.

Slow for its size: each launch starts two or three interpreters, so the file takes about a minute of processor time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import PATHS, ROOT, SIZE, assert_one_sentence, write_blobs
from safetensors import safe_open

from fmcore import cli
from fmcore.data.folders import load_views, split_views
from fmcore.detector.fit import fit
from fmcore.detector.model import load_model
from fmcore.detector.settings import FitSettings, recommended_paths
from fmcore.detector.tiles import recommended_view
from fmcore.errors import FlowMismatchingError, SettingsError, TrainingError
from fmcore.training.checkpoint import FILE as CHECKPOINT
from fmcore.training.run_plan import RUN_FILE
from fmcore.training.team import ALONE, Team, join, local_rank, one_sentence_if_another_ends

pytest.importorskip("accelerate")
import psutil  # comes with Accelerate

# Widths of three channels per normalised group: with one, a bias has no gradient but rounding noise, which AdamW
# scales up to steps of full size. Five images do not split evenly. float32, since bfloat16 rounds too coarsely
# to compare runs.
SETTINGS = {"size": SIZE, "batch": 5, "widths": (12, 24), "precision": "float32", "save_every": 2}
SETTINGS |= {"false_alarm_rate": 0.2, "learning_rate": 2e-3}


def options(steps: int) -> list[str]:
    values = {
        **SETTINGS,
        "steps": steps,
        "widths": "12,24",
        "paths": PATHS.paths,
        "times": PATHS.times,
        "device": "cpu",
    }
    return [text for name, value in values.items() for text in (f"--{name.replace('_', '-')}", str(value))]


def launch(*arguments: object, processes: int = 2) -> subprocess.Popen:
    """``accelerate launch`` with every default spelt out, so that it has nothing to warn of."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


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


def fit_alone(parts: Path, steps: int, folder: Path | None = None):
    # Images at both sizes, and paths, as the command line has them.
    views = load_views(sorted(parts.iterdir()), sizes=(SIZE, recommended_view(SIZE)), channels=3)
    (images, fine), _ = split_views(list(views))
    paths = recommended_paths("unet", paths=PATHS.paths, times=PATHS.times)
    settings = FitSettings.parse(**SETTINGS, steps=steps, paths=paths)
    records = list(fit({"parts": images}, settings, folder=folder, fine={"parts": fine}))
    return records[-1].model, [r.done for r in records if r.stage == "training"]


def assert_close_models(first, second):
    weights = second.network.core.state_dict()
    for name, value in first.network.core.state_dict().items():
        torch.testing.assert_close(
            value, weights[name], rtol=0, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
    a, b = (model.info.thresholds["parts"] for model in (first, second))
    assert a.held_out == b.held_out and a.value == pytest.approx(b.value, rel=1e-4)
    np.testing.assert_allclose(first.normal_ranges["parts"].upper, second.normal_ranges["parts"].upper, rtol=1e-3)


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "parts"
    write_blobs(folder, range(20))
    return folder


def test_two_processes_make_the_model_of_one_and_one_of_them_speaks(parts, tmp_path):
    process = launch("-m", "fmcore", "fit", parts, "--out", tmp_path / "model", *options(steps=10))
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    for text in ("parts: 20", "in 2 processes.", "parts: threshold", "Model written"):
        assert err.count(text) == 1, err
    assert out == "" and "Traceback" not in err and "Warning" not in err, err
    assert {p.name for p in (tmp_path / "model").iterdir()} == {"model.json", "weights-00.safetensors"}
    alone, _ = fit_alone(parts, steps=10)
    together = load_model(tmp_path / "model")
    assert_close_models(together, alone)
    assert together.info.training["train"] == alone.info.training["train"]


def test_killed_then_interrupted_runs_continue_to_the_weights_of_an_unbroken_one(parts, tmp_path):
    """SIGKILL of one of two processes; SIGTERM of the launcher of the second run; the rest in one process."""
    command, steps = ("-m", "fmcore", "fit", parts, "--out", tmp_path, *options(steps=30)), 30
    process = launch(*command)
    wait_for_step(tmp_path, 2, process)
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    workers[1].send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=180)
    assert process.returncode != 0 and not any(w.is_running() for w in workers), err
    killed = steps_done(tmp_path)
    assert 2 <= killed < steps and (tmp_path / RUN_FILE).exists()

    process = launch(*command)
    wait_for_step(tmp_path, killed + 2, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=180)
    assert err.count("Repeat the same command") == 1, err
    stopped = steps_done(tmp_path)
    assert killed + 2 <= stopped < steps and not (tmp_path / "model.json").exists()

    finished, trained = fit_alone(parts, steps, folder=tmp_path)
    assert trained == list(range(stopped + 1, steps + 1))
    assert_close_models(finished, fit_alone(parts, steps)[0])


SCRIPT = """
import json, sys, torch
from test_loop import IMAGES, LABELS, new_network, settings_of, start_training, train
from fmcore.training.team import join
from fmcore.errors import FlowMismatchingError

torch.set_num_threads(1)
team, said = join("cpu"), {}
settings = settings_of(batch=4, steps=6)
state = start_training(new_network(widths=(24, 48)), settings)
said["losses"] = [(r.loss, r.loss_by_time) for r in train(state, IMAGES, LABELS, settings, team=team)]
said["head"] = state.average.module.head.weight.flatten().tolist()
for name, images, changes in (("small", IMAGES, {"batch": 2}), ("nan", IMAGES * float("nan"), {"batch": 4})):
    settings = settings_of(**changes)
    try:
        list(train(start_training(new_network(), settings), images, LABELS, settings, team=team))
    except FlowMismatchingError as error:
        said[name] = str(error)
said["any"] = [team.any(team.rank == 2), team.any(False)]
said["text"] = team.text_of_main("of 0, é" if team.main else "of another")
said["whole"] = team.whole(torch.arange(7.0)[team.part(7)], 7).tolist()
try:
    team.require_same("one" if team.rank else "two", "images")
except FlowMismatchingError as error:
    said["differ"] = str(error)
with open(f"{sys.argv[1]}/{team.rank}.json", "w") as file:
    json.dump(said, file)
team.leave()
"""


def test_every_step_has_the_loss_of_one_process_and_errors_reach_all(tmp_path):
    """Three processes share batches of four, of which the last gets two."""
    from test_loop import IMAGES, LABELS, new_network, settings_of, start_training, train

    (tmp_path / "script.py").write_text(SCRIPT)
    process = launch(tmp_path / "script.py", tmp_path, processes=3)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    said = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    assert json.dumps(said[0]) == json.dumps(said[1]) == json.dumps(said[2])  # as text, where NaN equals itself

    settings = settings_of(batch=4, steps=6)
    state = start_training(new_network(widths=(24, 48)), settings)
    records = list(train(state, IMAGES, LABELS, settings))
    assert [loss for loss, _ in said[0]["losses"]] == pytest.approx([r.loss for r in records], rel=1e-5)
    bins = [by_time for _, by_time in said[0]["losses"]]
    np.testing.assert_allclose(bins, [r.loss_by_time for r in records], rtol=1e-4)
    expected = state.average.module.head.weight.detach().flatten().numpy()
    np.testing.assert_allclose(said[0]["head"], expected, rtol=0, atol=1e-5)

    assert_one_sentence(said[0]["small"], "'batch' = 2", "3 processes")
    assert_one_sentence(said[0]["nan"], "loss became nan at step 1")
    assert_one_sentence(said[0]["differ"], "the same images", "share")
    assert said[0]["any"] == [True, False] and said[0]["text"] == "of 0, é" and said[0]["whole"] == list(range(7))


@pytest.fixture
def launched(monkeypatch):
    """As the first of two processes sees its environment; no process group is ever made."""
    for name, value in {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "RANK": 0, "LOCAL_RANK": 0}.items():
        monkeypatch.setenv(name, str(value))
    return monkeypatch


def test_missing_accelerate_is_one_sentence(launched, parts, tmp_path, capsys):
    launched.setitem(sys.modules, "accelerate", None)
    launched.setattr(sys, "argv", ["fmcore", "fit", str(parts), "--out", str(tmp_path / "m"), "--device", "cpu"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2 and not (tmp_path / "m").exists()
    assert_one_sentence(capsys.readouterr().err, "not installed", "pip install accelerate")


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


def test_an_ordinary_run_is_a_team_of_one_and_does_not_import_accelerate(monkeypatch):
    for name in ("WORLD_SIZE", "LOCAL_RANK", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)
    assert join("cpu") is ALONE and ALONE.main and local_rank() == 0
    values, module = torch.rand(5), torch.nn.Linear(2, 2)
    assert ALONE.whole(values, 5) is values and ALONE.wrap(module) is module and ALONE.part(5) == slice(0, 5)
    assert ALONE.any(True) and not ALONE.any(False) and ALONE.text_of_main("x") == "x"
    ALONE.require_same("x", "images")
    ALONE.leave()
    program = "import sys, fmcore.cli.app, fmcore.detector.fit; sys.exit('accelerate' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60).returncode == 0


@pytest.mark.parametrize(("count", "size"), [(7, 3), (4, 4), (16, 5), (1, 1), (2, 3)])
def test_parts_cover_the_batch_once_and_differ_by_one_image(count, size):
    teams = [Team(SimpleNamespace(num_processes=size, process_index=rank)) for rank in range(size)]
    parts = [list(range(count))[team.part(count)] for team in teams]
    assert [i for part in parts for i in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [team.main for team in teams] == [True] + [False] * (size - 1)


def test_only_a_lost_connection_is_reported_as_one():
    with pytest.raises(FlowMismatchingError) as caught, one_sentence_if_another_ends():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer.")
    assert_one_sentence(caught.value, "Another process", "last checkpoint")
    with pytest.raises(RuntimeError, match="out of memory"), one_sentence_if_another_ends():
        raise RuntimeError("out of memory")
