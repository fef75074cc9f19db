"""Part three of the demo: users, their histories, and what one more review changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from confluent_kafka import Message

from services.embedded.running import Change, Running
from shared.log.follow import RecordProcessor, read_to_end
from shared.log.records import parse_product, parse_state
from shared.log.topics import Topics
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_RATING, EVENT_KIND_REVIEW, EVENT_KIND_TICK, Event, EventKind
from shared.process.settings import KafkaSettings
from shared.process.terminal import cut

LEAST_EVENTS = 3  # of a user that is worth showing
SHOWN_EVENTS = 5
MOST_COLUMNS = 80
MOST_SINGLE = 0.5  # share of users with one event from which on lists can't move much
OPINIONS = (EVENT_KIND_REVIEW, EVENT_KIND_RATING)

_HOUR_MS = 3_600_000
_PATIENCE_SECONDS = 30.0  # without a record or an end: the broker is gone
_PLEASED = "Exactly what I hoped for\nExcellent quality, it works perfectly and I love it. Highly recommended!"
_DISAPPOINTED = "Very disappointing\nIt broke after two days. Terrible quality, a waste of money; I hate it."


def show(running: Running, kafka: KafkaSettings, count: int) -> str:
    """Show `count` users before and after a review; the id of one of them, empty when there is none.

    Raises:
        Unavailable: a call failed, or the log can't be read.
    """
    known = read_people(kafka)
    titles = read_titles(kafka)
    chosen = choose(known, count)
    if len(chosen) < count:
        running.terminal.say(f"  Only {len(chosen)} users have {LEAST_EVENTS} or more events.\n")
    single = share_of_single(known)
    if single >= MOST_SINGLE:
        running.terminal.say(
            f"  {single:.0%} of the users have one event only, so little can be learned about\n"
            "  which products go together, and lists move little.\n"
        )
    now_ms = max((person.newest_ms for person in known.values()), default=0) + _HOUR_MS
    for n, person in enumerate(chosen, start=1):
        running.supervisor.check()
        _show(running, person, titles, pleased=n % 3 != 0, now_ms=now_ms, single=single)
    somebody = chosen or sorted(known.values(), key=lambda person: person.user_id)
    return somebody[0].user_id if somebody else ""


def _show(
    running: Running, person: Person, titles: Mapping[str, str], *, pleased: bool, now_ms: int, single: float
) -> None:
    say, width = running.terminal.say, min(running.terminal.columns, MOST_COLUMNS)
    user = running.shop.user(person.user_id)
    shown = user.history[-SHOWN_EVENTS:]
    what = "review" if all(event.kind in OPINIONS for event in shown) else "event"
    count = f"{user.events:,} {what}{'' if user.events == 1 else 's'}"
    say(f"  User {person.user_id}: {count}" + (f", the last {len(shown)}:" if shown else ""))
    for event in shown:
        say(f"    {history_line(event, titles, width - 4)}")
    first = running.shop.recommend(person.user_id)
    if not first.products:
        say("    Nothing is left to recommend: every known product is masked for this user.\n")
        return
    product = first.products[0].product_id
    text = _PLEASED if pleased else _DISAPPOINTED
    review = Event(
        kind=EVENT_KIND_REVIEW,
        user_id=person.user_id,
        product_id=product,
        event_time_ms=now_ms,
        text=text,
        rating=5.0 if pleased else 1.0,
    )
    change = running.shop.review(review)
    say(f"  now reviews the first product of the list, with {stars(review.rating)}:")
    say(f"    {name(product, titles, width - 4)}")
    title, body = text.split("\n")
    say(f"    “{cut(f'{title}. {body}', width - 6)}”")
    say(f"  The new list came {change.seconds * 1000:.0f} ms after RecordEvents was called, with the review in it")
    say(f"  (partition {change.position.partition}, offset {change.position.offset}; {_origin(change.after)}).")
    say()
    for line in table(change, titles, width):
        say(line)
    if not has_moved(change):
        explained = running.shop.recommend(person.user_id, [product], change.position, explain=True)
        for line in why_unmoved(explained, product, single):
            say(f"    {line}")
    say()


def has_moved(change: Change) -> bool:
    """Whether the two lists differ."""
    return [p.product_id for p in change.before.products] != [p.product_id for p in change.after.products]


def why_unmoved(answer: pb.RecommendResponse, product_id: str, single: float) -> list[str]:
    """Why one more event changed no place, from what made the scores.

    Args:
        answer: explained, with the event in it.
        product_id: of the event.
        single: share of the users that have one event.
    """
    if answer.strategy == pb.STRATEGY_TRENDING:
        return ["Popularity ranks here, the same for everybody; a user's events change nothing."]
    popularity = [
        sum(reason.score for reason in product.reasons if reason.part == pb.PART_TRENDING)
        for product in answer.products
    ]
    named = [
        abs(event.score)
        for product in answer.products
        for reason in product.reasons
        for event in reason.events
        if event.product_id == product_id
    ]
    if named:
        lines = [f"The review adds {max(named):.2g} to a score at most, less than what lies between two places."]
    else:
        lines = ["The review is not among the events that count most for these products."]
    if popularity == sorted(popularity, reverse=True):
        lines = ["Popularity alone gives the same order; the review changes too little to show."]
    if single >= MOST_SINGLE:
        lines += [
            f"{single:.0%} of the users have one event only, so little can be learned about",
            "which products go together.",
        ]
    return lines


def history_line(event: pb.HistoryEvent, titles: Mapping[str, str], width: int) -> str:
    """One event of a history: day, kind (of an opinion: stars and sentiment), product."""
    day = datetime.fromtimestamp(event.event_time_ms / 1000, UTC).strftime("%Y-%m-%d")
    if event.kind in OPINIONS:
        given = stars(event.rating) if event.rating else "-----"
        head = f"{day}  {given}  sentiment {event.sentiment:+.2f}  "
    else:
        head = f"{day}  {EventKind.Name(event.kind).removeprefix('EVENT_KIND_').lower():<9}  "
    return head + name(event.product_id, titles, width - len(head))


def table(change: Change, titles: Mapping[str, str], width: int) -> list[str]:
    """Both rankings side by side, with the moves."""
    before = [product.product_id for product in change.before.products]
    after = [product.product_id for product in change.after.products]
    column = max(20, (width - 18) // 2)
    named = names([*before, *after], titles, column)
    lines = [f"    {'before':<{column + 4}}{'after':<{column + 4}}move"]
    marks = moves(before, after)
    for place in range(max(len(before), len(after))):
        old = named[before[place]] if place < len(before) else ""
        new = named[after[place]] if place < len(after) else ""
        mark = marks[place] if place < len(after) else ""
        lines.append(f"    {place + 1:>2}  {old:<{column}}  {new:<{column}}  {mark}")
    gone = left(before, after)
    if gone:
        lines.append(f"    Left the first {len(before)}: {cut(', '.join(named[p] for p in gone), width - 24)}")
    elif all(mark == "=" for mark in marks):
        lines.append("    No place changed.")
    if change.before.model_version != change.after.model_version:
        lines.append("    A new model version went live in between: not every move is the review's.")
    return lines


def name(product_id: str, titles: Mapping[str, str], width: int = 60) -> str:
    """A product as people know it."""
    return cut(titles.get(product_id, product_id), width)


def names(product_ids: Iterable[str], titles: Mapping[str, str], width: int) -> dict[str, str]:
    """Each product as people know it; those that would look alike carry their ids too."""
    named = {product_id: name(product_id, titles, width) for product_id in product_ids}
    often = Counter(named.values())
    return {
        product_id: text if often[text] == 1 else _with_id(product_id, titles, width)
        for product_id, text in named.items()
    }


def _with_id(product_id: str, titles: Mapping[str, str], width: int) -> str:
    mark = f" [{product_id}]"
    return cut(name(product_id, titles, width - len(mark)) + mark, width)


def stars(rating: float) -> str:
    """Stars out of five."""
    full = max(0, min(5, round(rating)))
    return "★" * full + "☆" * (5 - full)


def _origin(answer: pb.RecommendResponse) -> str:
    if answer.strategy == pb.STRATEGY_LEARNED:
        return f"model {answer.model_version}"
    why = pb.Fallback.Name(answer.fallback).removeprefix("FALLBACK_").lower().replace("_", " ")
    return f"{pb.Strategy.Name(answer.strategy).removeprefix('STRATEGY_').lower()}, {why}"


# How places change from one list to the next.


def moves(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """For each product of `after`, how far it moved: `▲2`, `▼1`, `=` or `new`."""
    places = {product: place for place, product in enumerate(before)}
    return [_move(places.get(product), place) for place, product in enumerate(after)]


def left(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """The products of `before` that `after` no longer has, in their order."""
    return [product for product in before if product not in set(after)]


def _move(before: int | None, after: int) -> str:
    if before is None:
        return "new"
    if before == after:
        return "="
    return f"▲{before - after}" if after < before else f"▼{after - before}"


# Who is in the log, and what products are called.


@dataclass(frozen=True, slots=True)
class Person:
    """A user as the log shows them."""

    user_id: str
    events: int
    newest_ms: int  # event time of the last


def read_people(kafka: KafkaSettings) -> dict[str, Person]:
    """Every user of `freshet.states`; guests are nobody.

    Raises:
        Unavailable: the log can't be read to its end.
    """
    people: dict[str, Person] = {}

    def count(message: Message) -> None:
        state = parse_state(message.value(), kafka.partitions)
        if state.kind != EVENT_KIND_TICK and state.user_id:
            known = people.get(state.user_id, Person(state.user_id, 0, 0))
            newest_ms = max(known.newest_ms, state.event_time_ms)
            people[state.user_id] = Person(state.user_id, known.events + 1, newest_ms)

    topic = Topics.of(kafka).states
    _apply_all(kafka, {(topic, partition): -1 for partition in range(kafka.partitions)}, count)
    return people


def read_titles(kafka: KafkaSettings) -> dict[str, str]:
    """product_id → title, of the products that have one.

    Raises:
        Unavailable: the log can't be read to its end.
    """
    titles: dict[str, str] = {}

    def note(message: Message) -> None:
        product_id, product = parse_product(message.key(), message.value())
        if product is not None and product.title:
            titles[product_id] = product.title

    _apply_all(kafka, {(Topics.of(kafka).products, 0): -1}, note)
    return titles


def choose(people: Mapping[str, Person], count: int) -> list[Person]:
    """Up to `count` users with a history worth showing, those last seen first."""
    worth = [person for person in people.values() if person.events >= LEAST_EVENTS]
    return sorted(worth, key=lambda person: (-person.newest_ms, -person.events, person.user_id))[:count]


def share_of_single(people: Mapping[str, Person]) -> float:
    """Of the users, the share that has one event."""
    return sum(person.events == 1 for person in people.values()) / len(people) if people else 0.0


def _apply_all(
    kafka: KafkaSettings, positions: Mapping[tuple[str, int], int], apply: Callable[[Message], object]
) -> None:
    """Apply every record there is; inference counts and logs those that can't be understood."""
    RecordProcessor(apply).process(read_to_end(kafka, positions, patience_seconds=_PATIENCE_SECONDS))
