"""The categories of the H&M catalogue: codes, names, and the approximate frequency of each.

Names and codes are the real ones, so that code written for the sample finds the same spellings in the real data. No
article is copied. Rates are rounded, per thousand of all articles and of all sales.
"""

from __future__ import annotations

import io

import pandas as pd

STYLES = ("essential", "tailored", "romantic", "street", "active", "boho", "glam", "cosy")

# The one or two styles of a section, garment group, graphical appearance or colour. They make an article's attributes
# informative about its style. The words of its name and description add to that (words.py).
SECTION_STYLES: dict[int, str] = {
    2: "essential boho", 5: "active", 6: "essential boho", 8: "cosy essential", 11: "tailored", 14: "tailored glam",
    15: "essential romantic", 16: "essential", 18: "glam street", 19: "tailored cosy", 20: "tailored",
    21: "essential boho", 22: "active", 23: "tailored glam", 24: "street", 25: "street", 26: "essential cosy",
    27: "street", 31: "street tailored", 40: "romantic", 41: "cosy", 42: "street", 43: "romantic", 44: "cosy",
    45: "active cosy", 46: "street", 47: "street", 49: "active", 50: "street glam", 51: "essential street",
    52: "glam street", 53: "street romantic", 55: "street", 56: "street", 57: "street boho", 58: "boho glam",
    60: "boho glam", 61: "romantic glam", 62: "cosy", 64: "glam tailored", 65: "boho tailored", 66: "glam romantic",
    72: "essential", 76: "romantic", 77: "street romantic", 79: "essential cosy", 80: "essential", 82: "glam tailored",
    97: "street glam",
}  # fmt: skip
GARMENT_STYLES: dict[int, str] = {
    1001: "boho", 1002: "essential", 1003: "cosy", 1005: "street", 1006: "cosy", 1007: "street", 1008: "tailored",
    1009: "tailored", 1010: "romantic", 1011: "tailored", 1012: "romantic", 1013: "romantic", 1014: "romantic",
    1016: "street", 1017: "glam", 1018: "boho", 1019: "boho", 1020: "glam", 1021: "essential", 1023: "glam",
    1025: "active",
}  # fmt: skip
APPEARANCE_STYLES: dict[int, str] = {
    1010001: "boho", 1010002: "glam", 1010004: "tailored", 1010005: "active", 1010006: "romantic", 1010007: "boho",
    1010008: "street", 1010009: "glam", 1010010: "cosy", 1010011: "glam", 1010014: "street", 1010015: "glam",
    1010016: "essential", 1010017: "essential", 1010018: "street", 1010021: "romantic", 1010022: "tailored",
    1010023: "street", 1010024: "boho", 1010026: "cosy", 1010028: "active",
}  # fmt: skip
MASTER_STYLES: dict[int, str] = {
    1: "cosy", 2: "tailored", 3: "boho", 4: "romantic", 5: "glam", 6: "romantic", 7: "active", 8: "active",
    9: "essential", 11: "cosy", 12: "essential", 13: "boho", 15: "glam", 18: "street", 19: "boho", 20: "boho",
}  # fmt: skip

