"""`freshet dead-letters` from poison to a state that counts once."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from services.console import letters
from services.console.__main__ import parse
from services.console.letters import DeadLetters, LetterPosition, Repaired, as_live, event_in
from services.embedded.broker import free_port
from shared.log.clients import LogReader, partition_of
from shared.log.merge import AppliedMarks
from shared.log.topics import Topics
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.errors import Unavailable, Unusable
from shared.process.settings import KafkaSettings
from shared.process.terminal import Terminal
from tests.support.processes import ROOT, Service, kafka_environment, running
from tests.support.writing import writer

START_MS = 1_300_000_000_000


def event(n: int, **fields: Any) -> pb.Event:
    given = {
        "kind": pb.EVENT_KIND_REVIEW, "user_id": f"u{n}", "product_id": f"p{n}", "event_time_ms": START_MS + n,
        "source": "set/0", "sequence": n + 1, "rating": 4.0,
    }  # fmt: skip
    return pb.Event(**(given | fields))


POISON: list[tuple[bytes, bytes | None, str]] = [
    (b"u0", event(0, rating=9.0).SerializeToString(), "bad_rating"),
    (b"u1", b"\xff\xfe not an event", "undecodable"),
    (b"u2", event(2, user_id="u2\x1b[31m").SerializeToString(), "bad_id"),
    (b"u3", None, "undecodable"),
    (b"u4", event(4, rating=0.0, user_id="").SerializeToString(), "bad_rating"),
    (b"u5", event(5, event_time_ms=-1).SerializeToString(), "bad_time"),
]


def send(kafka: KafkaSettings, topic: str, *records: tuple[bytes | None, bytes | None]) -> None:
    producer = writer(kafka)
    for key, value in records:
        producer.send(topic, key=key, value=value)
    producer.flush(30)


def console(kafka: KafkaSettings, *arguments: str | Path) -> tuple[int, str]:
    """`freshet dead-letters …`: exit status, and what it says or complains of."""
    parsed = parse(["dead-letters", *map(str, arguments)])
    stream = io.StringIO()
    try:
        status = parsed.run(parsed, Terminal(stream), kafka_environment(kafka))
    except Unusable as error:
        return 2, str(error)
    return status, stream.getvalue()


def read(kafka: KafkaSettings, topic: str) -> list[Message]:
    reader = LogReader(kafka, {(topic, p): -1 for p in range(kafka.partitions)})
    records = []
    while not reader.caught_up:
        records += reader.poll(0.5)
    reader.close()
    return records


def applied(kafka: KafkaSettings, topic: str) -> list[pb.StateVector]:
    """What readers apply of states, or would apply of what features makes of events."""
    marks = {p: AppliedMarks() for p in range(kafka.partitions)}
    accepted = []
    for message in read(kafka, topic):
        if topic == Topics.of(kafka).states:
            state = pb.StateVector.FromString(message.value() or b"")
        else:
            event = pb.Event.FromString(message.value() or b"")
            state = pb.StateVector(kind=event.kind, event_id=event.event_id, source_offset=message.offset() or 0)
        if marks[message.partition() or 0].accept(state):
            accepted.append(state)
    return accepted


def has(worker: Service, *, states: int) -> bool:
    return worker.metrics().get("freshet_features_states_total") == states


@pytest.mark.slow
def test_letters_are_shown_repaired_and_put_back_once(kafka: KafkaSettings, tmp_path: Path) -> None:
    events = Topics.of(kafka).events
    good = [(f"u{n}".encode(), event(n).SerializeToString()) for n in range(10, 30)]  # later ones of the same replay
    send(kafka, events, *((key, value) for key, value, _ in POISON), *good)
    with running("services.features", kafka_environment(kafka), tmp_path / "features.log") as worker:
        worker.wait_for(lambda: has(worker, states=20), "good states")
        worker.wait_for(lambda: "6 dead letters" in console(kafka, "show")[1], "letters")
        _look_repair_and_put_back(kafka, worker, tmp_path / "letters.jsonl")


def _look_repair_and_put_back(kafka: KafkaSettings, worker: Service, file: Path) -> None:
    events = Topics.of(kafka).events
    status, shown = console(kafka, "show")
    assert status == 0
    assert "rating: 1 to 5, got 9" in shown
    assert "6 dead letters, 6 shown" in shown
    assert "undecodable             2" in shown
    assert "\x1b" not in shown, "nothing in a message may steer the terminal"
    some = ("--reason", "bad_rating", "--since", "1h", "--limit", "1")
    assert "2 dead letters, 1 shown" in console(kafka, "show", *some)[1]

    assert console(kafka, "show", "--output", file)[0] == 0
    assert console(kafka, "show", "--json")[1] == file.read_text(encoding="utf-8")
    status, complaint = console(kafka, "show", "--output", file)
    assert (status, "may hold repairs" in complaint) == (2, True)
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    by_key = {line["key"]: line for line in lines}
    assert {key: line["reason"] for key, line in by_key.items()} == {k.decode(): r for k, _, r in POISON}

    by_key["u0"]["event"]["rating"] = 5
    by_key["u1"]["event"] = {"kind": "EVENT_KIND_VIEW", "user_id": "u1", "product_id": "p", "event_time_ms": START_MS}
    by_key["u2"]["event"]["user_id"] = "u2"
    by_key["u4"]["event"]["rating"] = 3  # a guest's
    file.write_text("\n".join(map(json.dumps, lines)) + "\nnot json\n\n" + json.dumps(by_key["u0"]), encoding="utf-8")

    status, output = console(kafka, "replay", file, "--dry-run")
    assert status == 1
    assert f"{events}: 4 would be put back, 1 skipped as put back before, 3 refused" in output
    assert has(worker, states=20)

    status, output = console(kafka, "replay", file)
    assert status == 1
    wrong = {f"line {n}": key for n, key in enumerate(by_key, start=1) if key in ("u3", "u5")} | {"line 7": "not_json"}
    assert all(f"{line} skipped: " in output for line in wrong)
    assert f"{events}: 4 put back and acknowledged, 1 skipped as put back before, 3 refused" in output
    worker.wait_for(lambda: has(worker, states=24), "repaired states")

    status, output = console(kafka, "replay", file)
    assert f"{events}: 0 put back and acknowledged, 5 skipped as put back before, 3 refused" in output
    shown = console(kafka, "show")[1]
    assert "2 dead letters, 2 shown; 4 were put back" in shown
    assert "6 dead letters, 6 shown; 4 were put back" in console(kafka, "show", "--all")[1]

    repaired = [state for state in applied(kafka, Topics.of(kafka).states) if not state.source]
    assert sorted((s.user_id, s.product_id, s.rating) for s in repaired) == [
        ("", "p4", 3.0), ("u0", "p0", 5.0), ("u1", "p", 3.0), ("u2", "p2", 4.0),
    ]  # fmt: skip
    assert all(state.event_id.startswith("dead-letter/") for state in repaired)
    assert all(
        state.source_partition == partition_of((state.user_id or state.product_id).encode(), kafka.partitions)
        for state in repaired
    )
    origins = {dict(message.headers()).get("dead-letter") for message in read(kafka, events) if message.headers()}
    assert origins == {
        f"{events}/{line['partition']}/{line['offset']}".encode() for key, line in by_key.items() if key in "u0u1u2u4"
    }


def letter(kafka: KafkaSettings, value: bytes, reason: str, offset: int = 4711) -> None:
    """Write a dead letter as features does."""
    producer = writer(kafka)
    headers = [("topic", Topics.of(kafka).events.encode()), ("partition", b"0"), ("offset", str(offset).encode())]
    headers += [("reason", reason.encode()), ("message", b"as it was then")]
    producer.send(Topics.of(kafka).dead_letters, key=b"u9", value=value, headers=headers)
    producer.flush(30)


def test_put_back_twice_at_the_same_time_it_counts_once(kafka: KafkaSettings) -> None:
    letter(kafka, event(9).SerializeToString(), "bad_price")
    known = [DeadLetters(kafka) for _ in range(2)]  # neither knows of what the other will do
    (written,) = known[0].letters()
    repaired = Repaired(
        written.place, written.reason, as_live(event_in(written), written.place, Topics.of(kafka).events, 2**60)
    )
    acknowledged: list[LetterPosition] = []
    for dead_letters in known:
        dead_letters.put_back([repaired], lambda place, _: acknowledged.append(place))
    assert acknowledged == [written.place, written.place]
    assert len(read(kafka, Topics.of(kafka).events)) == 2
    assert len(applied(kafka, Topics.of(kafka).events)) == 1
    assert "0 put back and acknowledged, 0 skipped as put back before" in console(kafka, "replay", "--all")[1]


def test_what_a_setting_caused_is_put_back_as_it_is(kafka: KafkaSettings) -> None:
    for _ in range(2):  # a worker killed in between writes a letter twice
        letter(kafka, event(9).SerializeToString(), "bad_price")
    letter(kafka, event(8, rating=9.0).SerializeToString(), "bad_rating", 4712)
    send(kafka, Topics.of(kafka).dead_letters, (None, None), (b"\xff", b"\x00\x1b"))  # somebody else's
    shown = console(kafka, "show")[1]
    assert "bad_price               1" in shown
    assert "stray                   2" in shown
    status, output = console(kafka, "replay", "--reason", "bad_price")
    assert status == 0
    assert "1 put back and acknowledged, 0 skipped as put back before, 0 refused" in output
    status, output = console(kafka, "replay", "--all")
    assert status == 1
    assert "0 put back and acknowledged, 0 skipped as put back before, 3 refused" in output
    assert [state.event_id for state in applied(kafka, Topics.of(kafka).events)] == [
        f"dead-letter/{Topics.of(kafka).events}/0/4711"
    ]


def test_what_can_not_be_done_is_said(
    kafka: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, problem in (
        (tmp_path / "none.jsonl", "No such file or directory; check its name"),
        (tmp_path, "is a folder; name a file"),
    ):
        status, complaint = console(kafka, "replay", path)
        assert (status, problem in complaint) == (2, True)
    status, complaint = console(kafka, "show", "--output", tmp_path / "none" / "letters")
    assert (status, "can't be written: No such file or directory" in complaint) == (2, True)
    status, output = console(kafka, "show", "--output", tmp_path / "letters.jsonl")
    assert (status, "no dead letters" in output) == (0, True)
    assert not (tmp_path / "letters.jsonl").exists(), "it would be in the way of the next"
    for wrong in (("show", "--reason", "bad_luck"), ("show", "--since", "then"), ("replay",), ("replay", "--all", "x")):
        with pytest.raises(SystemExit, match="2"):
            console(kafka, *wrong)
    assert "'then' is neither a date such as 2013-01-31 nor a time ago such as 2h" in capsys.readouterr().err
    monkeypatch.setattr(letters, "PATIENCE_SECONDS", 0.5)
    away = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match="start one or set FRESHET_KAFKA_BOOTSTRAP_SERVERS"):
        console(away, "show")


def test_the_command_is_there_and_helps() -> None:
    command = [sys.executable, "-m", "services.console", "dead-letters", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=True).stdout
    assert "freshet dead-letters replay letters.jsonl" in shown
