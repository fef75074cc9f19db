"""English reviews from templates, whose sentiment fits their stars."""

from __future__ import annotations

import random
from typing import NamedTuple


class ProductKind(NamedTuple):
    """A kind of product; it stands in its category's chain where people come to need it."""

    name: str
    price: float  # of a usual one
    parts: tuple[str, str, str]  # what reviews speak of, all singular


# Category → its chain: whoever has one kind soon looks for the next.
CATEGORIES: dict[str, tuple[ProductKind, ...]] = {
    "Photography": (
        ProductKind("Camera", 420.0, ("autofocus", "battery", "viewfinder")),
        ProductKind("Memory Card", 25.0, ("write speed", "capacity", "plastic case")),
        ProductKind("Camera Bag", 45.0, ("zipper", "padding", "strap")),
        ProductKind("Tripod", 70.0, ("ball head", "centre column", "quick-release plate")),
        ProductKind("Zoom Lens", 260.0, ("focus ring", "coating", "stabiliser")),
        ProductKind("Flash Unit", 110.0, ("battery door", "hinge", "recycling time")),
    ),
    "Guitar": (
        ProductKind("Electric Guitar", 350.0, ("neck", "bridge", "pickup")),
        ProductKind("Guitar Amplifier", 180.0, ("speaker", "gain knob", "reverb")),
        ProductKind("Instrument Cable", 18.0, ("jack", "shielding", "plug")),
        ProductKind("Clip-On Tuner", 20.0, ("display", "clip", "needle")),
        ProductKind("Effects Pedal", 90.0, ("footswitch", "tone knob", "housing")),
        ProductKind("Guitar Case", 75.0, ("latch", "lining", "handle")),
    ),
    "Coffee": (
        ProductKind("Espresso Machine", 300.0, ("steam wand", "boiler", "drip tray")),
        ProductKind("Coffee Grinder", 90.0, ("burr", "hopper", "motor")),
        ProductKind("Milk Frother", 30.0, ("whisk", "switch", "stand")),
        ProductKind("Coffee Scale", 25.0, ("timer", "platform", "display")),
        ProductKind("Coffee Canister", 22.0, ("lid", "valve", "seal")),
        ProductKind("Gooseneck Kettle", 60.0, ("spout", "thermometer", "base")),
    ),
    "Camping": (
        ProductKind("Tent", 190.0, ("rainfly", "pole", "floor")),
        ProductKind("Sleeping Bag", 95.0, ("hood", "zipper", "filling")),
        ProductKind("Sleeping Pad", 60.0, ("valve", "surface", "stuff sack")),
        ProductKind("Camp Stove", 55.0, ("burner", "igniter", "windscreen")),
        ProductKind("Headlamp", 32.0, ("beam", "headband", "battery")),
        ProductKind("Water Filter", 40.0, ("cartridge", "pump", "hose")),
    ),
    "Cycling": (
        ProductKind("Road Bike", 680.0, ("frame", "rear derailleur", "saddle")),
        ProductKind("Bike Helmet", 65.0, ("chin strap", "visor", "ventilation")),
        ProductKind("Bike Lock", 45.0, ("shackle", "key", "bracket")),
        ProductKind("Floor Pump", 38.0, ("gauge", "valve head", "handle")),
        ProductKind("Bike Light", 28.0, ("beam", "mount", "charging port")),
        ProductKind("Cycling Computer", 120.0, ("screen", "sensor", "menu")),
    ),
    "Home Office": (
        ProductKind("Standing Desk", 330.0, ("motor", "table top", "control panel")),
        ProductKind("Office Chair", 210.0, ("lumbar support", "armrest", "gas lift")),
        ProductKind("Monitor Arm", 80.0, ("clamp", "joint", "cable channel")),
        ProductKind("Mechanical Keyboard", 95.0, ("space bar", "backlight", "frame")),
        ProductKind("Trackball Mouse", 50.0, ("ball", "scroll wheel", "left button")),
        ProductKind("Desk Lamp", 42.0, ("dimmer", "neck", "base")),
    ),
    "Video Games": (
        ProductKind("Game Console", 290.0, ("disc drive", "fan", "start menu")),
        ProductKind("Wireless Controller", 55.0, ("analog stick", "trigger", "rumble motor")),
        ProductKind("Gaming Headset", 75.0, ("microphone", "ear cushion", "headband")),
        ProductKind("Charging Dock", 25.0, ("status light", "connector", "base")),
        ProductKind("Racing Wheel", 160.0, ("pedal set", "rim", "desk clamp")),
        ProductKind("Capture Card", 130.0, ("software", "video input", "latency")),
    ),
    "Baking": (
        ProductKind("Stand Mixer", 240.0, ("dough hook", "bowl", "motor")),
        ProductKind("Cake Pan", 18.0, ("coating", "rim", "loose bottom")),
        ProductKind("Piping Set", 16.0, ("nozzle", "coupler", "bag")),
        ProductKind("Cooling Rack", 15.0, ("grid", "leg", "finish")),
        ProductKind("Kitchen Scale", 27.0, ("display", "tare button", "platform")),
        ProductKind("Cake Carrier", 30.0, ("lid", "handle", "clasp")),
    ),
    "Garden": (
        ProductKind("Lawn Mower", 270.0, ("blade", "grass box", "starter")),
        ProductKind("Garden Hose", 35.0, ("fitting", "spray head", "reel")),
        ProductKind("Hedge Trimmer", 95.0, ("blade", "front handle", "trigger")),
        ProductKind("Pruning Saw", 24.0, ("blade", "grip", "sheath")),
        ProductKind("Wheelbarrow", 85.0, ("tyre", "tray", "axle")),
        ProductKind("Compost Bin", 70.0, ("lid", "door", "base")),
    ),
    "Fitness": (
        ProductKind("Rowing Machine", 390.0, ("seat", "flywheel", "monitor")),
        ProductKind("Exercise Mat", 28.0, ("surface", "edge", "carrying strap")),
        ProductKind("Kettlebell", 40.0, ("handle", "coating", "base")),
        ProductKind("Foam Roller", 26.0, ("foam", "core", "texture")),
        ProductKind("Heart Rate Monitor", 75.0, ("chest strap", "sensor", "app")),
        ProductKind("Gym Bag", 35.0, ("shoe pocket", "zipper", "shoulder strap")),
    ),
    "Dogs": (
        ProductKind("Dog Crate", 80.0, ("door", "latch", "tray")),
        ProductKind("Dog Bed", 55.0, ("cover", "filling", "seam")),
        ProductKind("Dog Bowl", 17.0, ("rim", "rubber foot", "stand")),
        ProductKind("Dog Leash", 21.0, ("clip", "handle", "stitching")),
        ProductKind("Chew Toy", 12.0, ("rubber", "rope", "squeaker")),
        ProductKind("Grooming Brush", 19.0, ("bristle", "release button", "grip")),
    ),
    "Hi-Fi": (
        ProductKind("Turntable", 280.0, ("tonearm", "platter", "dust cover")),
        ProductKind("Phono Preamp", 90.0, ("power supply", "gain switch", "ground post")),
        ProductKind("Bookshelf Speaker", 210.0, ("tweeter", "woofer", "cabinet")),
        ProductKind("Speaker Stand", 65.0, ("base plate", "spike", "pillar")),
        ProductKind("Speaker Cable", 24.0, ("banana plug", "jacket", "conductor")),
        ProductKind("Record Brush", 15.0, ("carbon fibre", "handle", "pad")),
    ),
}  # fmt: skip
# Maker → how dear its things are: 0 plain, 1 usual, 2 fine.
BRANDS = {
    "Northwind": 1, "Halden": 2, "Quillfeather": 2, "Basecamp Nine": 0, "Orvane": 1, "Tessel": 0, "Marlowe": 2,
    "Pinecrest": 1, "Zephyrine": 2, "Kestrel & Co": 1, "Lumora": 0, "Ironbark": 1, "Saltbox": 0, "Veltrino": 2,
    "Copperline": 1, "Dunmore": 0, "Aldergate": 2, "Fennick": 0, "Rookwood": 1, "Brightwater": 0,
}  # fmt: skip
FIRST_NAMES = (
    "Ada", "Ben", "Carla", "Dmitri", "Elena", "Femi", "Greta", "Hiro", "Ines", "Jonas", "Kofi", "Lena", "Miguel",
    "Nadia", "Oskar", "Priya", "Quentin", "Rosa", "Samir", "Tova", "Umar", "Vera", "Wanda", "Xavier", "Yara",
    "Zoltan",
)  # fmt: skip
NICKNAMES = ("bookworm", "weekend tinkerer", "early bird", "picky buyer", "night owl", "gadget lover", "happy camper")
# What may stand in a sentence's braces, beside the product's own words: thing, brand, part, other part.
SLOTS = {
    "time": (
        "two days", "a week", "three weeks", "a month", "two months", "half a year", "a whole season", "four uses",
    ),
    "who": (
        "wife", "husband", "brother", "daughter", "neighbour", "roommate", "father", "colleague", "best friend",
    ),
    "occasion": (
        "a birthday", "a trip", "the holidays", "everyday use", "the weekend", "a house move", "a friend",
    ),
    "place": (
        "at home", "on the road", "in the garage", "at my parents' house", "in a small flat", "at work",
    ),
}  # fmt: skip
# Ends of sentences that begin with a part of the product, from very glad (2) to very cross (-2).
PREDICATES = {
    2: (
        "is superb", "works perfectly", "is excellent", "is a joy to use", "feels wonderful", "is simply brilliant",
        "is the best I have ever had", "impressed me a lot", "is beautiful and strong", "is amazingly good",
        "is outstanding", "makes me smile every time", "is great", "is fantastic for the price",
    ),
    1: (
        "is good", "is fine", "does what it promises", "is easy to get used to", "is nice enough",
        "is a decent one, I like it", "works well", "is better than I expected", "feels solid", "is helpful",
        "is okay for the money",
    ),
    0: (
        "is on the left side", "comes in a separate box", "is about as large as on the picture", "is grey, not black",
        "took some minutes to put together", "is the same as in last year's model", "is made of two pieces",
        "is a little smaller than my old one", "was packed in cardboard", "weighs more than it seems",
    ),
    -1: (
        "is a bit weak", "is annoying", "has a problem now and then", "could be less noisy and poor",
        "is a minor disappointment", "feels rather poor", "is an annoyance", "is not very good",
        "was damaged a little", "is a weak point", "is uncomfortable after a while", "worries me",
    ),
    -2: (
        "is terrible", "broke after {time}", "is awful", "failed after {time}", "is a horrible piece of junk",
        "is useless", "was defective", "is the worst I have ever seen", "is badly made and ugly",
        "was broken on arrival", "is a complete failure", "is dangerously weak",
    ),
}  # fmt: skip
# Whole sentences, by the same scale.
SENTENCES = {
    2: (
        "I love this {thing}!", "Best {thing} I have ever owned.", "I am so happy with it.", "I highly recommend it!",
        "My {who} loves it too.", "{brand} did a great job here.", "It is worth every cent and a pleasure to own.",
        "Perfect for {occasion}, and the quality is amazing.", "After {time} it still works perfectly.",
        "A wonderful {thing} at a great price.", "I would happily buy it again.",
        "Thank you {brand}, this is excellent!", "I was delighted from the first day.",
        "Everything about it is great, the {part} above all.", "It made {occasion} so much more fun.",
        "An awesome {thing}, strong and reliable.", "I gave one to my {who}, who was thrilled.",
        "I am very pleased with this {thing}.",
    ),
    1: (
        "A good {thing} all in all.", "I like it.", "It does the job well.", "I am satisfied with it.",
        "My {who} likes it.", "Good value from {brand}.", "Nice for {occasion}.", "After {time} I am still pleased.",
        "It works fine {place}.", "Worth a look if you need a {thing}.", "Easy to set up {place}.",
        "{brand} usually makes good things, and this is one.", "I enjoy using it {place}.",
        "A fair price for a decent {thing}.",
    ),
    0: (
        "I bought this {thing} for {occasion}.", "I have had it for {time} now.", "I use it mostly {place}.",
        "It replaced another {thing} that I had for years.", "My {who} has the previous model.",
        "It came in three days.", "This is my second {thing} from {brand}.", "I read many reviews before I ordered.",
        "I paid the usual price.", "The manual is in four languages.", "It stays {place} most of the time.",
        "I compared it with two others.",
    ),
    -1: (
        "I expected more from {brand} and am disappointed.", "It is not good.", "There are some problems with it.",
        "I am a little disappointed.", "My {who} does not like it.", "After {time} it began to annoy me.",
        "For {occasion} it was a bad choice.", "It had a fault after {time}.", "The instructions are confusing.",
        "Setting it up {place} was frustrating.", "It is a poor {thing} for the price.",
        "I regret not taking another {thing}.",
    ),
    -2: (
        "I hate this {thing}.", "Worst {thing} I have ever bought.", "A waste of money!", "I am very disappointed.",
        "It broke after {time} and is useless now.", "Avoid this {thing}.", "The quality is terrible.",
        "My {who} was angry about it too.", "{brand} refused to help, awful service.", "It ruined {occasion}.",
        "It failed miserably {place}.", "Horrible, I sent it back after {time}.", "I regret buying it.",
        "What a bad joke of a {thing}.", "It arrived damaged and the seller lied about it.",
        "Never again, a complete disaster.",
    ),
}  # fmt: skip
# Both sides in one sentence.
MIXED = (
    "The {part} {good}, but the {other} {bad}.",
    "While the {part} {good}, the {other} {bad}.",
    "The {other} {bad}, though the {part} {good}.",
    "On the one hand the {part} {good}, on the other hand the {other} {bad}.",
)
# By stars.
SUMMARIES = {
    5: (
        "Love it", "Great {thing}", "Perfect", "Excellent {part}", "Best {thing} ever", "Five stars", "Wonderful",
        "{brand} at its best", "Could not be happier", "Superb for {occasion}", "Highly recommended",
    ),
    4: (
        "Good {thing}", "Very good, not perfect", "Solid", "Happy with it", "Nice {part}", "Good for {occasion}",
        "Works well", "Four stars", "I like it",
    ),
    3: (
        "It is okay", "Good {part}, weak {other}", "So so", "Average {thing}", "Three stars", "Does the job, no more",
        "Mixed feelings",
    ),
    2: (
        "Disappointing", "Weak {part}", "Not as good as I hoped", "Expected more from {brand}", "Two stars",
        "Poor for {occasion}", "Problems with the {part}",
    ),
    1: (
        "Terrible", "Broke after {time}", "Waste of money", "Avoid", "Worst {thing} ever", "One star",
        "Useless {part}", "Never again {brand}", "Horrible",
    ),
}  # fmt: skip
# How many sentences a review has, 1 to 8, and how often.
LENGTH_WEIGHTS = (12, 20, 20, 16, 12, 9, 6, 5)
# Stars → tone of a sentence (2 very glad, 0 plain, -2 very cross) → how often.
TONES = {
    5: {2: 0.55, 1: 0.15, 0: 0.30},
    4: {2: 0.10, 1: 0.55, 0: 0.25, -1: 0.10},
    3: {1: 0.25, 0: 0.40, -1: 0.35},
    2: {1: 0.10, 0: 0.25, -1: 0.55, -2: 0.10},
    1: {0: 0.30, -1: 0.15, -2: 0.55},
}
LEADING_TONE = {5: 2, 4: 1, 2: -1, 1: -2}  # at least one sentence says it plainly; three stars say both sides
# How often a sentence is about a part of the product rather than the whole.
ABOUT_A_PART = 0.5


