"""Product names and descriptions, composed from word lists that were written for the sample.

Each style has its own words, and a product's words are drawn from its styles. Other words belong to no style. So the
text carries some information about the style, but not all. Every kind of garment has words of its own: trousers have a
waist, shoes a sole.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from hm_utils.arrays import Float64
from hm_utils.sample.vocabularies import STYLES, parse_table

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
_PLAIN_NAMES = (
    "Ada Bo Clara Dana Elin Freja Gina Hilma Iris Juno Kim Lova Mira Nora Olga Pia Rut Saga Tove Una Vera Wilma Ylva "
    "Alma Bella Cleo Dina Ella Fia Greta Hedda Ida Jill Kaja Lina Moa Nova Olivia Petra Rae Siri Tyra Ulla Vida"
)
_CLOSINGS = (
    ("Made to go with everything.", "A wardrobe staple."),
    ("Cut for long days at the office.", "A sharp silhouette."),
    ("Delicate and feminine.", "Pretty from every side."),
    ("Generously sized for a relaxed look.", "Worn-in from the first day."),
    ("Designed to stay in place while you move.", "Keeps up when the pace goes up."),
    ("Made for easy summer days.", "Each piece looks a little different."),
    ("Made to catch the light after dark.", "Ready for the dance floor."),
    ("Extra soft against the skin.", "For cold evenings at home."),
)
_SHORT_NOUNS = {
    "Underwear bottom": "Briefs",
    "Underwear Tights": "Tights",
    "Kids Underwear top": "Undershirt",
    "Tailored Waistcoat": "Waistcoat",
    "Outdoor Waistcoat": "Waistcoat",
    "Outdoor trousers": "Trousers",
    "Hair/alice band": "Hairband",
    "Other shoe": "Shoe",
    "Other accessories": "Accessory",
    "Pyjama jumpsuit/playsuit": "Pyjama",
    "Leggings/Tights": "Leggings",
    "Jumpsuit/Playsuit": "Jumpsuit",
}

# Kind of garment -> its product types. Every other type is "soft": an accessory of cloth.
_KINDS = {
    "top": "T-shirt|Top|Polo shirt|Blouse|Shirt|Bodysuit|Kids Underwear top",
    "sweater": "Sweater|Cardigan|Hoodie",
    "vest": "Vest top|Underwear body|Underwear set|Bra|Swimwear top|Bikini top|Swimwear set|Swimsuit",
    "outer": "Jacket|Coat|Blazer|Outdoor Waistcoat|Outdoor overall|Tailored Waistcoat|Robe",
    "dress": "Dress|Night gown|Costumes",
    "suit": "Jumpsuit/Playsuit|Dungarees|Garment Set|Pyjama jumpsuit/playsuit|Pyjama set|Sleeping sack",
    "legs": "Trousers|Leggings/Tights|Shorts|Outdoor trousers|Pyjama bottom",
    "skirt": "Skirt|Sarong",
    "briefs": "Underwear bottom|Swimwear bottom",
    "hosiery": "Socks|Underwear Tights",
    "shoe": "Ballerinas|Boots|Flip flop|Other shoe|Pumps|Sandals|Heeled sandals|Slippers|Sneakers|Wedge|Flat shoe",
    "bag": "Bag|Wallet",
    "jewellery": "Bracelet|Earring|Necklace|Ring|Watch|Sunglasses|Hair clip",
}
KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names.split("|")}
_SLOTS = ("material", "first", "second")
# kind | slot | a phrase of each style | a phrase of no style
_PHRASES = """
top | material | soft cotton jersey | fine twill cotton | crinkled chiffon | heavy washed jersey | fast-drying functional fabric | slubbed linen | shimmering satin | soft waffled jersey | a cotton blend
top | first | a round neckline | a buttoned collar | a bow at the neck | a printed slogan | a reflective print | a laced neckline with tassels | a draped neckline | a wide turtle neck | a V-neck
top | second | short plain sleeves | pressed cuffs | puff sleeves | dropped shoulders | raglan sleeves with thumbholes | wide kaftan sleeves | sheer sleeves | balloon sleeves with deep ribbing | long sleeves
sweater | material | a fine cotton knit | fine-knit merino | a pointelle knit | heavy sweatshirt fabric | fast-drying fleece | a slubbed linen knit | a glittery knit | a chunky wool knit | a cotton-blend knit
sweater | first | a round neckline | a polo collar | a bow at the neck | a printed slogan | a reflective zip | a laced neckline with tassels | a draped neckline | a wide turtle neck | a V-neck
sweater | second | straight ribbing | narrow cuffs | puff sleeves | dropped shoulders | raglan sleeves with thumbholes | embroidered sleeves | sheer sleeves | balloon sleeves with deep ribbing | long sleeves
vest | material | smooth stretch jersey | microfibre with a matt sheen | delicate lace | a ribbed cotton blend | breathable mesh | crocheted yarn | crushed velour | brushed jersey | a soft stretch weave
vest | first | narrow plain straps | straps with fine seams | flounced straps | wide contrast straps | a racer back | tie straps with beads | thin chain straps | wide soft straps | adjustable straps
vest | second | a straight fit | shaping darts | scalloped edges | a logo band | flat anti-chafe seams | embroidered panels | a plunging back | a fleecy inside | a lined front
outer | material | plain cotton twill | a wool-blend weave | a pastel wool blend | heavy washed denim | light windproof nylon | brushed suedette | metallic coated fabric | thick teddy pile | a sturdy weave
outer | first | a simple stand-up collar | notch lapels | a rounded collar with flounces | a detachable hood | a reflective hood | a fringed shawl collar | a glossy shawl collar | a fleecy collar | a concealed zip
outer | second | side pockets | flap pockets and a full lining | covered buttons | cargo pockets | a key pocket | embroidered pockets | sparkling buttons | a quilted lining | a drawstring
dress | material | plain cotton jersey | crisp stretch suiting | airy chiffon | washed denim | light functional jersey | hand-printed cotton voile | sequined mesh | brushed flannel | a woven viscose blend
dress | first | a round neckline | a shirt collar | a smocked yoke | an oversized hood | a zip at the neck | an embroidered yoke | a plunging back | a high ribbed neck | a V-neck
dress | second | a straight skirt | a pleated skirt | a flounced hem | raw edges | a short sporty skirt | a tiered skirt | a high slit | a wide knitted skirt | a seam at the waist
suit | material | plain cotton jersey | structured crepe | fine floral viscose | rough canvas | fast-drying functional fabric | soft linen | shimmering satin | thick waffled cotton | a cotton weave
suit | first | a buttoned front | a wrapover front | a ruffled front | a bib with metal buckles | a full-length zip | a laced front | a draped front | a hood with ears | press-studs in front
suit | second | straight legs | creased legs | gathered legs | cargo pockets | elasticated ankles | wide cropped legs | flared legs | ribbed ankles | side pockets
legs | material | plain stretch cotton | pressed wool-blend cloth | flowing viscose | heavy washed denim | seamless ribbed microfibre | slubbed linen | coated stretch fabric | brushed sweatshirt fabric | a cotton weave
legs | first | an elasticated waist | a hook fastening at the waist | a paper-bag waist | a low waist with a chain loop | a high compression waist | a drawstring waist with tassels | a high waist with stones | a wide ribbed waist | a zip fly
legs | second | straight legs | creased tapered legs | flounced hems | cargo pockets | reflective side seams | wide flowing legs | flared legs with slits | cuffed legs | side pockets
skirt | material | plain jersey | fine twill | tulle in layers | ripped denim | light stretch fabric | crinkled cotton | metallic pleats | a heavy knit | a woven blend
skirt | first | an elasticated waist | a narrow waistband | a bow at the waist | a belt with studs | built-in shorts | a tie waist | a high waist with stones | a wide ribbed waist | a concealed zip
skirt | second | a straight hem | a pressed pleat | a scalloped hem | a raw hem | slits for moving | a fringed hem | a high slit | a soft rounded hem | a lining
briefs | material | soft cotton jersey | smooth microfibre | delicate lace | ribbed jersey | quick-dry fabric | crocheted yarn | glossy satin | brushed cotton | a stretch blend
briefs | first | a mid waist | a high shaping waist | a waist with a small bow | a logo waistband | a wide flat waistband | tie sides with beads | thin chain sides | a high soft waist | a lined gusset
briefs | second | clean edges | laser-cut edges | scalloped edges | contrast stitching | flat seams | braided edges | a cutaway back | soft elastic edges | a matching trim
hosiery | material | a fine cotton knit | smooth matt nylon | pointelle knit | a chunky rib | moisture-wicking yarn | a space-dyed knit | glittery yarn | a soft wool blend | a stretch knit
hosiery | first | a plain edge | a comfortable flat edge | a frilled edge | a striped edge | a supporting rib | a patterned edge | a lace edge | a turned-down edge | an elasticated edge
hosiery | second | a reinforced toe | an invisible toe | little hearts | a skate logo | a padded heel | an embroidered ankle | small stones | a terry inside | a shaped heel
shoe | material | plain canvas | polished imitation leather | suedette in pastel | rubberised canvas | light mesh | braided imitation leather | metallic imitation leather | soft teddy | imitation suede
shoe | first | a rounded toe | a pointed toe | a bow in front | a chunky toe cap | a padded tongue | a fringed front | sparkling straps | a fleecy lining | an adjustable strap
shoe | second | a flat sole | a slim block heel | a scalloped edge | a platform sole | a cushioned sole | a plaited jute sole | a stiletto heel | a warm insole | a patterned sole
bag | material | plain canvas | grained imitation leather | quilted satin | recycled nylon | water-repellent fabric | woven straw | sequined fabric | fluffy pile | imitation leather
bag | first | a zip at the top | a polished clasp | a bow clasp | a carabiner hook | a roll-top | a drawstring with tassels | a chain strap | a soft handle | a magnetic fastener
bag | second | one inside pocket | a laptop compartment | a floral lining | contrast stitching | a bottle holder | wooden beads | a mirror inside | a padded lining | a detachable strap
jewellery | material | matt metal | brushed steel | pearly beads | chunky links | light plastic | wood and twisted cord | gold-coloured metal with stones | warm tinted resin | metal
jewellery | first | a simple shape | an engraved edge | a tiny flower | a padlock | a sporty clip | feathers | a cascade of stones | a rounded soft shape | an adjustable fit
jewellery | second | a plain finish | a polished finish | little pearls | a tough finish | a matt rubber part | a hammered finish | a glittering finish | a milky finish | a secure fastening
soft | material | plain cotton | a fine pinstriped weave | airy chiffon | rough canvas | functional fabric | printed cotton voile | shiny satin | a chunky knit | a woven blend
soft | first | clean edges | fine pressed edges | a flounced edge | a printed logo | reflective piping | tassels | metallic threads | a fluffy pompom | a narrow edge
soft | second | a tonal label | a lined inside | a satin bow | studs | a quick-dry finish | wooden beads | sparkling stones | a teddy lining | a loop tab
"""
_OWN_STYLE = 0.85  # probability that a word is drawn from the product's styles, not from the words without a style
_MOST = 30  # letters of a name, as in the real data


def product_texts(type_names: pd.Series, styles: Float64, rng: np.random.Generator) -> tuple[pd.Series, pd.Series]:
    """Names and descriptions of p products.

    Args:
        type_names: ``[p]`` product types.
        styles: ``[p, len(STYLES)]`` share of each style in a product; rows sum to 1.

    Returns:
        ``(prod_name, detail_desc)``, each ``[p]``. A name has at most 30 letters and belongs to one product. One
        description in 250 is missing.
    """
    n = len(type_names)

    def style() -> npt.NDArray:
        """``[p]`` a style of each product, drawn by its shares."""
        upto = styles.cumsum(axis=1)
        return (upto < rng.random((n, 1)) * upto[:, -1:]).sum(axis=1).clip(max=len(STYLES) - 1)

    def pick(lists: list[list[str]]) -> pd.Series:
        table = np.array(lists, dtype=object)
        return pd.Series(table[style(), rng.integers(table.shape[1], size=n)])

    types = type_names.reset_index(drop=True).astype(object)
    nouns = types.replace(_SHORT_NOUNS).str.split("/").str[0]
    plain = pd.Series(np.array(_PLAIN_NAMES.split(), dtype=object)[rng.integers(len(_PLAIN_NAMES.split()), size=n)])
    styled = pd.Series(rng.random(n) < _OWN_STYLE)
    word = pick([words.split() for words in _NAME_WORDS])
    both = word + " " + plain + " " + nouns
    both = both.where(both.str.len() <= _MOST - 5, word + " " + nouns)  # 5: for a number
    names = both.where(styled, plain + " " + nouns)
    again = names.groupby(names).cumcount() + 1  # "Rosie Ada Dress", "Rosie Ada Dress (2)"
    names = names.where(again == 1, names + " (" + again.astype(str) + ")")

    phrases = parse_table(_PHRASES, ["kind", "slot", *STYLES, "plain"]).set_index(["slot", "kind"])
    kinds = types.map(KIND_OF).fillna("soft")

    def phrase(slot: str) -> pd.Series:
        table = phrases.loc[slot]
        column = np.where(rng.random(n) < _OWN_STYLE, style(), len(STYLES))
        return pd.Series(table.to_numpy()[table.index.get_indexer(pd.Index(kinds)), column])

    material, first, second = (phrase(slot) for slot in _SLOTS)
    text = nouns.str.capitalize() + " in " + material + " with " + first + " and " + second + "."
    closing = pick([list(lines) for lines in _CLOSINGS])
    text = text.where(rng.random(n) < 0.15, text + " " + closing)
    return names, text.where(rng.random(n) >= 0.004)
