"""The words of the field that the app can't do without, each in one plain sentence."""

from __future__ import annotations

import html
import re

WORDS = {
    "velocity field": "What was learned from good images: which way leads from noise to one of them.",
    "t": "How far along the straight path from noise (t = 0) to the picture (t = 1).",
    "mismatch": "How far the learned velocity and the straight path to this picture disagree, squared.",
    "noise draws": "Random starts of the straight paths; their number is K.",
    "heat map": "The mismatch at each place, averaged over times, late ones counting more (by t to the power r).",
    "score": "The largest value of the heat map plus the mean of its brightest 1 %.",
    "threshold": "What few good images exceed; scores above it are called anomalous.",
    "ROC": "For every threshold: the share of defects found against the share of false alarms.",
    "AUROC": "How often a defective picture scores above a good one: 1 is perfect, 0.5 is chance.",
    "p": "The distribution of the good images that the model has learned.",
    "q": "The distribution that the tested picture comes from, the test law.",
    "denoising term": "What not even the best field for q could predict; it says nothing about defects.",
    "Fisher term": "How far the fields of p and of q disagree, a scaled Fisher divergence; here a defect shows.",
    "cross term": "Zero on average if the field of q is exact; else its error.",
    "test mix": "Several test pictures, good and defective, without labels, from which the field of q is learned.",
}


def explained(template: str) -> str:
    """HTML in which every ``<abbr>word</abbr>`` of the glossary shows its sentence when pointed at."""
    return re.sub(r"<abbr>(.+?)</abbr>", lambda found: abbreviation(found[1]), template)


def abbreviation(word: str) -> str:
    """A word that explains itself when pointed at."""
    return f'<abbr title="{html.escape(WORDS[word])}">{word}</abbr>'


def glossary() -> str:
    """All words as an HTML list to fold out, for those who can't point."""
    rows = "".join(f"<dt>{word}</dt><dd>{html.escape(sentence)}</dd>" for word, sentence in WORDS.items())
    return f"<details><summary>The words used here</summary><dl>{rows}</dl></details>"