INDEXES = {
    "A": ("Ladieswear", 1), "B": ("Lingeries/Tights", 1), "C": ("Ladies Accessories", 1), "D": ("Divided", 2),
    "F": ("Menswear", 3), "G": ("Baby Sizes 50-98", 4), "H": ("Children Sizes 92-140", 4),
    "I": ("Children Sizes 134-170", 4), "J": ("Children Accessories, Swimwear", 4), "S": ("Sport", 26),
}  # fmt: skip
INDEX_GROUPS = {1: "Ladieswear", 2: "Divided", 3: "Menswear", 4: "Baby/Children", 26: "Sport"}
SECTIONS = {
    2: "H&M+", 5: "Ladies H&M Sport", 6: "Womens Casual", 8: "Mama", 11: "Womens Tailoring", 14: "Womens Premium",
    15: "Womens Everyday Collection", 16: "Womens Everyday Basics", 18: "Womens Trend", 19: "Womens Jackets",
    20: "Contemporary Smart", 21: "Contemporary Casual", 22: "Men H&M Sport", 23: "Men Suits & Tailoring",
    24: "Men Project", 25: "Men Accessories", 26: "Men Underwear", 27: "Men Shoes", 31: "Mens Outerwear",
    40: "Baby Girl", 41: "Baby Boy", 42: "Kids & Baby Shoes", 43: "Kids Accessories, Swimwear & D",
    44: "Baby Essentials & Complements", 45: "Kids Outerwear", 46: "Kids Boy", 47: "Young Boy", 49: "Kids Sports",
    50: "Divided Projects", 51: "Divided Basics", 52: "Divided Accessories", 53: "Divided Collection",
    55: "Contemporary Street", 56: "Denim Men", 57: "Ladies Denim", 58: "Divided Selected",
    60: "Womens Swimwear, beachwear", 61: "Womens Lingerie", 62: "Womens Nightwear, Socks & Tigh", 64: "Womens Shoes",
    65: "Womens Big accessories", 66: "Womens Small accessories", 72: "Boys Underwear & Basics", 76: "Kids Girl",
    77: "Young Girl", 79: "Girls Underwear & Basics", 80: "Divided Complements Other", 82: "Special Collections",
    97: "Collaborations",
}  # fmt: skip
GARMENT_GROUPS = {
    1001: "Unknown", 1002: "Jersey Basic", 1003: "Knitwear", 1005: "Jersey Fancy",
    1006: "Woven/Jersey/Knitted mix Baby", 1007: "Outdoor", 1008: "Dressed", 1009: "Trousers", 1010: "Blouses",
    1011: "Shirts", 1012: "Skirts", 1013: "Dresses Ladies", 1014: "Dresses/Skirts girls", 1016: "Trousers Denim",
    1017: "Under-, Nightwear", 1018: "Swimwear", 1019: "Accessories", 1020: "Shoes", 1021: "Socks and Tights",
    1023: "Special Offers", 1025: "Shorts",
}  # fmt: skip
COLOUR_VALUES = {
    -1: "Unknown", 1: "Dusty Light", 2: "Medium Dusty", 3: "Light", 4: "Dark", 5: "Bright", 6: "Undefined", 7: "Medium",
}  # fmt: skip
COLOUR_MASTERS = {
    -1: "Unknown", 1: "Mole", 2: "Blue", 3: "Orange", 4: "Pink", 5: "Black", 6: "Lilac Purple", 7: "Turquoise",
    8: "Yellow", 9: "White", 10: "Yellowish Green", 11: "Beige", 12: "Grey", 13: "Brown", 14: "undefined", 15: "Metal",
    16: "Bluish Green", 18: "Red", 19: "Green", 20: "Khaki green",
}  # fmt: skip

# number | name | product group | season: above zero sells in summer, below zero in winter
_TYPES = """
 49 | Sleeping sack           | Underwear/nightwear |  0.0
 57 | Swimsuit                | Swimwear            |  2.0
 59 | Swimwear bottom         | Swimwear            |  2.0
 60 | Swimwear top            | Swimwear            |  2.0
 66 | Bag                     | Accessories         |  0.0
 67 | Belt                    | Accessories         |  0.0
 68 | Bracelet                | Accessories         |  0.0
 69 | Cap/peaked              | Accessories         |  0.3
 70 | Earring                 | Accessories         |  0.0
 71 | Gloves                  | Accessories         | -1.1
 72 | Hair clip               | Accessories         |  0.0
 73 | Hair string             | Accessories         |  0.0
 74 | Hair/alice band         | Accessories         |  0.0
 75 | Hat/beanie              | Accessories         | -1.1
 76 | Hat/brim                | Accessories         |  1.4
 77 | Necklace                | Accessories         |  0.0
 78 | Other accessories       | Accessories         |  0.0
 79 | Ring                    | Accessories         |  0.0
 80 | Scarf                   | Accessories         | -0.8
 81 | Sunglasses              | Accessories         |  1.4
 82 | Tie                     | Accessories         |  0.0
 84 | Wallet                  | Accessories         |  0.0
 85 | Watch                   | Accessories         |  0.0
 86 | Ballerinas              | Shoes               |  0.0
 87 | Boots                   | Shoes               | -0.8
 88 | Flip flop               | Shoes               |  1.4
 89 | Other shoe              | Shoes               |  0.0
 90 | Pumps                   | Shoes               |  0.0
 91 | Sandals                 | Shoes               |  1.4
 92 | Heeled sandals          | Shoes               |  0.6
 93 | Slippers                | Shoes               |  0.0
 94 | Sneakers                | Shoes               |  0.0
 95 | Wedge                   | Shoes               |  0.6
144 | Flat shoe               | Shoes               |  0.0
245 | Cardigan                | Garment Upper body  | -0.8
252 | Sweater                 | Garment Upper body  | -0.8
253 | Vest top                | Garment Upper body  |  0.6
254 | Top                     | Garment Upper body  |  0.3
255 | T-shirt                 | Garment Upper body  |  0.6
256 | Bodysuit                | Garment Upper body  |  0.3
257 | Polo shirt              | Garment Upper body  |  0.6
258 | Blouse                  | Garment Upper body  |  0.3
259 | Shirt                   | Garment Upper body  |  0.0
260 | Tailored Waistcoat      | Garment Upper body  |  0.0
261 | Outdoor Waistcoat       | Garment Upper body  | -0.8
262 | Jacket                  | Garment Upper body  | -0.8
263 | Coat                    | Garment Upper body  | -1.1
264 | Blazer                  | Garment Upper body  | -0.4
265 | Dress                   | Garment Full body   |  0.6
267 | Jumpsuit/Playsuit       | Garment Full body   |  0.6
268 | Dungarees               | Garment Full body   |  0.0
270 | Garment Set             | Garment Full body   |  0.3
271 | Outdoor overall         | Garment Full body   | -0.8
272 | Trousers                | Garment Lower body  |  0.0
273 | Leggings/Tights         | Garment Lower body  | -0.4
274 | Shorts                  | Garment Lower body  |  1.4
275 | Skirt                   | Garment Lower body  |  0.6
276 | Outdoor trousers        | Garment Lower body  | -0.8
277 | Costumes                | Garment Full body   |  0.0
283 | Underwear body          | Underwear           |  0.0
286 | Underwear bottom        | Underwear           |  0.0
288 | Underwear set           | Underwear           |  0.0
293 | Night gown              | Nightwear           | -0.4
295 | Pyjama jumpsuit/playsuit | Nightwear           | -0.4
296 | Pyjama bottom           | Nightwear           | -0.4
297 | Pyjama set              | Nightwear           | -0.8
298 | Bikini top              | Swimwear            |  2.0
299 | Swimwear set            | Swimwear            |  2.0
300 | Sarong                  | Swimwear            |  2.0
302 | Socks                   | Socks & Tights      | -0.4
304 | Underwear Tights        | Socks & Tights      | -1.1
305 | Robe                    | Underwear           | -0.8
306 | Bra                     | Underwear           |  0.0
307 | Kids Underwear top      | Underwear           |  0.0
308 | Hoodie                  | Garment Upper body  | -0.4
"""

