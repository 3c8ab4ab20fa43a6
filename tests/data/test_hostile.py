"""Generated hostile input: a sentence or a result, never another exception, bounded memory, nothing written outside."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fmcore.data.check import check
from fmcore.data.folders import find_good_images, find_test_sets, read_folder
from fmcore.data.layouts import TABLE
from fmcore.data.picture import Picture, read_mask, read_picture
from fmcore.detector.model import load_model
from fmcore.errors import FlowMismatchingError, ImageError, ModelError

SUFFIXES = ("png", "jpg", "bmp", "tif", "webp", "gif", "ppm", "avif", "jp2")


MOST_MEMORY = 600  # megabytes more than before: a file may take 400 of them while it is decoded


@pytest.fixture(autouse=True)
def _bounded_memory():
    status = Path("/proc/self/status")
    if not status.exists():  # not on Linux
        yield
        return

    def megabytes(name: str) -> int:
        return int(next(line for line in status.read_text().splitlines() if line.startswith(name)).split()[1]) // 1000

    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = megabytes("VmRSS")
    yield
    assert megabytes("VmHWM") - before <= MOST_MEMORY


def several(examples: int):
    """As many inputs, the same ones in every run."""
    health = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=health)


def encoded() -> dict[str, bytes]:
    """A small file of every kind, and of the modes that decoders treat by themselves."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 17, 3), dtype=np.uint8)
    images = {suffix: Image.fromarray(pixels) for suffix in SUFFIXES}
    modes = {"rgba.png": "RGBA", "p.png": "P", "la.png": "LA", "cmyk.jpg": "CMYK"}
    images |= {name: images["png"].convert(mode) for name, mode in modes.items()}
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 4)
    images |= {"16.tif": deep, "16.png": deep, "float.tif": Image.fromarray(pixels[..., 0].astype(np.float32) / 255)}
    found = {}
    for name, image in images.items():
        image.save(buffer := io.BytesIO(), Image.registered_extensions()[f".{name.split('.')[-1]}"])
        found[name] = buffer.getvalue()
    return found


FILES = encoded()


@st.composite
def damaged(draw) -> tuple[str, bytes]:
    """A name and bytes: a real file with some of them changed, cut off, doubled or replaced."""
    name = draw(st.sampled_from(sorted(FILES)))
    data = bytearray(FILES[name])
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(0, min(len(data) - 1, draw(st.sampled_from([40, 10_000]))))))
        match draw(st.sampled_from(["flip", "cut", "insert", "zero"])):
            case "flip" if data:
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at:]
            case "insert":
                data[at:at] = draw(st.binary(max_size=20))
            case "zero":
                data[at : at + 8] = bytes(8)
    suffix = draw(st.sampled_from([name.split(".")[-1], *SUFFIXES]))
    return f"x.{suffix}", bytes(data)


@given(damaged())
@several(380)
def test_a_file_is_a_picture_and_a_mask_or_a_sentence(tmp_path, file):
    path = tmp_path / file[0]
    path.write_bytes(file[1])
    try:
        picture = read_picture(path)
        assert isinstance(picture, Picture) and np.isfinite(picture.pixels).all() and picture.of_depth(10).largest >= 0
        assert picture.resized(8, 8, 3).abs().max() <= 1
    except ImageError as error:
        assert repr(path.name) in str(error) and "\n" not in str(error)
    try:
        assert read_mask(path, height=9, width=8).any()
    except ImageError as error:
        assert repr(path.name) in str(error) and "\n" not in str(error)


