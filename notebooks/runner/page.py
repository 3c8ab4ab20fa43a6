"""An executed notebook as one HTML file that needs nothing else: no network, no file beside it.
Pictures are embedded, and formulas become MathML, which browsers draw themselves."""

import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from latex2mathml.converter import convert
from markupsafe import Markup
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from PIL import Image
from pygments.formatters import HtmlFormatter

from common import jpeg, write_text

LARGE = 400_000  # characters of a picture that holds photographs: a page has at most 8 MB
TEMPLATES = Path(__file__).parent / "templates"
SIZED_NAMES = re.compile(r"\\[bB]igg?[lrm]?\s*(?=\\)")  # \big before \langle or \| is beyond the converter


def write_html(node: NotebookNode, path: Path, record: dict[str, Any]) -> None:
    """Write atomically. ``record`` is what `runner.execute` says of the run; it becomes the last section."""
    _describe_pictures(node)
    exporter = _Exporter(template_name="report", extra_template_basedirs=[str(TEMPLATES)], embed_images=True)
    resources = {"run": record, "colours": Markup(HtmlFormatter(style="friendly").get_style_defs(".highlight"))}
    resources["fold_code"] = bool(node.metadata.get("fmcore", {}).get("fold_code"))
    resources["metadata"] = {"name": path.stem, "path": str(path.parent)}
    write_text(path, exporter.from_notebook_node(node, resources)[0])


def mathml(tex: str, display: str = "inline") -> str:
    """MathML of a formula; where it can't be converted, the TeX itself, which is still readable."""
    try:
        return convert(SIZED_NAMES.sub("", tex.strip()), display=display)
    except Exception:  # the converter raises many types on TeX it does not know
        return f"<code>{Markup.escape(tex)}</code>"


def _describe_pictures(node: NotebookNode) -> None:
    """Give each picture the heading it stands under as its text for those who can't see it; large ones become JPEGs."""
    heading = ""
    for cell in node.cells:
        if cell.cell_type == "markdown":
            heading = next((x.lstrip("# ") for x in cell.source.splitlines() if x.startswith("#")), heading)
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                kind = "image/png" if len(png) < LARGE else "image/jpeg"
                if len(png) >= LARGE:
                    output.data[kind] = jpeg(Image.open(BytesIO(b64decode(output.data.pop("image/png")))), quality=88)
                output.metadata.setdefault(kind, {}).setdefault("alt", f"Figure: {heading}")


class _Exporter(HTMLExporter):
    """nbconvert's HTML exporter with formulas as MathML."""

    def default_filters(self):
        yield from super().default_filters()
        yield "markdown2html", _markdown
        yield "mathml", lambda text: mathml(text.strip().strip("$"), "block")
        yield "size", lambda count: f"{count / 1e6:.1f} MB"


def _markdown(source: str) -> str:
    return MarkdownWithMath(renderer=_Renderer(escape=False, exclude_anchor_links=True)).render(source)


class _Renderer(IPythonRenderer):
    def inline_math(self, body: str) -> str:
        return mathml(body)

    def block_math(self, body: str) -> str:
        return mathml(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")


def write_index(folder: Path, pages: dict[str, Path]) -> Path:
    """``index.html`` of a folder, with links to pages in it by their titles."""
    template = Environment(loader=FileSystemLoader(TEMPLATES / "report"), autoescape=True).get_template("pages.html.j2")
    links = [(title, page.relative_to(folder).as_posix()) for title, page in pages.items()]
    write_text(folder / "index.html", template.render(pages=links))
    return folder / "index.html"