# number | name | articles ‰ | sales ‰
_APPEARANCES = """
     -1 | Unknown             |  0.49 |      0
1010001 | All over pattern    |   163 |     67
1010002 | Application/3D      |    13 |    2.9
1010003 | Argyle              |  0.14 | 0.0083
1010004 | Check               |    21 |     27
1010005 | Colour blocking     |    17 |    3.4
1010006 | Dot                 |   6.5 |    5.2
1010007 | Embroidery          |    11 |     12
1010008 | Front print         |    30 |    5.2
1010009 | Glittering/Metallic |   9.1 |    2.4
1010010 | Melange             |    56 |     82
1010011 | Metallic            |   3.3 |    1.1
1010012 | Mixed solid/pattern |    11 |    2.1
1010013 | Other pattern       |   4.9 |   0.98
1010014 | Placement print     |    29 |     16
1010015 | Sequin              |   7.6 |   0.52
1010016 | Solid               |   471 |    624
1010017 | Stripe              |    47 |     19
1010018 | Treatment           |   5.6 |     10
1010019 | Transparent         |  0.81 |   0.37
1010020 | Contrast            |   3.6 |    2.4
1010021 | Lace                |    14 |     13
1010022 | Jacquard            |   7.9 |    6.1
1010023 | Denim               |    46 |     78
1010024 | Chambray            |   3.1 |   0.22
1010025 | Slub                |   1.4 |    0.2
1010026 | Other structure     |    14 |     16
1010027 | Neps                |  0.63 |    0.1
1010028 | Mesh                |  0.81 |    2.6
1010029 | Hologram            | 0.076 | 0.0083
"""

