"""thrum.store over memory and over LevelDB: what is written is there, what is wrong is found."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store_model import REPO, Model, all_fields, filled
from thrum.batch import Batch, KeptReply, Outgoing
from thrum.errors import StoreDamagedError, StoreError
from thrum.messages import Reply
from thrum.messages.landing import ReleaseLanding
from thrum.records import to_plain
from thrum.storage import LevelRows, open_store
from thrum.store import Changes, MemoryRows, Rows, Store
from thrum.store import store as store_module
from thrum.store.layout import new_packer, unpack
from thrum.task import Event, State, Task


class MemoryPlace:
    """Where a store in memory can be opened again and again."""

    def __init__(self) -> None:
        self.rows: Rows = MemoryRows()

    def open(self, repo: str = REPO) -> Store:
        return Store(self.rows, repo=repo, epoch="first")

    def change(self, changes: Changes) -> None:
        self.rows.write(changes, sync=True)

    def close(self) -> None:
        pass


class DiskPlace:
    """The same in a directory of its own."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="thrum-store-")
        self.path = Path(self.folder.name, "deep", "store")

    def open(self, repo: str = REPO) -> Store:
        return open_store(self.path, repo=repo, epoch="first")

    def change(self, changes: Changes) -> None:
        rows = LevelRows(self.path, create=True)
        rows.write(changes, sync=True)
        rows.close()

    def close(self) -> None:
        self.folder.cleanup()


Place = MemoryPlace | DiskPlace


@pytest.fixture(params=[MemoryPlace, DiskPlace])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    place = request.param()
    yield place
    place.close()


def test_a_new_store_is_empty_and_has_a_name_of_its_own(place: Place) -> None:
    with place.open() as store:
        assert store.load() == Model().loaded
        assert list(store.events()) == []
        assert store.verify().ok
    assert Store(MemoryRows(), repo=REPO).epoch != Store(MemoryRows(), repo=REPO).epoch


