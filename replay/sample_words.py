"""What the generated sample's users are called and what they say. All of it is invented."""

from __future__ import annotations

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
