"""What the generated sample's shop sells and who makes it. The makers are invented."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of product; it stands in its category's chain where people come to need it."""

    name: str
    price: float  # of a usual one
    parts: tuple[str, str, str]  # what reviews speak of, all singular


# Category → its chain: whoever has one kind soon looks for the next.
CATEGORIES: dict[str, tuple[Kind, ...]] = {
    "Photography": (
        Kind("Camera", 420.0, ("autofocus", "battery", "viewfinder")),
        Kind("Memory Card", 25.0, ("write speed", "capacity", "plastic case")),
        Kind("Camera Bag", 45.0, ("zipper", "padding", "strap")),
        Kind("Tripod", 70.0, ("ball head", "centre column", "quick-release plate")),
        Kind("Zoom Lens", 260.0, ("focus ring", "coating", "stabiliser")),
        Kind("Flash Unit", 110.0, ("battery door", "hinge", "recycling time")),
    ),
    "Guitar": (
        Kind("Electric Guitar", 350.0, ("neck", "bridge", "pickup")),
        Kind("Guitar Amplifier", 180.0, ("speaker", "gain knob", "reverb")),
        Kind("Instrument Cable", 18.0, ("jack", "shielding", "plug")),
        Kind("Clip-On Tuner", 20.0, ("display", "clip", "needle")),
        Kind("Effects Pedal", 90.0, ("footswitch", "tone knob", "housing")),
        Kind("Guitar Case", 75.0, ("latch", "lining", "handle")),
    ),
    "Coffee": (
        Kind("Espresso Machine", 300.0, ("steam wand", "boiler", "drip tray")),
        Kind("Coffee Grinder", 90.0, ("burr", "hopper", "motor")),
        Kind("Milk Frother", 30.0, ("whisk", "switch", "stand")),
        Kind("Coffee Scale", 25.0, ("timer", "platform", "display")),
        Kind("Coffee Canister", 22.0, ("lid", "valve", "seal")),
        Kind("Gooseneck Kettle", 60.0, ("spout", "thermometer", "base")),
    ),
    "Camping": (
        Kind("Tent", 190.0, ("rainfly", "pole", "floor")),
        Kind("Sleeping Bag", 95.0, ("hood", "zipper", "filling")),
        Kind("Sleeping Pad", 60.0, ("valve", "surface", "stuff sack")),
        Kind("Camp Stove", 55.0, ("burner", "igniter", "windscreen")),
        Kind("Headlamp", 32.0, ("beam", "headband", "battery")),
        Kind("Water Filter", 40.0, ("cartridge", "pump", "hose")),
    ),
    "Cycling": (
        Kind("Road Bike", 680.0, ("frame", "rear derailleur", "saddle")),
        Kind("Bike Helmet", 65.0, ("chin strap", "visor", "ventilation")),
        Kind("Bike Lock", 45.0, ("shackle", "key", "bracket")),
        Kind("Floor Pump", 38.0, ("gauge", "valve head", "handle")),
        Kind("Bike Light", 28.0, ("beam", "mount", "charging port")),
        Kind("Cycling Computer", 120.0, ("screen", "sensor", "menu")),
    ),
    "Home Office": (
        Kind("Standing Desk", 330.0, ("motor", "table top", "control panel")),
        Kind("Office Chair", 210.0, ("lumbar support", "armrest", "gas lift")),
        Kind("Monitor Arm", 80.0, ("clamp", "joint", "cable channel")),
        Kind("Mechanical Keyboard", 95.0, ("space bar", "backlight", "frame")),
        Kind("Trackball Mouse", 50.0, ("ball", "scroll wheel", "left button")),
        Kind("Desk Lamp", 42.0, ("dimmer", "neck", "base")),
    ),
    "Video Games": (
        Kind("Game Console", 290.0, ("disc drive", "fan", "start menu")),
        Kind("Wireless Controller", 55.0, ("analog stick", "trigger", "rumble motor")),
        Kind("Gaming Headset", 75.0, ("microphone", "ear cushion", "headband")),
        Kind("Charging Dock", 25.0, ("status light", "connector", "base")),
        Kind("Racing Wheel", 160.0, ("pedal set", "rim", "desk clamp")),
        Kind("Capture Card", 130.0, ("software", "video input", "latency")),
    ),
    "Baking": (
        Kind("Stand Mixer", 240.0, ("dough hook", "bowl", "motor")),
        Kind("Cake Pan", 18.0, ("coating", "rim", "loose bottom")),
        Kind("Piping Set", 16.0, ("nozzle", "coupler", "bag")),
        Kind("Cooling Rack", 15.0, ("grid", "leg", "finish")),
        Kind("Kitchen Scale", 27.0, ("display", "tare button", "platform")),
        Kind("Cake Carrier", 30.0, ("lid", "handle", "clasp")),
    ),
    "Garden": (
        Kind("Lawn Mower", 270.0, ("blade", "grass box", "starter")),
        Kind("Garden Hose", 35.0, ("fitting", "spray head", "reel")),
        Kind("Hedge Trimmer", 95.0, ("blade", "front handle", "trigger")),
        Kind("Pruning Saw", 24.0, ("blade", "grip", "sheath")),
        Kind("Wheelbarrow", 85.0, ("tyre", "tray", "axle")),
        Kind("Compost Bin", 70.0, ("lid", "door", "base")),
    ),
    "Fitness": (
        Kind("Rowing Machine", 390.0, ("seat", "flywheel", "monitor")),
        Kind("Exercise Mat", 28.0, ("surface", "edge", "carrying strap")),
        Kind("Kettlebell", 40.0, ("handle", "coating", "base")),
        Kind("Foam Roller", 26.0, ("foam", "core", "texture")),
        Kind("Heart Rate Monitor", 75.0, ("chest strap", "sensor", "app")),
        Kind("Gym Bag", 35.0, ("shoe pocket", "zipper", "shoulder strap")),
    ),
    "Dogs": (
        Kind("Dog Crate", 80.0, ("door", "latch", "tray")),
        Kind("Dog Bed", 55.0, ("cover", "filling", "seam")),
        Kind("Dog Bowl", 17.0, ("rim", "rubber foot", "stand")),
        Kind("Dog Leash", 21.0, ("clip", "handle", "stitching")),
        Kind("Chew Toy", 12.0, ("rubber", "rope", "squeaker")),
        Kind("Grooming Brush", 19.0, ("bristle", "release button", "grip")),
    ),
    "Hi-Fi": (
        Kind("Turntable", 280.0, ("tonearm", "platter", "dust cover")),
        Kind("Phono Preamp", 90.0, ("power supply", "gain switch", "ground post")),
        Kind("Bookshelf Speaker", 210.0, ("tweeter", "woofer", "cabinet")),
        Kind("Speaker Stand", 65.0, ("base plate", "spike", "pillar")),
        Kind("Speaker Cable", 24.0, ("banana plug", "jacket", "conductor")),
        Kind("Record Brush", 15.0, ("carbon fibre", "handle", "pad")),
    ),
}  # fmt: skip

# Maker → how dear its things are: 0 plain, 1 usual, 2 fine.
BRANDS = {
    "Northwind": 1, "Halden": 2, "Quillfeather": 2, "Basecamp Nine": 0, "Orvane": 1, "Tessel": 0, "Marlowe": 2,
    "Pinecrest": 1, "Zephyrine": 2, "Kestrel & Co": 1, "Lumora": 0, "Ironbark": 1, "Saltbox": 0, "Veltrino": 2,
    "Copperline": 1, "Dunmore": 0, "Aldergate": 2, "Fennick": 0, "Rookwood": 1, "Brightwater": 0,
}  # fmt: skip
