"""How many images the public data sets have in each category, to notice an incomplete download.

(good training images, good test images, defective test images), as published: MVTec-AD, Bergmann et al., CVPR 2019,
table 1; VisA, split ``1cls``, Zou et al., ECCV 2022.
"""

from __future__ import annotations

from typing import NamedTuple


class Counts(NamedTuple):
    """Images of one category."""

    train_good: int
    test_good: int
    test_defective: int


KNOWN = {
    "MVTec-AD": {
        "bottle": Counts(209, 20, 63),
        "cable": Counts(224, 58, 92),
        "capsule": Counts(219, 23, 109),
        "carpet": Counts(280, 28, 89),
        "grid": Counts(264, 21, 57),
        "hazelnut": Counts(391, 40, 70),
        "leather": Counts(245, 32, 92),
        "metal_nut": Counts(220, 22, 93),
        "pill": Counts(267, 26, 141),
        "screw": Counts(320, 41, 119),
        "tile": Counts(230, 33, 84),
        "toothbrush": Counts(60, 12, 30),
        "transistor": Counts(213, 60, 40),
        "wood": Counts(247, 19, 60),
        "zipper": Counts(240, 32, 119),
    },
    "VisA": {
        "candle": Counts(900, 100, 100),
        "capsules": Counts(542, 60, 100),
        "cashew": Counts(450, 50, 100),
        "chewinggum": Counts(453, 50, 100),
        "fryum": Counts(450, 50, 100),
        "macaroni1": Counts(900, 100, 100),
        "macaroni2": Counts(900, 100, 100),
        "pcb1": Counts(904, 100, 100),
        "pcb2": Counts(901, 100, 100),
        "pcb3": Counts(905, 101, 100),
        "pcb4": Counts(904, 101, 100),
        "pipe_fryum": Counts(450, 50, 100),
    },
}


def absences(found: dict[str, Counts]) -> list[str]:
    """What ``found``, counts by category, lacks of the public data set its names belong to: sentences, none if
    the names belong to no known one."""
    sentences = []
    for title, known in KNOWN.items():
        present = [name for name in known if name in found]
        if not present:
            continue
        if 1 < len(found) and len(present) < len(known):  # a single category may well be all that was asked for
            absent = ", ".join(name for name in known if name not in found)
            sentences.append(f"{len(known) - len(present)} of the {len(known)} categories of {title}: {absent}.")
        for name in present:
            fewer = [
                f"{have} of {want} {kind.replace('_', ' ')}"
                for kind, have, want in zip(Counts._fields, found[name], known[name], strict=True)
                if have < want
            ]
            if fewer:
                sentences.append(f"{name}: {', '.join(fewer)} images of {title}.")
    return sentences
