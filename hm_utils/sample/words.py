"""Product names and descriptions, composed from word lists that were written for the sample.

Each style has its own words, and a product's words are drawn from its styles. Other words belong to no style. So the
text carries some information about the style, but not all.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from hm_utils.arrays import Bool, Float64
from hm_utils.sample import vocabularies

# One entry per style, in the order of vocabularies.STYLES.
_NAME_WORDS = (
    "Everyday Simple Core Plain Daily Staple Pure Easy Base Classic",
    "Sharp Milano Office Mercer Crease Pinstripe Savile Formal Sterling Regent",
    "Rosie Petal Amelie Blossom Dolly Violet Fleur Juliet Swan Meadow",
    "Block Rebel Skate Downtown Riot Graffiti Metro Volt Bronx Static",
    "Sprint Pace Tempo Stamina Flex Motion Relay Summit Stride Vapor",
    "Sahara Nomad Indie Folk Marrakesh Willow Canyon Tulum Wander Sienna",
    "Disco Starlet Vegas Diva Champagne Soiree Glitz Ruby Velvetine Cabaret",
    "Hygge Fireside Cuddle Alpine Nordic Cabin Snug Oat Pillow Drift",
)
_FABRICS = (
    ("soft cotton jersey", "plain cotton poplin", "an organic cotton blend", "smooth stretch jersey"),
    ("a fine twill weave", "pressed wool-blend cloth", "crisp stretch suiting", "structured crepe"),
    ("airy chiffon", "delicate lace", "crinkled viscose", "fine floral tulle"),
    ("heavy washed denim", "rough canvas", "oversized sweatshirt fabric", "coated ripstop"),
    ("fast-drying functional fabric", "breathable mesh", "seamless ribbed microfibre", "light windproof nylon"),
    ("slubbed linen", "hand-printed cotton voile", "crocheted yarn", "brushed suedette"),
    ("shimmering satin", "sequined mesh", "crushed velour", "metallic pleats"),
    ("a chunky wool knit", "thick teddy pile", "brushed flannel", "fluffy bouclé yarn"),
)
_DETAILS = (
    ("a round neckline", "clean seams", "a straight fit", "a small chest pocket", "short plain sleeves", "a tonal rib"),
    ("notch lapels", "pressed creases", "welt pockets", "a covered placket", "a lined body", "darts at the waist"),
    ("flounced trims", "puff sleeves", "a smocked yoke", "a bow at the neck", "scalloped edges", "covered buttons"),
    ("dropped shoulders", "a printed slogan", "raw edges", "cargo pockets", "a kangaroo pocket", "contrast stitching"),
    ("flat anti-chafe seams", "reflective details", "a racer back", "a key pocket", "laser-cut vents", "a high waist"),
    ("tassel ties", "embroidered panels", "a tiered hem", "wide kaftan sleeves", "wooden beads", "a fringed edge"),
    ("a plunging back", "sparkling stones", "a high slit", "a draped front", "thin chain straps", "padded shoulders"),
    (
        "a wide turtle neck",
        "balloon sleeves",
        "deep ribbed cuffs",
        "a fleecy inside",
        "patch pockets",
        "a shawl collar",
    ),
)
# For products without sleeves or seams: accessories, shoes, socks, underwear, swimwear.
_SMALL_DETAILS = (
    ("a plain finish", "a simple shape", "tonal edges", "a small woven label"),
    ("a polished clasp", "a pinstriped lining", "fine pressed edges", "an engraved detail"),
    ("a satin bow", "a flounced edge", "little pearls", "a scalloped trim"),
    ("a printed logo", "chunky studs", "contrast stitching", "a carabiner hook"),
    ("reflective piping", "a padded inside", "a quick-dry finish", "ventilating mesh"),
    ("tassels", "wooden beads", "a braided edge", "a crocheted trim"),
    ("sparkling stones", "a metallic sheen", "sequins all over", "a thin gold-coloured chain"),
    ("a fleecy inside", "a fluffy pompom", "chunky ribbing", "a teddy lining"),
)
_SMALL_PLAIN = (
    "a soft touch", "an adjustable fit", "a hook fastening", "a lined inside", "a loop tab", "a matching trim",
    "a narrow edge", "rounded corners", "a press-stud", "a light weight", "an embossed mark", "a doubled edge",
)  # fmt: skip
_CLOSINGS = (
    ("Made to go with everything.", "A wardrobe staple in a regular fit."),
    ("Cut for long days at the office.", "A sharp silhouette with an adjustable back."),
    ("Lightly gathered for a gentle drape.", "Lined in a pale underlayer."),
    ("Generously cut for a relaxed look.", "Worn-in from the first day."),
    ("Designed to stay in place while you move.", "Wicks away moisture when the pace goes up."),
    ("Loosely cut with an easy summer feel.", "Each piece looks a little different."),
    ("Made to catch the light after dark.", "Fitted at the top and flared at the foot."),
    ("Extra soft against the skin.", "Knitted thick for cold evenings."),
)
_PLAIN_DETAILS = (
    "a concealed zip", "side pockets", "an elasticated waist", "a hook fastening", "adjustable straps", "long sleeves",
    "a button at the back", "a rounded hem", "ribbing at the cuffs", "a drawstring", "slits in the sides", "a loop tab",
)  # fmt: skip
_PLAIN_NAMES = (
    "Ada Bo Clara Dana Elin Freja Gina Hilma Iris Juno Kim Lova Mira Nora Olga Pia Rut Saga Tove Una Vera Wilma Ylva "
    "Alma Bella Cleo Dina Ella Fia Greta Hedda Ida Jill Kaja Lina Moa Nova Olivia Petra Rae Siri Tyra Ulla Vida"
)
_SHORT_NOUNS = {
    "Hair/alice band": "Hairband",
    "Other shoe": "Shoe",
    "Other accessories": "Accessory",
    "Pyjama jumpsuit/playsuit": "Pyjama",
    "Leggings/Tights": "Leggings",
    "Jumpsuit/Playsuit": "Jumpsuit",
}

_OWN_STYLE = 0.75  # probability that a word is drawn from the product's styles, not from the words without a style


def product_texts(
    type_names: pd.Series, worn: Bool, styles: Float64, rng: np.random.Generator
) -> tuple[pd.Series, pd.Series]:
    """Names (at most 30 characters) and descriptions of p products.

    Args:
        type_names: ``[p]`` product types.
        worn: ``[p]`` true for garments, false for accessories, shoes, underwear and so on.
        styles: ``[p, len(STYLES)]`` share of each style in a product; rows sum to 1.

    Returns:
        ``(prod_name, detail_desc)``, each ``[p]``; one description in 250 is missing.
    """
    n = len(type_names)

    def pick(lists: tuple, plain: tuple | list | None = None) -> pd.Series:
        """One entry per product: from the list of one of its styles, drawn by share, or from ``plain``."""
        upto = styles.cumsum(axis=1)
        style = (upto < rng.random((n, 1)) * upto[:, -1:]).sum(axis=1)
        width = min(len(entries) for entries in lists)
        table = np.array([list(entries)[:width] for entries in lists], dtype=object)
        words = table[np.minimum(style, len(lists) - 1), rng.integers(width, size=n)]
        if plain is not None:
            other = np.array(plain, dtype=object)[rng.integers(len(plain), size=n)]
            words = np.where(rng.random(n) < _OWN_STYLE, words, other)
        return pd.Series(words, dtype=object)

    nouns = type_names.reset_index(drop=True).astype(object)
    short = nouns.replace(_SHORT_NOUNS).str.split("/").str[0]
    names = pick(tuple(words.split() for words in _NAME_WORDS), _PLAIN_NAMES.split()) + " " + short
    numbered = rng.random(n) < 0.06
    names = names.where(~numbered, names + " (" + pd.Series(rng.integers(1, 4, n)).astype(str) + ")").str.slice(0, 30)

    def detail() -> pd.Series:
        return pick(_DETAILS, _PLAIN_DETAILS).where(worn, pick(_SMALL_DETAILS, _SMALL_PLAIN))

    first, second = detail(), detail()
    second = second.where(second != first, pd.Series("a label at the side", index=second.index))
    at = rng.integers(len(_PLAIN_DETAILS), size=n)
    third = pd.Series(np.where(worn, np.array(_PLAIN_DETAILS)[at], np.array(_SMALL_PLAIN)[at]), dtype=object)
    body = short.str.capitalize() + " in " + pick(_FABRICS) + " with " + first + " and " + second + "."
    body = body.where(rng.random(n) < 0.3, body + " Has " + third + ".")
    text = body.where(rng.random(n) < 0.15, body + " " + pick(_CLOSINGS))
    return names, text.where(rng.random(n) >= 0.004)


assert len(_PLAIN_DETAILS) == len(_SMALL_PLAIN)
for _lists in (_NAME_WORDS, _FABRICS, _DETAILS, _SMALL_DETAILS, _CLOSINGS):
    assert len(_lists) == len(vocabularies.STYLES)