@st.composite
def mask_image(draw) -> Image.Image:
    """Levels in blocks, noise or a ramp, of any mode."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    levels = draw(st.lists(st.integers(0, 255), min_size=1, max_size=6))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = rng.choice(np.array(levels), (-(-height // 4), -(-width // 4))).repeat(4, 0).repeat(4, 1)[:height, :width]
    if draw(st.booleans()):
        values = values + rng.integers(-6, 7, values.shape)
    values = np.clip(values, 0, 255).astype(np.uint8)
    mode = draw(st.sampled_from(["L", "RGB", "P", "LA", "RGBA", "1", "I;16"]))
    if mode == "I;16":
        return Image.fromarray(values.astype(np.uint16) * draw(st.sampled_from([1, 4, 257])))
    image = Image.fromarray(values)
    if mode in ("LA", "RGBA"):
        image = image.convert(mode)
        image.putalpha(Image.fromarray(rng.integers(0, 2, values.shape, dtype=np.uint8) * 255))
        return image
    return image.convert(mode)


@given(mask_image(), st.sampled_from([None, 1, 7, 64]), st.sampled_from(["png", "tif", "jpg"]))
@several(260)
def test_a_mask_marks_something_of_its_size_or_is_refused(tmp_path, image, size, suffix):
    path = tmp_path / f"m.{suffix}"
    (image.convert("L") if suffix == "jpg" else image).save(path)
    try:
        mask = read_mask(path, height=size, width=size, size_of_image=(image.height, image.width))
        assert mask.dtype == bool and mask.any() and mask.shape == ((size, size) if size else image.size[::-1])
    except ImageError as error:
        assert "'m." in str(error) and "\n" not in str(error)


PARTS = ["train", "test", "good", "ok", "bad", "normal", "abnormal", "mask", "ground_truth", "Data", "Images", "000"]
NAMES = st.one_of(
    st.sampled_from(PARTS),
    st.sampled_from(
        ["a.png", "a_mask.png", "_mask.png", "a_heat.png", "b.JPG.png", ".hidden.png", "c.heic", "x" * 240]
    ),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
        lambda name: name not in (".", "..")
    ),
)
KINDS = ["image", "image", "mask", "empty", "junk", "folder", "broken link", "loop"]
TREES = st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=4), st.sampled_from(KINDS)), max_size=8)
TABLES = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.lists(st.sampled_from(["object", "split", "label", "image,mask", "a,test,anomaly,a.png,b.png", "\n", ","])).map(
        lambda parts: ("object,split,label,image,mask\n" + ",".join(parts)).encode()
    ),
)


@given(TREES, TABLES)
@several(200)
def test_any_tree_is_described_or_refused_and_left_as_it_is(tmp_path, tree, table):
    root = tmp_path / "tree"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for parts, kind in tree:
        plant(root.joinpath(*parts), kind)
    if table is not None:
        plant(root / TABLE, "empty")
        if (root / TABLE).is_file():
            (root / TABLE).write_bytes(table)
    before = sorted(map(str, tmp_path.rglob("*")))
    for use in (read_folder, find_good_images, find_test_sets, lambda folder: list(check(folder))):
        try:
            use(root)
        except FlowMismatchingError as error:
            assert str(error)
    assert sorted(map(str, tmp_path.rglob("*"))) == before


def plant(path: Path, kind: str) -> None:
    """A file, folder or link where the file system allows one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        match kind:
            case "image":
                path.write_bytes(FILES["png"])
            case "mask":
                Image.fromarray(np.eye(17, 24, dtype=np.uint8) * 255).save(path, "PNG")
            case "empty" | "junk":
                path.write_bytes(b"" if kind == "empty" else b"junk")
            case "folder":
                path.mkdir(exist_ok=True)
            case "broken link":
                path.symlink_to("nowhere")
            case "loop":
                path.symlink_to(path.parent, target_is_directory=True)
    except (OSError, ValueError):
        pass  # no such name here, or something else stands there


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(SCALARS, st.lists, max_leaves=3)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, gaussian_model):
    gaussian_model.save(folder := tmp_path_factory.mktemp("model") / "model")
    return folder


@given(st.data())
@several(180)
def test_a_model_folder_is_loaded_or_refused(tmp_path, saved, data):
    folder = tmp_path / "model"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(saved, folder)
    path = folder / data.draw(st.sampled_from(sorted(p.name for p in saved.iterdir())))
    content = bytearray(path.read_bytes())
    if path.suffix == ".json" and data.draw(st.booleans()):
        content = json.dumps(changed(json.loads(content), data)).encode()
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, min(len(content), data.draw(st.sampled_from([30, 2000, 10**6])))))
            content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path.write_bytes(content)
    before = sorted(map(str, tmp_path.rglob("*")))
    try:
        assert load_model(folder).categories
    except ModelError as error:
        assert "\n" not in str(error)
    assert sorted(map(str, tmp_path.rglob("*"))) == before


def changed(value, data):
    """The JSON value with one part of it replaced or left out."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 9)):
        key = data.draw(st.sampled_from(sorted(value)))
        if not data.draw(st.integers(0, 5)):
            return {k: v for k, v in value.items() if k != key}
        return value | {key: changed(value[key], data)}
    return data.draw(JSON)
