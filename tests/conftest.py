"""Shared fixtures: tiny images drawn by code, folders of them, and small models."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# Before torch is loaded, as the package does it. Before the command line is imported: plain, wide output, wherever the
# tests run.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.pop("FORCE_COLOR", None)
os.environ |= {"NO_COLOR": "1", "TERMINAL_WIDTH": "200", "_TYPER_FORCE_DISABLE_TERMINAL": "1"}

import numpy as np
import pytest
import torch
from PIL import Image

from fmcore import cli
from fmcore.detector.fit import fit
from fmcore.detector.settings import FitSettings
from fmcore.fields.gaussian import GaussianField
from fmcore.mismatch import PathSettings
from fmcore.path import clean_guess

pytest_plugins = ["browsing"]  # the fixtures of the browser tests, of which each file has its own pages
ROOT = Path(__file__).resolve().parents[1]
DATASETS = ROOT.parent / "shared" / "datasets"
SIZE = 32
PATHS = PathSettings(paths=2, times=3)


def draw_blob(seed: int, *, size: int = SIZE, defect: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A coloured blob near the centre, ``(size, size, 3)`` uint8, and the mask ``(size, size)`` of its defect."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    cy, cx = 0.5 + 0.06 * rng.standard_normal(2)
    bump = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 0.03)
    image = 60 + 140 * bump[..., None] * np.array([1.0, 0.7, 0.4]) + 3 * rng.standard_normal((size, size, 3))
    mask = np.zeros((size, size), dtype=bool)
    if defect:
        top, left = rng.integers(2, size - 10, 2)
        mask[top : top + 6, left : left + 6] = True
        image[mask] = (0, 255, 255)
    return np.clip(image, 0, 255).astype(np.uint8), mask


def write_blobs(folder: Path, seeds: range, *, masks: Path | None = None, **options) -> list[Path]:
    """PNG files of `draw_blob`, and their masks where ``masks`` is a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, seed in enumerate(seeds):
        image, mask = draw_blob(seed, **options)
        written.append(folder / f"{number:03d}.png")
        Image.fromarray(image).save(written[-1])
        if masks is not None:
            masks.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask.astype(np.uint8) * 255).save(masks / f"{number:03d}_mask.png")
    return written


def write_category(root: Path, first_seed: int = 0) -> Path:
    """One MVTec-layout category: 12 good training images, 4 good and 4 defective test images, with masks."""
    write_blobs(root / "train" / "good", range(first_seed, first_seed + 12))
    write_blobs(root / "test" / "good", range(first_seed + 100, first_seed + 104))
    seeds = range(first_seed + 200, first_seed + 204)
    write_blobs(root / "test" / "square", seeds, masks=root / "ground_truth" / "square", defect=True)
    return root


def write_visa(root: Path, categories: tuple[str, ...] = ("candle", "pcb1")) -> Path:
    """VisA as downloaded: upper-case JPG images, masks that hold defect numbers, and the table; per category 5 good
    training images, 3 good and 3 defective test images."""
    lines = ["object,split,label,image,mask"]
    for first, name in enumerate(categories):
        images, masks = root / name / "Data" / "Images", root / name / "Data" / "Masks" / "Anomaly"
        for folder in (images / "Normal", images / "Anomaly", masks):
            folder.mkdir(parents=True)
        for number in range(8):
            path = images / "Normal" / f"{number:04d}.JPG"
            Image.fromarray(draw_blob(100 * first + number)[0]).save(path, "JPEG", quality=95)
            lines.append(f"{name},{'train' if number < 5 else 'test'},normal,{path.relative_to(root).as_posix()},")
        for number in range(3):
            image, mask = draw_blob(100 * first + 50 + number, defect=True)
            path, marks = images / "Anomaly" / f"{number:03d}.JPG", masks / f"{number:03d}.png"
            Image.fromarray(image).save(path, "JPEG", quality=95)
            Image.fromarray(mask.astype(np.uint8) * (number + 1)).save(marks)
            lines.append(
                f"{name},test,anomaly,{path.relative_to(root).as_posix()},{marks.relative_to(root).as_posix()}"
            )
    (root / "split_csv").mkdir()
    (root / "split_csv" / "1cls.csv").write_text("\n".join(lines) + "\n")
    return root


def blob_tensors(seeds: range, channels: int = 3, size: int = SIZE) -> torch.Tensor:
    """`draw_blob` images as ``(N, channels, size, size)`` in [-1, 1]."""
    images = np.stack([draw_blob(seed, size=size)[0] for seed in seeds])[..., :channels]
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1


def random_gaussian(shape: tuple[int, ...], k: int, seed: int = 0) -> GaussianField:
    """A `GaussianField` with random mean and directions, far from isotropic."""
    generator = torch.Generator().manual_seed(seed)
    dimension = int(np.prod(shape))
    basis = torch.linalg.qr(torch.randn(dimension, max(k, 1), generator=generator))[0].T[:k]
    variances = torch.linspace(3.0, 0.5, k) if k else torch.zeros(0)
    return GaussianField(0.5 * torch.randn(shape, generator=generator), basis, variances, 0.1)


