"""What shoppers say, in the words of a fashion catalogue.

Each entry has words of a request, and words of names, types and descriptions that answer it. It is a short list by
hand, in English: an embedding of words would know more, and would be larger than the service. A catalogue without these
words is searched by its own words alone.
"""

from __future__ import annotations

_FILLERS = """
a about an and any anything are as at be by for from get give go going i in is it like looking me my need of on or
please some something somebody someone that the their them this to want wear wearing what when where which with you your
day days time outfit outfits clothes clothing garment garments stuff thing things nice good new
"""
FILLERS = frozenset(_FILLERS.split())

MEANINGS = (
    (
        "warm warmer winter cold cosy cozy snow snowy ice icy ski skiing freezing frost thermal december january",
        "knit knitted knitwear wool merino cashmere fleece fleecy teddy padded quilted fluffy chunky thick warm "
        "brushed pile sweater jumper cardigan hoodie coat parka jacket scarf gloves mittens beanie boots thermal",
    ),
    (
        "summer summery hot heat sun sunny beach sea seaside pool swim swimming holiday holidays vacation tropical",
        "linen airy sleeveless shorts sandals bikini swimsuit swimwear beachwear sunglasses straw sarong kaftan "
        "camisole espadrilles voile",
    ),
    (
        "party parties festive christmas celebration club clubbing dancing glamorous glam sparkly birthday night",
        "sequin sequined sequins glitter glittery glittering metallic shimmering sparkling satin velvet party cocktail "
        "heels stiletto dress",
    ),
    (
        "wedding bride bridesmaid guest elegant evening gala prom ceremony romantic date",
        "dress gown lace satin chiffon tulle silk pleated wrapover heeled pumps clutch suit tie bow",
    ),
    (
        "office work business formal interview professional meeting smart",
        "blazer suit suiting tailored tailoring shirt blouse pinstriped creased lapels office tie pumps",
    ),
    (
        "sport sports sporty gym fitness workout training running run jogging yoga exercise hiking athletic",
        "sport sports functional moisture-wicking wicking fast-drying quick-drying compression breathable racer "
        "leggings tights sneakers trainers sporty reflective training running yoga",
    ),
    (
        "sleep sleeping bed bedtime pyjamas pajamas nightwear lounge lounging relax relaxing lazy",
        "pyjama pyjamas nightwear nightgown nightshirt gown robe slippers loungewear",
    ),
    (
        "rain rainy wet storm wind windy autumn fall november",
        "waterproof windproof water-repellent rainwear raincoat coat trenchcoat parka jacket boots",
    ),
    ("baby babies newborn infant toddler", "baby babies newborn romper bodysuit bib"),
    (
        "kid kids child children school boy boys girl girls son daughter",
        "kids children young boy girl boys girls school",
    ),
    ("pregnant pregnancy maternity expecting nursing", "mama maternity nursing"),
    ("man men male him his husband boyfriend father dad", "men mens menswear man"),
    ("woman women female her wife girlfriend mother mum mom", "ladies womens ladieswear woman"),
    ("jeans", "denim jeans"),
    ("jumper pullover knitwear", "sweater knitwear jumper"),
    ("pants slacks", "trousers"),
    ("tee tees tshirt tshirts", "t-shirt shirt tee"),
    ("shoes footwear trainers", "sneakers boots sandals pumps shoes ballerinas slippers heels trainers"),
    ("jewelry jewellery", "earring earrings necklace bracelet ring jewellery"),
    ("lingerie underwear", "bra briefs thong lingerie underwear"),
    ("purse handbag backpack", "bag backpack handbag clutch"),
    ("gift present", "earring necklace scarf gloves bracelet bag"),
    ("colourful colorful bright", "yellow orange turquoise pink red"),
)


def answers_of(word: str) -> frozenset[str]:
    """The catalogue's words for a word of a request."""
    return frozenset(answer for said, answers in MEANINGS if word in said.split() for answer in answers.split())
