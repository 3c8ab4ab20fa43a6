"""Gradio's look, and the page's own style."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from fmcore.palette import ACCENT

ACCENT_HUE = gr.themes.Color(
    "#eef6fb",
    "#d7eaf5",
    "#b0d5eb",
    "#7fbbdd",
    "#3f97c9",
    ACCENT,
    ACCENT,
    "#005a8e",
    "#00466f",
    "#003450",
    "#00263b",
    name="accent",
)


def theme() -> gr.themes.Base:
    """Gradio's look: system fonts, so that nothing is fetched from elsewhere, and the one accent colour."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "sans-serif"]
    looks = gr.themes.Base(primary_hue=ACCENT_HUE, font=fonts, font_mono=["ui-monospace", "monospace"])
    quiet = {"block_info_text_color": "*neutral_600", "block_info_text_color_dark": "*neutral_400"}
    return looks.set(block_border_width="0px", block_shadow="none", block_background_fill="transparent", **quiet)


def page_js() -> str:
    """What the page does around the tabs, run once when it is loaded."""
    return (Path(__file__).parent / "page.js").read_text()


def page_css() -> str:
    """Style of the page around the tabs' components."""
    return (Path(__file__).parent / "page.css").read_text()