# code | name | articles ‰ | sales ‰ | perceived value/master: per cent
_COLOURS = """
-1 | Unknown          | 0.27 |     0 | -1/-1:100
 1 | Other            | 0.99 |  0.51 | 6/14:100
 2 | Transparent      | 0.29 |  0.13 | 3/9:100
 3 | Silver           |  6.7 |   3.7 | 3/15:97
 4 | Bronze/Copper    | 0.89 | 0.037 | 2/15:96
 5 | Gold             |   13 |   9.8 | 5/15:98
 6 | Light Grey       |   20 |    15 | 1/12:97
 7 | Grey             |   43 |    36 | 1/12:71 2/12:29
 8 | Dark Grey        |   26 |    36 | 4/12:87 2/12:13
 9 | Black            |  215 |   375 | 4/5:99
10 | White            |   90 |    81 | 3/9:98
11 | Off White        |   26 |    36 | 1/9:92 3/9:8
12 | Light Beige      |   32 |    48 | 1/11:81 1/9:19
13 | Beige            |   26 |    63 | 2/11:75 1/1:25
14 | Dark Beige       |   10 |   9.9 | 4/11:67 2/13:33
15 | Greyish Beige    |  2.1 |   5.8 | 4/1:56 2/1:44
17 | Yellowish Brown  |   14 |    12 | 2/13:63 4/13:37
19 | Greenish Khaki   |   26 |    15 | 4/20:56 2/20:44
20 | Other Yellow     |  2.1 |  0.38 | 5/8:96
21 | Light Yellow     |  9.3 |   2.3 | 3/8:84 5/8:16
22 | Yellow           |   16 |   4.2 | 7/8:74 5/8:26
23 | Dark Yellow      |  5.4 |   2.9 | 4/8:52 2/13:48
30 | Other Orange     |  1.4 |  0.56 | 5/3:84 3/3:16
31 | Light Orange     |   14 |    12 | 1/3:81 3/3:19
32 | Orange           |  7.4 |   7.8 | 5/3:56 7/3:44
33 | Dark Orange      |  8.4 |   5.8 | 2/13:58 4/3:42
40 | Other Red        |  1.1 | 0.054 | 5/18:100
41 | Light Red        |  2.7 |  0.13 | 7/18:84 5/18:16
42 | Red              |   29 |     7 | 7/18:51 5/18:49
43 | Dark Red         |   22 |    11 | 4/18:85 7/18:15
50 | Other Pink       |  7.1 |  0.62 | 5/4:89 3/4:11
51 | Light Pink       |   55 |    22 | 1/4:76 3/4:24
52 | Pink             |   20 |    16 | 2/4:55 7/4:45
53 | Dark Pink        |  7.8 |   7.8 | 4/4:53 5/4:47
60 | Other Purple     | 0.44 |  0.78 | 5/6:93 7/6:7
61 | Light Purple     |  5.2 |   8.7 | 3/6:68 1/6:32
62 | Purple           |  1.7 |   4.1 | 1/6:54 2/6:46
63 | Dark Purple      |    3 |   4.5 | 4/6:76 5/6:24
70 | Other Blue       | 0.48 | 0.042 | 5/2:98
71 | Light Blue       |   29 |    16 | 1/2:59 3/2:41
72 | Blue             |   31 |    37 | 2/2:76 7/2:24
73 | Dark Blue        |  115 |    40 | 4/2:87 2/2:13
80 | Other Turquoise  | 0.13 |     0 | 5/7:100
81 | Light Turquoise  |  9.7 |   2.6 | 3/7:52 1/7:48
82 | Turquoise        |  4.1 |   2.2 | 1/7:69 5/7:31
83 | Dark Turquoise   |  4.5 |   3.2 | 4/7:82 7/7:18
90 | Other Green      |  1.2 |  0.22 | 5/19:83 3/19:17
91 | Light Green      |  6.5 |   2.5 | 3/19:50 1/19:50
92 | Green            |  7.7 |    13 | 1/19:59 5/19:41
93 | Dark Green       |   20 |    17 | 4/19:78 2/19:22
"""


def parse_table(text: str, columns: list[str]) -> pd.DataFrame:
    """A table from lines of values separated by ``|``."""
    return pd.read_csv(io.StringIO(text.strip()), sep=r"\s*\|\s*", engine="python", names=columns, header=None)


def product_types() -> pd.DataFrame:
    """``no, name, group, season``, one row per product type."""
    return parse_table(_TYPES, ["no", "name", "group", "season"])


def appearances() -> pd.DataFrame:
    """``no, name, articles, sales``, one row per graphical appearance."""
    return parse_table(_APPEARANCES, ["no", "name", "articles", "sales"])


def colours() -> pd.DataFrame:
    """``code, name, articles, sales, perceived``; ``perceived`` is text such as ``"1/12:71 2/12:29"``."""
    return parse_table(_COLOURS, ["code", "name", "articles", "sales", "perceived"])


def style_weights(codes: pd.Series, styles: dict[int, str]) -> pd.DataFrame:
    """``[len(codes), len(STYLES)]``: 1 for the first style of a code, 0.6 for the second, else 0."""
    table = pd.DataFrame(0.0, index=sorted(set(codes)), columns=list(STYLES))
    for code in table.index:
        for style, weight in zip(styles.get(code, "").split(), (1.0, 0.6), strict=False):
            table.loc[code, style] = weight
    return table.loc[codes].reset_index(drop=True)