def dense_covariance(field: GaussianField) -> torch.Tensor:
    """``S`` of a field as a ``(D, D)`` matrix, float64."""
    u, d = field.components.double(), field.mean.numel()
    return u.T @ torch.diag(field.variances.double() - field.rest.double()) @ u + field.rest.double() * torch.eye(
        d, dtype=torch.float64
    )


def assert_denoises(field) -> None:
    """The guess of the data for blobs it has not seen leaves less than a fifth of the error of ``x / t``."""
    fresh = blob_tensors(range(50, 54))
    noise = torch.randn(fresh.shape, generator=torch.Generator().manual_seed(5))
    for t in (0.5, 0.9):
        x = (1 - t) * noise + t * fresh
        assert (clean_guess(x, field(x, t), t) - fresh).square().mean() < 0.2 * (x / t - fresh).square().mean()


def blob_pictures(seeds: range, size: int = SIZE) -> list[np.ndarray]:
    """`draw_blob` images as a user has them, ``(size, size, 3)`` uint8."""
    return [draw_blob(seed, size=size)[0] for seed in seeds]


PIXELS = {"encoder": "none", "view": {"size": SIZE}, "paths": {"paths": 2, "times": 3}}  # a fit in a moment


def last_model(pictures: dict[str, list], **settings):
    """The model of a `fit` run to its end, in pixels unless told otherwise."""
    *_, record = fit(pictures, FitSettings.parse(**{**PIXELS, **settings}))
    return record.model


def run_cli(*arguments: object, **options) -> subprocess.CompletedProcess:
    """``python -m fmcore`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fmcore", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def assert_one_sentence(text: object, *parts: str) -> None:
    """An error message: one line that ends as a sentence, holds ``parts`` and no traceback."""
    text = str(text).strip()
    assert text and "\n" not in text and "Traceback" not in text and text[-1] in ".?", text
    for part in parts:
        assert part in text, text


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For ``-n``: the files whose tests take longest come first, the tests of a file stay together, as they share what
    it makes, and so do all tests of the one browser."""
    items.sort(key=lambda item: not {"demo", "notebooks"} & set(item.path.parts))
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            uses_browser = {"chrome", "gear_folder"} & set(getattr(item, "fixturenames", ()))
            item.add_marker(pytest.mark.xdist_group("browser" if uses_browser else item.path.stem))


@pytest.fixture(autouse=True)
def _alone(request, tmp_path_factory):
    """Under ``-n`` a test that is marked as ``alone`` waits until no other one runs, and the others wait for it."""
    if not hasattr(request.config, "workerinput"):
        yield
        return
    import fcntl

    shared = tmp_path_factory.getbasetemp().parent
    with (shared / "gate").open("a") as gate, (shared / "lock").open("a") as lock:
        fcntl.flock(gate, fcntl.LOCK_EX)  # held while one waits, so that no later test comes before
        fcntl.flock(lock, fcntl.LOCK_EX if request.node.get_closest_marker("alone") else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tiny tensors are slower on many threads, and one thread makes every run repeat bit for bit."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def blobs() -> torch.Tensor:
    return blob_tensors(range(12))


@pytest.fixture(scope="session")
def category_folder(tmp_path_factory) -> Path:
    """A read-only MVTec-layout category named "blob"."""
    return write_category(tmp_path_factory.mktemp("data") / "blob")


@pytest.fixture(scope="session")
def gaussian_model(category_folder):
    """A Gaussian model of the good images of `category_folder`, with a threshold (19 held-out images would be
    needed at 5 %, so the rate is 20 %) and a blur of 2 px, with which it is good but not perfect on them."""
    paths = sorted((category_folder / "train" / "good").iterdir())
    return last_model({"blob": paths}, false_alarm_rate=0.2, heat={"smoothing": 2.0})


@pytest.fixture
def call(monkeypatch, capsys):
    """`fmcore.cli.main` in this process: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fmcore", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return run


@pytest.fixture
def model_folder(tmp_path, gaussian_model):
    gaussian_model.save(tmp_path / "model")
    return tmp_path / "model"


def dataset(name: str) -> Path:
    """A folder of real images, or a skip that says what is missing."""
    if not (DATASETS / name).is_dir():
        pytest.skip(f"real images are not here: expected them in '../shared/datasets/{name}'")
    return DATASETS / name


@pytest.fixture(scope="module")
def blob_app(gaussian_model, category_folder, tmp_path_factory):
    """Folder of what an app has embedded: one model of blobs, and examples of which the last are good."""
    root = tmp_path_factory.mktemp("embedded")
    gaussian_model.save(root / "gaussian")
    shutil.copytree(category_folder, root / "examples" / "blob")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOW_MISMATCHING_EMBEDDED", str(root))
        yield root
