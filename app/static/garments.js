// Drawn garments: an outline by product type, in the article's colour and pattern, 100 by 120 units.

import { s } from "./dom.js";
import { colourOf, lightness, over } from "./colours.js";
import { filling, motif } from "./patterns.js";

/** @typedef {{body: string, lines?: string, print?: boolean}} Shape */

const SLEEVES = "M37 19Q26 22 20 28Q16 33 14 47L8 93L19 96L28 58L28 106Q50 110 72 106L72 58L81 96L92 93L86 47Q84 33 80 28Q74 22 63 19";
const CUFFS = "M9 88L20 91M91 88L80 91M28 100Q50 104 72 100";
const TWO_LEGS = "M31 14L69 14L77 108L57 109L50 50L43 109L23 108Z";

/** @type {Record<string, Shape>} */
const SHAPES = {
  tshirt: { body: "M36 20L22 26Q17 29 15 34L7 52L21 59L28 49L28 104Q50 108 72 104L72 49L79 59L93 52L85 34Q83 29 78 26L64 20Q58 30 50 30Q42 30 36 20Z", lines: "M33 21.5Q41 34.5 50 34.5Q59 34.5 67 21.5M28 49L29 40M72 49L71 40", print: true },
  vest: { body: "M35 14L40 14Q41 38 50 38Q59 38 60 14L65 14Q66 40 75 48L73 104Q50 108 27 104L25 48Q34 40 35 14Z", lines: "M37 14Q38 42 50 42Q62 42 63 14", print: true },
  top: { body: `${SLEEVES}Q58 30 50 30Q42 30 37 19Z`, lines: "M34 20Q41 34.5 50 34.5Q59 34.5 66 20M28 58L29 44M72 58L71 44", print: true },
  sweater: { body: `${SLEEVES}Q58 25 50 25Q42 25 37 19Z`, lines: `M35 20Q42 31 50 31Q58 31 65 20M28 58L29 44M72 58L71 44${CUFFS}M34 100.8V106.6M40 101.5V107.4M46 102V107.8M54 102V107.8M60 101.5V107.4M66 100.8V106.6`, print: true },
  cardigan: { body: `${SLEEVES}L50 52L37 19Z`, lines: `M50 52V108M28 58L29 44M72 58L71 44${CUFFS}M53 60h.1M53 72h.1M53 84h.1M53 96h.1` },
  hoodie: { body: `${SLEEVES}Q62 7 50 7Q38 7 37 19Z`, lines: `M37 19Q39 32 50 34Q61 32 63 19M42 18Q44 27 50 28Q56 27 58 18M46 32V46M54 32V46M36 92L39 76H61L64 92M28 58L29 44M72 58L71 44${CUFFS}`, print: true },
  shirt: { body: `${SLEEVES}L57 15L50 21L43 15Z`, lines: `M43 15L37 19L41 30L50 21L59 30L63 19L57 15M50 21V108M28 58L29 44M72 58L71 44${CUFFS}M52.6 40h.1M52.6 54h.1M52.6 68h.1M52.6 82h.1M52.6 96h.1` },
  polo: { body: "M37 18L22 26Q17 29 15 34L7 52L21 59L28 49L28 104Q50 108 72 104L72 49L79 59L93 52L85 34Q83 29 78 26L63 18L50 22Z", lines: "M37 18L42 31L50 23L58 31L63 18M50 23V48M28 49L29 40M72 49L71 40" },
  blazer: { body: `${SLEEVES}L50 58L37 19Z`, lines: "M37 19L33 38L39 41L36 44L50 66M63 19L67 38L61 41L64 44L50 66M50 66V108M28 58L29 44M72 58L71 44M33 82h11M56 82h11M53 72h.1M53 84h.1" },
  jacket: { body: "M37 17Q26 20 20 27Q15 33 14 47L9 90L21 93L28 60L27 98Q50 102 73 98L72 60L79 93L91 90L86 47Q85 33 80 27Q74 20 63 17Q50 12 37 17Z", lines: "M37 17Q40 27 50 27Q60 27 63 17M50 27V100M28 60L29 44M72 60L71 44M34 76L42 71M66 76L58 71M27 92Q50 96 73 92M10 85L21.6 88M90 85L78.4 88" },
  coat: { body: "M37 12Q27 15 22 21Q17 27 16 40L11 82L22 85L28 52L23 112Q50 117 77 112L72 52L78 85L89 82L84 40Q83 27 78 21Q73 15 63 12L50 50L37 12Z", lines: "M37 12L32 32L39 35L36 39L50 60M63 12L68 32L61 35L64 39L50 60M50 60V114.6M30 78h12M58 78h12M28 52L29 40M72 52L71 40M54 68h.1M54 82h.1M54 96h.1" },
  waistcoat: { body: "M36 16L30 30Q33 44 26 54L27 104Q50 108 73 104L74 54Q67 44 70 30L64 16Q50 24 36 16Z", lines: "M50 21V106M26 58Q38 62 50 60Q62 62 74 58M26.4 74Q38 78 50 76Q62 78 73.6 74M26.8 90Q38 94 50 92Q62 94 73.2 90" },
  dress: { body: "M39 10L43 10Q44 28 50 28Q56 28 57 10L61 10Q62 26 68 34Q63 46 63 54L79 106Q50 117 21 106L37 54Q37 46 32 34Q38 26 39 10Z", lines: "M37 54Q50 58 63 54M43 60L36 108M57 60L64 108M50 60V112" },
  jumpsuit: { body: "M37 10L42 10Q44 26 50 26Q56 26 58 10L63 10Q64 24 69 30L66 52L73 112L55 113L50 66L45 113L27 112L34 52L31 30Q36 24 37 10Z", lines: "M34 52Q50 56 66 52M50 56V66" },
  dungarees: { body: "M36 8L41 8L42 30H58L59 8L64 8L66 52L74 112L55 113L50 66L45 113L26 112L34 52Z", lines: "M42 30L40 54M58 30L60 54M44 36H56V46H44ZM34 54H66M50 54V66" },
  trousers: { body: TWO_LEGS, lines: "M30.5 21H69.5M50 21V50M38 21Q38 31 30 33M62 21Q62 31 70 33" },
  leggings: { body: "M34 12L66 12L69 52L61 110L52.5 110L50 50L47.5 110L39 110L31 52Z", lines: "M33.6 19H66.4M50 19V50" },
  shorts: { body: "M29 30L71 30L81 86L54 90L50 64L46 90L19 86Z", lines: "M28 38H72M50 38V64M38 38Q37 48 27 50M62 38Q63 48 73 50" },
  skirt: { body: "M35 24L65 24L83 98Q50 109 17 98Z", lines: "M33.6 31H66.4M42 34L35 102M58 34L65 102M50 34V104" },
  bra: { body: "M26 26L30 26L33 50Q42 50 50 60Q58 50 67 50L70 26L74 26L74 58Q82 62 82 68L80 76Q62 86 50 74Q38 86 20 76L18 68Q18 62 26 58Z", lines: "M24 66Q30 82 48 70M76 66Q70 82 52 70" },
  briefs: { body: "M18 44Q50 50 82 44L81 58Q62 64 56 88Q50 91 44 88Q38 64 19 58Z", lines: "M18.6 51Q50 57 81.4 51M44 88Q50 78 56 88" },
  swimsuit: { body: "M35 10L40 10Q42 36 50 38Q58 36 60 10L65 10Q66 34 70 42Q66 58 70 74Q60 84 56 108Q50 111 44 108Q40 84 30 74Q34 58 30 42Q34 34 35 10Z", lines: "M33 46Q42 56 50 46Q58 56 67 46" },
  socks: { body: "M34 14L52 14L52 62Q52 70 60 76L78 88Q85 94 78 101Q72 105 64 102L40 90Q33 86 34 76Z", lines: "M34 23H52M34 28H52M66 80Q64 92 72 103M34.6 72Q44 72 48 82" },
  sneaker: { body: "M12 82Q12 62 20 56L36 50Q42 62 56 68L80 74Q92 78 91 90L90 94Q50 98 13 94Z", lines: "M12.4 86Q50 90 91 86M36 50Q34 60 40 66M42 58L50 54M47 63L55 59M53 67L61 63M20 56Q28 62 26 84" },
  boot: { body: "M32 14L58 14L57 66Q60 76 74 82Q88 88 86 104L32 104Z", lines: "M32 98H86.4M32 24H58M54 50Q50 58 56 66" },
  heel: { body: "M12 60Q20 54 28 58Q40 76 60 84Q84 90 88 98L88 101L56 101Q40 96 30 82L27 101L22 101L20 78Q10 70 12 60Z", lines: "M20 78Q36 84 60 84" },
  flat: { body: "M10 78Q14 66 24 68Q34 82 56 82Q72 72 84 80Q94 88 90 96Q50 101 13 96Z", lines: "M11 90Q50 95 91 90M24 68Q30 84 56 82" },
  sandal: { body: "M10 92Q50 86 92 92L90 101Q50 105 12 101ZM22 90Q26 70 44 66L52 72Q36 76 33 89ZM52 88Q56 74 72 72L80 80Q66 82 64 89Z", lines: "M44 66Q62 64 72 72" },
  bag: { body: "M22 50L78 50L86 104Q50 110 14 104Z", lines: "M36 50Q34 20 50 20Q66 20 64 50M20 62Q50 68 80 62M47 66H53V74H47Z" },
  brim: { body: "M8 80Q24 70 30 68Q30 40 50 40Q70 40 70 68Q76 70 92 80Q50 96 8 80Z", lines: "M30 68Q50 76 70 68M30 62Q50 70 70 62" },
  cap: { body: "M18 78Q18 46 48 44Q76 44 76 74Q90 76 96 86Q72 84 56 82Q36 80 18 84Z", lines: "M18 78Q44 68 76 74M48 44Q52 58 50 72M48 44V41" },
  beanie: { body: "M24 78Q22 36 50 34Q78 36 76 78L79 92Q50 98 21 92Z", lines: "M23 77Q50 83 77 77M34 80V94M42 81.5V95.4M50 82V95.6M58 81.5V95.4M66 80V94M50 34V28" },
  scarf: { body: "M28 22Q50 12 72 22Q76 34 66 42L70 106L54 108L50 50L40 100L24 97L34 42Q24 34 28 22Z", lines: "M34 42Q50 50 66 42M50 50L46 44M55 100V107M60 100V107M65 100V106M28 91L26 97M33 92L31 98M38 93L36 99" },
  gloves: { body: "M36 108L34 70L20 56Q18 48 26 50L36 58L36 24Q36 18 41 18Q46 18 46 24V16Q47 10 51 10Q56 10 56 16V24Q57 18 61 18Q66 18 66 26V38Q68 32 72 33Q76 34 75 42L68 84L68 108Z", lines: "M35.6 96H68M46 24V48M56 24V48M66 38V50" },
  earring: { body: "M30 62A12 16 0 1030 94A12 16 0 1030 62ZM30 68A7 10 0 1130 88A7 10 0 1130 68ZM70 62A12 16 0 1070 94A12 16 0 1070 62ZM70 68A7 10 0 1170 88A7 10 0 1170 68ZM30 50A5 5 0 1030 40A5 5 0 1030 50ZM70 50A5 5 0 1070 40A5 5 0 1070 50Z", lines: "M30 50V62M70 50V62M30 40V32Q30 26 36 28M70 40V32Q70 26 76 28" },
  necklace: { body: "M50 84L58 94L50 106L42 94Z", lines: "M22 18Q22 62 50 84Q78 62 78 18" },
  ring: { body: "M50 40A30 30 0 1050 100A30 30 0 1050 40ZM50 48A22 22 0 1150 92A22 22 0 1150 48ZM40 28L60 28L66 38L50 52L34 38Z", lines: "M34 38H66M45 38L50 52L55 38" },
  sunglasses: { body: "M10 50L46 50Q48 76 30 77Q12 77 10 50ZM54 50L90 50Q88 77 70 77Q52 76 54 50Z", lines: "M46 54Q50 50 54 54M10 50L6 46M90 50L94 46M18 56L26 70M62 56L70 70" },
  belt: { body: "M6 54H62V68H6ZM78 54H94Q98 61 94 68H78Z", lines: "M60 49H80V73H60ZM66 61H86M12 61h.1M20 61h.1M28 61h.1" },
  hair: { body: "M50 30A32 30 0 1050 90A32 30 0 1050 30ZM50 50A12 10 0 1150 70A12 10 0 1150 50Z", lines: "M50 30V50M27 39L41 53M18 60H38M27 81L41 67M50 70V90M73 81L59 67M82 60H62M73 39L59 53" },
  watch: { body: "M40 10H60L62 40H38ZM50 38A22 22 0 1050 82A22 22 0 1050 38ZM38 80H62L60 110H40Z", lines: "M50 46V60L58 66" },
  tie: { body: "M42 12H58L61 24L56 32L66 92L50 110L34 92L44 32L39 24Z", lines: "M44 32H56M39 24H61" },
  wallet: { body: "M14 42Q14 36 20 36H80Q86 36 86 42V88Q86 94 80 94H20Q14 94 14 88Z", lines: "M14 52H86M66 62H86V76H66Q60 69 66 62Z" },
  baby: { body: "M36 14L18 24L10 46L22 52L28 44L28 62Q28 82 42 94L42 100H58V94Q72 82 72 62L72 44L78 52L90 46L82 24L64 14Q50 26 36 14Z", lines: "M34 15Q50 32 66 15M28 70Q38 74 42 94M72 70Q62 74 58 94M46 97h.1M50 97h.1M54 97h.1", print: true },
  pyjama: { body: "M36 10L20 18L11 58L20 60L28 36L27 64H73L72 36L80 60L89 58L80 18L64 10L50 18ZM30 69H70L75 112H55L50 84L45 112H25Z", lines: "M36 10L41 21L50 18L59 21L64 10M50 18V64M30 74H70M52.5 30h.1M52.5 42h.1M52.5 54h.1" },
  robe: { body: "M38 10Q24 14 20 24L8 76L22 80L29 50L22 112Q50 117 78 112L71 50L78 80L92 76L80 24Q76 14 62 10L50 46Z", lines: "M38 10L50 62L62 10M27 62H73M27 69H73M50 62L44 92M52 69L56 90" },
  tag: { body: "M30 40L50 20L70 40V96Q70 102 64 102H36Q30 102 30 96ZM50 34A5 5 0 1150 44A5 5 0 1150 34Z", lines: "M50 34Q50 18 62 12M38 60H62M38 68H62M38 76H54" },
};

