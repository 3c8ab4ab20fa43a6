"""The app as an MCP server, asked by the client of the package ``mcp``: its tools, their arguments, their answers."""

from __future__ import annotations

import ast
import asyncio
import base64
import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from browsing import running_app
from conftest import assert_one_sentence, write_blobs
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

from demo.common.text_files import files_as_text
from fmcore.errors import SettingsError
from fmcore.mismatch import image_score

TOOLS = {  # name: arguments with their types, the optional ones with null
    "score": {
        "picture": "string?",
        "example": "integer?",
        "model": "string",
        "category": "string?",
        "paths": "integer?",
        "times": "integer?",
        "aggregator": "min mean median percentile?",
        "alpha": "number?",
        "exponent": "number?",
        "smoothing": "number?",
        "heatmap": "boolean",
    },
    "explain": {"picture": "string?", "example": "integer?", "model": "string", "category": "string?"},
    "fit": {"pictures": "[string]"},
    "score_batch": {"pictures": "[string]", "model": "string", "category": "string?"},
    "decompose": {
        "category": "string",
        "pictures": "[string]?",
        "example": "integer",
        "model": "string",
        "law": "image noisy empirical gaussian network",
        "noise": "number",
        "ends": "picture mix",
        "samples": "integer",
        "times": "integer",
        "seed": "integer",
    },
}


@pytest.fixture(scope="module")
def url(blob_app, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_MCP_SERVER", "True")
        with running_app(blob_app, tmp_path_factory.mktemp("app")) as address:
            yield address


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    return write_blobs(tmp_path_factory.mktemp("files"), range(200, 205), size=80, defect=True)


def with_client(url: str, work):
    """What ``work(session)`` gives, of a client that is connected to the app."""

    async def connected():
        async with streamablehttp_client(f"{url}/gradio_api/mcp/") as (reading, writing, _):
            async with ClientSession(reading, writing) as session:
                await session.initialize()
                return await work(session)

    return asyncio.run(connected())


def tools_of(url: str) -> dict:
    return {tool.name: tool for tool in with_client(url, lambda session: session.list_tools()).tools}


def called(url: str, name: str, **arguments):
    """The answer of a tool; gradio writes it as a Python literal. An error is its sentence."""
    result = with_client(url, lambda session: session.call_tool(name, arguments))
    (content,) = result.content
    return content.text if result.isError else ast.literal_eval(content.text)


def as_data(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def kind_of(schema: dict) -> str:
    """A JSON schema in short, as `TOOLS` has it."""
    if "oneOf" in schema:
        null, kind = sorted(schema["oneOf"], key=lambda one: one.get("type") != "null")
        assert null == {"type": "null"}
        return f"{kind_of(kind)}?"
    if "enum" in schema:
        return " ".join(schema["enum"])
    return f"[{kind_of(schema['items'])}]" if schema["type"] == "array" else schema["type"]


def test_the_tools_are_the_endpoints_described_and_typed(url):
    tools = tools_of(url)
    assert list(tools) == list(TOOLS)
    for name, arguments in TOOLS.items():
        schema = tools[name].inputSchema
        assert {key: kind_of(value) for key, value in schema["properties"].items()} == arguments
        assert len(tools[name].description.split(".")[0].split()) >= 7 and "Returns: " in tools[name].description
        for key, value in schema["properties"].items():
            assert len(value["description"].split()) >= 3, (name, key)
    required = {name: tool.inputSchema.get("required", []) for name, tool in tools.items()}
    only = {"fit": ["pictures"], "score_batch": ["pictures"], "decompose": ["category"]}
    assert required == {"score": [], "explain": [], **only}


def test_a_picture_gets_score_verdict_and_heat_map(url, gaussian_model, files):
    answer = called(url, "score", picture=as_data(files[0]), model="gaussian", heatmap=True)
    expected = gaussian_model.score(files[0])
    assert (answer["score"], answer["threshold"]) == (expected.score, expected.threshold)
    assert answer["anomalous"] is expected.anomalous is True
    heatmap = np.array(answer["heatmap"], np.float32)
    assert heatmap.shape == (32, 32) and image_score(heatmap) == expected.score
    answer = called(url, "explain", picture=as_data(files[0]), model="gaussian")
    assert answer["regions"][0]["box"] == list(expected.regions[0].box) and len(answer["mismatch"]) == 3


def test_an_uploaded_picture_goes_by_its_address(url, gaussian_model, files):
    """As the tool ``upload_file_to_gradio`` of gradio's own package hands it over."""
    body = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a b.png"\r\n\r\n'
    body += files[1].read_bytes() + b"\r\n--b--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    (path,) = json.load(urllib.request.urlopen(urllib.request.Request(f"{url}/gradio_api/upload", body, kind)))
    for address in (f"{url}/gradio_api/file={urllib.request.quote(path)}", path):
        answer = called(url, "score", picture=address, model="gaussian")
        assert answer["score"] == gaussian_model.score(files[1]).score


def test_many_pictures_are_scored_and_good_ones_fitted(url, gaussian_model, files, tmp_path):
    answer = called(url, "score_batch", pictures=[as_data(path) for path in files[:2]], model="gaussian")
    assert {one["score"] for one in answer["pictures"]} == {gaussian_model.score(path).score for path in files[:2]}
    good = write_blobs(tmp_path, range(5), size=80)
    fitted = called(url, "fit", pictures=[as_data(path) for path in good])
    assert fitted["threshold"] is None and "Fitted to 5 pictures" in fitted["said"]
    assert called(url, "score", picture=as_data(files[0]), model=fitted["model"])["score"] > 0
    terms = called(url, "decompose", category="blob", pictures=[as_data(files[0])], samples=2, times=2)
    assert len(terms["mismatch"]) == 2


@pytest.mark.parametrize(
    ("picture", "part"),
    [
        ("data:image/png;base64,AAAA", "not an image"),
        ("data:image/png;base64,A", "damaged"),
        ("data:", "not an image"),
        ("/etc/passwd", "Only files that were uploaded"),
        ("file:///etc/passwd", "Only files that were uploaded"),
        ("http://127.0.0.1/gradio_api/file=/etc/passwd", "Only files that were uploaded"),
        ("{url}/gradio_api/file=/etc/passwd", "Only files that were uploaded"),
        ("{url}/config", "cannot be fetched"),
        ("data:a/../../../../../../tmp/evil;base64,AAAA", ""),
    ],
)
def test_what_cannot_be_a_picture_is_said_in_a_sentence(url, picture, part):
    said = called(url, "score", picture=picture.format(url=url), model="gaussian")
    assert_one_sentence(said, part)
    assert "passwd' is" not in said
    assert not Path("/tmp/evil").exists()


def test_text_becomes_files_only_while_the_endpoint_answers():
    given = []

    @files_as_text
    def endpoint(category: str, pictures: list | None = None) -> str:
        given.append(pictures)
        if pictures is not None:
            assert Path(pictures[0]["path"]).read_bytes() == b"\x00\x00\x00"
        return category

    kept = {"path": "/somewhere"}
    assert endpoint("data:text", ["data:image/png;base64,AAAA", kept]) == "data:text"
    assert given[0][1] is kept and not Path(given[0][0]["path"]).exists()
    assert endpoint("a", pictures=None) == endpoint("a") == "a" and given[1] is given[2] is None
    with pytest.raises(SettingsError):
        endpoint("a", ["http://127.0.0.1/a.png"])
