"""Phantoms: dermoscopy-like photographs drawn by a program, of known diagnosis, with planted defects.

For tests, and for the demo that runs without any data. Skin and lesion are drawn as layers of pigment
whose optical densities add up (Beer–Lambert): melanin, blood, deep melanin that looks blue, keratin;
white structures, hair and the instrument's marks come on top. The diagnoses differ in how likely a
structure and a colour are, not in whether they can occur. Nothing measured on phantoms says how a model
performs on patients, so every file is marked synthetic, and reports ask `is_synthetic`.
"""

from dermsentry.phantoms.drawing import draw_phantom
from dermsentry.phantoms.planting import MARK, Phantoms, draw_phantoms, is_synthetic

__all__ = ["MARK", "Phantoms", "draw_phantom", "draw_phantoms", "is_synthetic"]