/** @type {[RegExp, string][]} the first match of the lower-case product type counts */
const BY_TYPE = [
  [/pyjama jumpsuit|sleeping sack|outdoor overall|baby|romper/, "baby"], [/pyjama set|garment set|night gown/, "pyjama"],
  [/robe|kaftan/, "robe"], [/pyjama bottom/, "trousers"], [/t-shirt/, "tshirt"], [/polo/, "polo"],
  [/waistcoat/, "waistcoat"], [/vest|kids underwear top|camisole/, "vest"], [/hoodie/, "hoodie"],
  [/cardigan/, "cardigan"], [/sweater|jumper/, "sweater"], [/blouse|shirt/, "shirt"], [/blazer/, "blazer"],
  [/coat/, "coat"], [/jacket/, "jacket"], [/swimsuit|underwear body|bodysuit|swimwear set/, "swimsuit"],
  [/bikini top|swimwear top|^bra|underwear set|bra extender/, "bra"], [/bottom/, "briefs"],
  [/dungarees/, "dungarees"], [/jumpsuit|playsuit|costume/, "jumpsuit"], [/dress/, "dress"],
  [/legging|tights/, "leggings"], [/trousers/, "trousers"], [/shorts/, "shorts"], [/skirt|sarong/, "skirt"],
  [/sock/, "socks"], [/boot/, "boot"], [/pumps|heel|wedge/, "heel"], [/sandal|flip flop/, "sandal"],
  [/ballerina|flat shoe|slipper|moccasin/, "flat"], [/sneaker|shoe/, "sneaker"], [/bag|backpack/, "bag"],
  [/brim|straw|bucket/, "brim"], [/cap/, "cap"], [/hat|beanie/, "beanie"], [/scarf/, "scarf"], [/glove/, "gloves"],
  [/hair/, "hair"], [/earring/, "earring"], [/necklace/, "necklace"], [/ring$|bracelet/, "ring"], [/sunglasses/, "sunglasses"],
  [/belt|braces/, "belt"], [/watch/, "watch"], [/tie/, "tie"], [/wallet/, "wallet"], [/top/, "top"],
];
/** @type {[RegExp, string][]} fallback by product group */
const BY_GROUP = [
  [/upper/, "top"], [/lower/, "trousers"], [/full/, "dress"], [/shoe/, "sneaker"], [/sock/, "socks"],
  [/swim/, "swimsuit"], [/nightwear/, "pyjama"], [/underwear/, "briefs"], [/bag/, "bag"],
];