keys = st.text(max_size=5)
task_changes = st.fixed_dictionaries(
    {},
    optional={
        "reason": st.text(max_size=20),
        "retries": st.integers(0, 2**40),
        "wake_at": st.floats(allow_nan=False, allow_infinity=False),
        "state": st.sampled_from([str(state) for state in State]),
        "depends_on": st.lists(st.text(max_size=5), max_size=3),
        "attempts": st.just(to_plain(all_fields().attempts)),
        "candidate": st.none() | st.just(to_plain(all_fields().candidate)),
    },
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
replies = st.builds(KeptReply, at=st.floats(allow_nan=False, allow_infinity=False), reply=st.builds(Reply, value=plain))
destinations = st.sampled_from(["repo.a", "repo.b", "repo.a/x"])
steps = st.one_of(
    st.tuples(st.just(Model.add), st.text(max_size=5)),
    st.tuples(st.just(Model.change), st.integers(1, 4), task_changes),
    st.tuples(st.just(Model.mark), keys, st.integers(0, 2**63)),
    st.tuples(st.just(Model.reply), keys, replies),
    st.tuples(st.just(Model.drop_reply), keys),
    st.tuples(st.just(Model.send), destinations, st.integers(0, 9)),
    st.tuples(st.just(Model.acknowledge), destinations, st.integers(1, 3)),
    st.tuples(st.just(Model.record), keys, plain),
)


@pytest.mark.parametrize("kind", [MemoryPlace, DiskPlace])
@settings(max_examples=60, deadline=None)
@given(script=st.lists(st.lists(steps, min_size=1, max_size=4), max_size=12))
def test_whatever_was_written_is_there_after_opening_again(
    kind: type[Place], script: list[list[tuple[Any, ...]]]
) -> None:
    place, model = kind(), Model()
    with closing(place):
        write_script(place, model, script)
        with place.open() as store:
            assert store.load() == model.loaded
            assert list(store.events()) == model.events
            for task in model.loaded.tasks:
                assert list(store.events(task)) == [event for event in model.events if event.task == task]
            found = store.verify()
            assert found.ok, found
            assert (found.events, found.tasks) == (len(model.events), len(model.loaded.tasks))


def write_script(place: Place, model: Model, script: list[list[tuple[Any, ...]]]) -> None:
    store = place.open()
    for turn in script:
        batches = []
        for step, *arguments in turn:
            if step is Model.change:
                arguments[0] = f"{REPO}-{arguments[0]}"
                if arguments[0] not in model.loaded.tasks:
                    continue
            batches.append(step(model, *arguments))
        store.write(*batches)
    store.close()


def test_events_come_from_after_a_number_and_up_to_a_limit(place: Place) -> None:
    with place.open() as store:
        model = filled(store, 20)
        of_one = [event for event in model.events if event.task == f"{REPO}-2"]
        assert list(store.events(after=15)) == model.events[15:]
        assert list(store.events(after=5, limit=3)) == model.events[5:8]
        assert list(store.events(f"{REPO}-2", after=of_one[2].seq, limit=2)) == of_one[3:5]
        assert list(store.events(f"{REPO}-2", limit=0)) == []
        assert list(store.events(f"{REPO}-20")) == []
        assert list(store.events(REPO)) == []


def test_events_can_be_read_while_others_are_written(place: Place) -> None:
    with place.open() as store:
        model = filled(store, 5)
        reading = store.events()
        first = next(reading)
        store.write(model.change(f"{REPO}-1", {"reason": "meanwhile"}))
        assert [first, *reading] == model.events[:5]


def test_events_that_do_not_carry_on_the_log_are_refused_and_nothing_is_written(place: Place) -> None:
    with place.open() as store:
        model = filled(store, 5)
        good = model.change(f"{REPO}-1", {"reason": "good"})
        for seq in (4, 5, 7):
            event = replace(good.events[0], seq=seq)
            with pytest.raises(StoreError, match=f"event {seq} of {REPO}-1 does not follow event 5"):
                store.write(Batch(marks={"s": 1}), replace(good, events=(event,)))
        for name in ("", "a/b"):
            with pytest.raises(StoreError, match="cannot be the id"):
                store.write(Batch(events=(replace(good.events[0], task=name),)))
        store.write(good)
        assert store.load() == model.loaded


@pytest.mark.parametrize("value", [object(), "\ud800", 2**70, {"x": [object()]}])
def test_a_value_without_a_plain_form_is_refused_and_the_store_goes_on(place: Place, value: object) -> None:
    with place.open() as store:
        model = Model()
        with pytest.raises((TypeError, ValueError, OverflowError)):
            store.write(Batch(marks={"s": 1}), Batch(records={"r": value}))
        store.write(model.add())
        assert store.load() == model.loaded


def test_a_reply_that_is_dropped_and_given_anew_is_the_new_one(place: Place) -> None:
    with place.open() as store:
        kept = KeptReply(at=1.0, reply=Reply(value=1))
        store.write(Batch(replies={"key": kept}, dropped_replies=("key",)))
        assert store.load().replies == {"key": kept}


def test_a_message_that_is_acknowledged_in_the_batch_that_adds_it_is_gone(place: Place) -> None:
    with place.open() as store:
        message = ReleaseLanding(seq=1, repo=REPO, task="t")
        store.write(Batch(outbox=(Outgoing(destination="d", message=message),), dropped_outbox=(("d", 1),)))
        assert store.load().outbox == ()
        assert store.load().next_out == {"d": 2}


def test_a_closed_store_takes_no_more_writes(place: Place) -> None:
    store = place.open()
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.write(Batch(marks={"s": 1}))


def test_the_store_of_another_repository_is_refused(place: Place) -> None:
    place.open().close()
    with pytest.raises(StoreError, match=f"store of repository {REPO}, not of other"):
        place.open("other")
    place.open().close()


def test_a_newer_format_is_refused_with_a_remedy_and_stays_as_it_is(place: Place) -> None:
    place.open().close()
    place.change({b"m/format": msgpack.packb(2)})
    for _ in range(2):
        with pytest.raises(StoreError, match="has format 2") as caught:
            place.open()
        assert "newer version" in caught.value.remedy
        assert not isinstance(caught.value, StoreDamagedError)


def test_an_older_format_is_migrated_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.open().close()
    place.change({b"m/format": msgpack.packb(0), b"m/next": msgpack.packb("7")})
    calls = []

    def migrate(rows: Rows) -> Changes:
        calls.append(rows)
        return {b"m/next": msgpack.packb(int(msgpack.unpackb(rows.get(b"m/next"))))}

    monkeypatch.setitem(store_module.MIGRATIONS, 0, migrate)
    for _ in range(2):
        with place.open() as store:
            assert store.load().next_number == 7
    assert len(calls) == 1


def test_packing_gives_the_bytes_of_the_plain_form() -> None:
    pack = new_packer()
    for value in (all_fields(), KeptReply(at=1.0, reply=Reply(value={"a": [1, None]})), (1, b"x"), frozenset({2, 1})):
        assert pack(value) == msgpack.packb(to_plain(value))
        assert unpack(pack(value)) == to_plain(value)


# --- Verification ---------------------------------------------------------------------------------------------


def wrong_value(key: bytes, value: object) -> Callable[[Rows], Changes]:
    return lambda rows: {key: msgpack.packb(value)}


def rewritten(rows: Rows) -> Changes:
    """An event that says something else, with its hash recorded nowhere."""
    row = rows.get(b"e/%016d" % 7)
    assert row is not None
    event = msgpack.unpackb(row[32:])
    event["changes"]["reason"] = "a lie"
    return {b"e/%016d" % 7: row[:32] + msgpack.packb(event)}


DAMAGES: dict[str, tuple[Callable[[Rows], Changes], str, int | None]] = {
    "an event rewritten": (rewritten, "event 8 does not follow", 8),
    "an event missing": (lambda rows: {b"e/%016d" % 7: None}, "event 7 is missing", 7),
    "an event garbled": (lambda rows: {b"e/%016d" % 7: (rows.get(b"e/%016d" % 7) or b"")[:-9]}, "cannot be read", 7),
    "an index row missing": (lambda rows: {b"x/my-project-1/%016d" % 7: None}, "not in the index", 7),
    "an index row too many": (lambda rows: {b"x/other/%016d" % 7: b""}, "the index names events", None),
    "a task rewritten": (wrong_value(b"s/my-project-2", to_plain(all_fields())), "my-project-2 is not what", None),
    "a task garbled": (wrong_value(b"s/my-project-2", {"id": 1}), "cannot be read", None),
    "a task missing": (lambda rows: {b"s/my-project-2": None}, "my-project-2 has events, but no row", None),
    "a task too many": (wrong_value(b"s/x-1", to_plain(all_fields())), "x-1 is not what", None),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_verification_finds(damage: str, place: Place) -> None:
    change, problem, first_bad = DAMAGES[damage]
    with place.open() as store:
        filled(store)
        assert store.verify().ok
        rows = store._rows
        rows.write(change(rows), sync=True)
        found = store.verify()
    assert not found.ok
    assert problem in found.problem
    assert found.first_bad_seq == first_bad
    assert found.events == (20 if first_bad is None else first_bad - 1)


@pytest.mark.parametrize(
    ("kind", "changes", "problem"),
    [
        ("moved", {"id": "n-1", "repo": REPO, "title": "t"}, "the first of a task"),
        ("added", {"id": "n-1", "repo": REPO}, "title"),
        ("added", {"id": "n-2", "repo": REPO, "title": "t"}, "makes it n-2"),
        ("added", {"id": "n-1", "repo": REPO, "title": "t", "color": "red"}, "color"),
    ],
)
def test_verification_finds_events_that_do_not_fold(kind: str, changes: dict[str, Any], problem: str) -> None:
    store = Store(MemoryRows(), repo=REPO)
    task = Task(id="n-1", repo=REPO, title="t")
    store.write(Batch(events=(Event(seq=1, task="n-1", at=1.0, kind=kind, changes=changes),), tasks=(task,)))
    found = store.verify()
    assert problem in found.problem
    assert (found.ok, found.first_bad_seq) == (False, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {b"m/head": None},
        {b"m/head": msgpack.packb((19, bytes(32)))},
        {b"m/head": msgpack.packb((20, bytes(32)))},
        {b"e/%016d" % 20: None},
        {b"e/%016d" % 21: b"x"},
        {b"m/format": None},
        {b"m/format": b"\xc1"},
        {b"m/epoch": None},
    ],
    ids=str,
)
def test_a_store_with_a_wrong_end_or_format_does_not_open(place: Place, changes: Changes) -> None:
    with place.open() as store:
        filled(store)
    place.change(changes)
    with pytest.raises(StoreDamagedError):
        place.open()


@pytest.mark.parametrize("key", [b"s/x-1", b"i/x", b"k/x", b"o/d/1", b"m/out/d", b"l/x", b"m/next"])
@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x93\x01", msgpack.packb([1, [2]]), msgpack.packb(["d", "No", {}])])
def test_a_row_that_cannot_be_read_is_damage(key: bytes, value: bytes) -> None:
    rows = MemoryRows()
    store = Store(rows, repo=REPO)
    rows.write({key: value}, sync=True)
    if key == b"l/x" and value[:1] in (b"\x92", b"\x93") and len(value) > 2:
        assert store.load().records
    else:
        with pytest.raises(StoreDamagedError, match="memory: row"):
            store.load()


# --- Crashes of memory ----------------------------------------------------------------------------------------


def test_a_crash_takes_back_what_was_not_synced_and_nothing_else() -> None:
    rows = MemoryRows()
    store = Store(rows, repo=REPO, epoch="first")
    model = Model()
    store.write(model.add())
    store.write(Batch(marks={"s": 1}, replies={"k": KeptReply(at=1.0, reply=Reply())}), sync=False)
    store.write(model.mark("s", 2))
    model.reply("k", KeptReply(at=1.0, reply=Reply()))
    ghost = Model(loaded=replace(model.loaded, tasks=dict(model.loaded.tasks)), events=list(model.events))
    store.write(ghost.add(), Batch(marks={"s": 3}, dropped_replies=("k",)), sync=False)
    store.write(Batch(marks={"s": 4}), sync=False)
    assert len(store.load().tasks) == 2
    rows.crash()
    store = Store(rows, repo=REPO)
    assert store.load() == model.loaded
    assert store.verify().ok


class Interrupted(MemoryRows):
    """Rows whose next write is interrupted after it has happened."""

    armed = False

    def write(self, changes: Any, *, sync: bool) -> None:
        super().write(changes, sync=sync)
        if self.armed:
            raise KeyboardInterrupt


def test_a_write_that_was_interrupted_is_the_last_one() -> None:
    rows = Interrupted()
    store = Store(rows, repo=REPO)
    rows.armed = True
    model = Model()
    with pytest.raises(KeyboardInterrupt):
        store.write(model.add())
    rows.armed = False
    with pytest.raises(StoreError, match="earlier write failed"):
        store.write(model.add())
    assert Store(rows, repo=REPO).load().last_seq == 1