def review(rng: random.Random, kind: ProductKind, brand: str, stars: int) -> tuple[str, str]:
    """Summary and text of one review."""
    count = rng.choices(range(1, len(LENGTH_WEIGHTS) + 1), LENGTH_WEIGHTS)[0]
    tones = list(TONES[stars])
    lead = _mixed(rng, kind, brand) if stars == 3 else _sentence(rng, kind, brand, LEADING_TONE[stars])
    text = [lead]
    while len(text) < count:
        sentence = _sentence(rng, kind, brand, rng.choices(tones, list(TONES[stars].values()))[0])
        if sentence not in text:
            text.append(sentence)
    rng.shuffle(text)
    return _filled(rng, kind, brand, rng.choice(SUMMARIES[stars])), " ".join(text)


def _sentence(rng: random.Random, kind: ProductKind, brand: str, tone: int) -> str:
    if rng.random() < ABOUT_A_PART:
        return _filled(rng, kind, brand, f"The {{part}} {rng.choice(PREDICATES[tone])}.")
    return _filled(rng, kind, brand, rng.choice(SENTENCES[tone]))


def _mixed(rng: random.Random, kind: ProductKind, brand: str) -> str:
    good, bad = rng.choice(PREDICATES[1]), rng.choice(PREDICATES[-1])
    return _filled(rng, kind, brand, rng.choice(MIXED).replace("{good}", good).replace("{bad}", bad))


def _filled(rng: random.Random, kind: ProductKind, brand: str, template: str) -> str:
    part, other = rng.sample(kind.parts, 2)
    slots = {slot: rng.choice(choices) for slot, choices in SLOTS.items()}
    return template.format(thing=kind.name.lower(), brand=brand, part=part, other=other, **slots)