/** @param {import("./store.js").Details} article @returns {string} a name of SHAPES */
function shapeOf(article) {
  const [type, group] = [article.product_type ?? "", article.product_group ?? ""].map((text) => text.toLowerCase());
  return (
    BY_TYPE.find(([pattern]) => pattern.test(type))?.[1] ?? BY_GROUP.find(([pattern]) => pattern.test(group))?.[1] ?? "tag"
  );
}

let drawn = 0; // gives each pattern an id that is unique on the page

/** A drawing of an article, hidden from screen readers because its text is beside it.
 * @param {import("./store.js").Details} article
 * @returns {SVGElement}
 */
export function garment(article) {
  const base = colourOf(article.colour_group);
  const appearance = article.appearance ?? "Solid";
  const { body, lines = "", print = false } = SHAPES[shapeOf(article)];
  drawn += 1;
  const { defs, layers } = filling(appearance, base, `g${drawn}`);
  const seam = lightness(base) < 0.45 ? over(base, 0.38) : over(base, 0.45);
  return s("svg", { class: "garment", viewBox: "0 0 100 120", "aria-hidden": "true", focusable: "false" },
    s("defs", {}, ...defs),
    ...layers.map((paint) => s("path", { d: body, fill: paint, "fill-rule": "evenodd" })),
    ...(print ? motif(appearance, base) : []),
    s("path", { d: lines, class: "seam", stroke: seam }),
    s("path", { d: body, class: "outline", "fill-rule": "evenodd" }),
  );
}
