"""Repositories of one integration set on different hosts: what one needs of the other comes over the bus."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts import Hosts, standing
from tests.office import Office
from tests.repositories import commit, commit_aside, git, make_repository
from tests.requirements import needs
from tests.systems import DEADLINE_S, System, landings, systems
from thrum.actors.effects import Outcome, Worldly
from thrum.actors.inquiry import ASK_AGAIN_S, LONGEST_S, PATIENCE_S, Bundles, Inquiry, Tips
from thrum.actors.neighbours import FRESH_S, Neighbours, hosts_of
from thrum.actors.turn import Send
from thrum.actors.vector import VECTOR, Told, Vector
from thrum.checking import CheckRunner
from thrum.config import EngineConfig, PipelineConfig, Project, RepoConfig, SandboxConfig
from thrum.errors import GitError
from thrum.files import OutputStore
from thrum.gate import Check, Gate, Verdict
from thrum.git.repository import Repository
from thrum.inputs import (
    BranchBlocked,
    BranchLanded,
    BranchMoved,
    BuildCandidate,
    CandidateBlocked,
    CandidateBuilt,
    Input,
    MoveBranch,
)
from thrum.messages import Envelope, Header, Message, Reply
from thrum.messages.control import Undeliverable
from thrum.messages.gates import RunGate
from thrum.messages.people import ApproveTask, GetRepoStatus
from thrum.messages.vector import PIECE_BYTES, AnswerAwaited, BundlePiece, GetBundle, GetTip, TipTold
from thrum.sandbox.process import StopEvent
from thrum.tree.spawning import endpoint_of
from thrum.wire import Dealer, new_incarnation

pytestmark = pytest.mark.timeout(600)
LIMIT_BYTES = 8 * PIECE_BYTES
ONE, TWO = "1" * 40, "2" * 40


def tip(repo: Path) -> str:
    return git(repo, "rev-parse", "main")


def kept(repo: Path, member: str) -> list[str]:
    """The commits of the other host's repository that are kept."""
    return git(repo, "for-each-ref", "--format=%(objectname)", f"{VECTOR}{member}/").split()


def approved(office: Office, repo: str) -> str:
    """A task that only has to land."""
    task = office.add("Do it", repo)
    office.until(task, "awaiting-approval", deadline_s=DEADLINE_S)
    office.decide(ApproveTask, task)
    return task


# --- Two hosts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sandbox", ["none", pytest.param("os-native", marks=needs("bwrap"))])
def test_gate_3_reads_the_files_of_a_repository_on_another_host(tmp_path: Path, sandbox: str) -> None:
    with standing(tmp_path, sandbox=sandbox) as made, Office(made.one, "a", "b") as office:
        assert not made.one.repo("b").exists()
        assert not made.two.repo("a").exists()
        task = approved(office, "a")
        shown = office.until(task, "merged", deadline_s=DEADLINE_S)
        gate = next(gate for gate in shown["gates"] if gate["gate"] == "integration")
        assert {check["name"]: check["verdict"] for check in gate["checks"]} == {"read": "passed", "compare": "passed"}
        [receipt] = office.events(task, "merged")
        assert receipt["vector"] == {"a": tip(made.a), "b": tip(made.b)}
        assert kept(made.a, "b") == [tip(made.b)]
        # And the other way round, in gate actors of the other host.
        task = approved(office, "b")
        office.until(task, "merged", deadline_s=DEADLINE_S)
        [receipt] = office.events(task, "merged")
        assert receipt["vector"] == {"a": tip(made.a), "b": tip(made.b)}
        assert kept(made.b, "a") == [tip(made.a)]


def test_a_neighbour_that_breaks_the_set_from_another_host_fails_gate_3(tmp_path: Path) -> None:
    with standing(tmp_path, engine="max_retries = 0") as made, Office(made.one, "a", "b") as office:
        git(made.b, "rm", "--quiet", "words.txt")
        commit(made.b, {})
        task = approved(office, "a")
        shown = office.until(task, "failed", deadline_s=DEADLINE_S)
        assert "words.txt" in shown["reason"] + str(shown["gates"])
        assert landings(made.a) == []


def test_a_tip_on_another_host_that_moved_before_the_swap_makes_a_new_candidate(tmp_path: Path) -> None:
    with standing(tmp_path) as made, Office(made.one, "a", "b") as office:
        made.hold()
        old, task = tip(made.b), approved(office, "a")
        held = made.held()
        assert kept(made.a, "b") == [old]
        new = commit(made.b, {"words.txt": "other words\n"})
        made.release(held)
        office.until(task, "merged", deadline_s=DEADLINE_S)
        assert [(missed["repo"], missed["tip"]) for missed in office.events(task, "landing-missed")] == [("b", new)]
        assert [built["vector"]["b"] for built in office.events(task, "candidate-built")] == [old, new]
        [receipt] = office.events(task, "merged")
        assert receipt["vector"]["b"] == new
        assert kept(made.a, "b") == [new], "nobody needs the other any more"
        assert len(landings(made.a)) == 1


def test_a_landing_waits_for_a_host_that_is_away_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    with standing(tmp_path) as made, Office(made.one, "a", "b") as office:
        made.stop()
        task = approved(office, "a")
        shown = office.until(task, "integrating", waiting_for="host", deadline_s=DEADLINE_S)
        assert shown["reason"] == "b on host 'two' does not answer"
        assert "waiting for host" in made.one.run("status").stdout
        made.start()
        office.until(task, "merged", deadline_s=DEADLINE_S)
        assert len(landings(made.a)) == 1


def test_nothing_is_landed_blindly_while_the_host_of_another_tip_is_away(tmp_path: Path) -> None:
    with standing(tmp_path) as made, Office(made.one, "a", "b") as office:
        made.hold()
        task = approved(office, "a")
        held = made.held()
        made.stop()
        made.release(held)
        shown = office.until(task, "gate3", waiting_for="host", deadline_s=DEADLINE_S)
        assert shown["reason"] == "b on host 'two' does not answer"
        assert landings(made.a) == []
        new = commit(made.b, {"words.txt": "other words\n"})
        made.start()
        office.until(task, "merged", deadline_s=DEADLINE_S)
        [receipt] = office.events(task, "merged")
        assert receipt["vector"]["b"] == new


def test_a_task_says_that_the_keeper_of_the_landing_lock_is_away_and_lands_when_it_is_back(tmp_path: Path) -> None:
    with standing(tmp_path, first="b") as made, Office(made.one, "a", "b") as office:
        made.stop()
        task = approved(office, "a")
        shown = office.until(task, "approved", waiting_for="host", deadline_s=DEADLINE_S)
        assert shown["reason"] == "repo.b, which keeps the landing lock of b, a, does not answer"
        ran = made.one.run("run", check=False)
        assert (ran.returncode, "keeps the landing lock" in ran.stdout) == (1, True), "a run does not wait for it"
        made.start()
        office.until(task, "merged", deadline_s=DEADLINE_S)


def test_commands_start_no_actor_for_a_repository_on_another_host_and_say_where_it_is(tmp_path: Path) -> None:
    one = Hosts(tmp_path).one
    assert one.json("task", "list") == []
    assert [path.name for path in (one.directory / ".thrum/store").iterdir()] == ["a"]
    told = one.run("check", check=False).stdout
    assert "b: host = 'two': its actors run there" in told
    assert str(one.repo("b")) not in told
    ran = one.run("gate", "run", "--repo", "a", "--gate", "integration", check=False)
    assert (ran.returncode, "needs b, which lies on another host (two)" in ran.stderr) == (1, True)


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[System]:
    """A system that is up, whose repository takes a moment to bundle."""
    for system in systems(tmp_path / "one"):
        commit(system.repo(), {"large": os.urandom(16 * PIECE_BYTES)})
        system.up()
        with system.client() as client:
            client.request("repo.one", GetRepoStatus(), timeout_s=DEADLINE_S)
        yield system


def test_a_question_that_is_asked_again_while_its_answer_is_made_is_told_so(busy: System) -> None:
    answers: list[Message] = []
    with Dealer(endpoint_of(busy.directory), "repo.x", new_incarnation(time.time())) as dealer:

        def answered() -> bool:
            dealer.wait(0.1)
            answers.extend(envelope.body for envelope in dealer.receive())
            return BundlePiece in map(type, answers)

        for _ in range(3):
            dealer.send("repo.one", GetBundle(commit=tip(busy.repo())), id="q")
        busy.until(answered, "a piece of the bundle")
    assert [type(answer) for answer in answers] == [AnswerAwaited, AnswerAwaited, BundlePiece]


# --- A hostile neighbour ----------------------------------------------------------------------------------------------


def bundle_of(repo: Path, commit: str, have: tuple[str, ...] = ()) -> bytes:
    """What git writes, without asking whether it is sound."""
    git(repo, "update-ref", "refs/heads/evil", commit)
    git(repo, "bundle", "create", "--quiet", "evil.bundle", "refs/heads/evil", *(f"^{one}" for one in have))
    return (repo / "evil.bundle").read_bytes()


def with_git_folder(repo: Path) -> str:
    """A commit with a file in a folder named `.git`, which would be a hook where it is checked out."""
    blob = git(repo, "hash-object", "-w", "--stdin", stdin=b"#!/bin/sh\n")
    inner = git(repo, "mktree", stdin=f"100755 blob {blob}\tpost-checkout\n".encode())
    outer = git(repo, "mktree", stdin=f"040000 tree {inner}\t.git\n".encode())
    return git(repo, "commit-tree", outer, "-m", "Evil")


def incomplete(repo: Path) -> str:
    """A commit whose tree names a file that is nowhere."""
    tree = git(repo, "mktree", "--missing", stdin=f"100644 blob {'ab' * 20}\tghost\n".encode())
    return git(repo, "commit-tree", tree, "-m", "Ghost")


def another(repo: Path) -> str:
    return commit_aside(repo, tip(repo), {"words.txt": "not what was asked for\n"})


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two repositories that know nothing of each other."""
    return make_repository(tmp_path / "a"), make_repository(tmp_path / "b", {"words.txt": "first words\n"})


def project_of(a: Path, **b: str) -> Project:
    """The configuration on the host of `a`: `b` lies on another."""
    repos = (
        RepoConfig(name="a", path=str(a)),
        RepoConfig(name="b", path=str(a.parent / "nowhere"), host="two", **b),  # type: ignore[arg-type]
    )
    pipeline = PipelineConfig(
        engine=EngineConfig(worktrees_dir=str(a.parent / "work")), sandbox=SandboxConfig(backend="none")
    )
    return Project(directory=str(a.parent), repos=repos, pipeline=pipeline)


def vector_of(repo: Path, *, limit_bytes: int = LIMIT_BYTES) -> Vector:
    return Vector(Repository(repo, "main"), {}, repo.parent / f"bundles-{repo.name}", limit_bytes=limit_bytes)


def told(commit: str) -> Told:
    return Told(tips={"b": commit})


def test_a_fake_neighbour_gets_nothing_into_the_repository_and_the_task_says_what_was_wrong(tmp_path: Path) -> None:
    with standing(tmp_path) as made, Office(made.one, "a", "b") as office:
        made.stop()
        evil = with_git_folder(made.b)
        bundle = bundle_of(made.b, evil)
        with Dealer(endpoint_of(made.one.directory), "repo.b", new_incarnation(time.time())) as fake:
            task = approved(office, "a")
            deadline = time.monotonic() + DEADLINE_S
            while (shown := office.desk.task(task))["waiting_for"] != "operator" and time.monotonic() < deadline:
                fake.ping()
                fake.wait(0.1)
                for envelope in fake.receive():
                    answer: dict[type[Message], Message] = {
                        GetTip: TipTold(commit=evil),
                        GetBundle: BundlePiece(bundle="x", offset=0, total_bytes=len(bundle), data=bundle),
                        GetRepoStatus: Reply(),
                    }
                    if type(envelope.body) in answer:
                        header = envelope.header
                        fake.send(header.sender, answer[type(envelope.body)], correlation=header.id)
        assert (shown["state"], shown["waiting_for"]) == ("integrating", "operator")
        assert "the bundle was refused" in shown["reason"]
        assert kept(made.a, "b") == []
        assert landings(made.a) == []
        assert git(made.a, "cat-file", "-t", evil, check=False) == "", "nothing of it is in the repository"


@pytest.mark.parametrize("make", [with_git_folder, incomplete, another])
def test_what_is_unsound_or_was_not_asked_for_is_not_taken_in(
    pair: tuple[Path, Path], make: Callable[[Path], str]
) -> None:
    a, b = pair
    made = make(b)
    file = a.parent / "in"
    if make is incomplete:
        # git itself would not write one that lacks an object.
        pack = git(b, "pack-objects", "pack", stdin=f"{made}\n{git(b, 'rev-parse', f'{made}^{{tree}}')}\n".encode())
        header = f"# v2 git bundle\n{made} refs/heads/evil\n\n".encode()
        file.write_bytes(header + (b / f"pack-{pack}.pack").read_bytes())
    else:
        file.write_bytes(bundle_of(b, made))
    asked = tip(b) if make is another else made
    with pytest.raises(GitError, match=r"refused|was asked for"):
        vector_of(a).take_in(told(asked), {"b": file}, ())
    assert kept(a, "b") == []
    assert git(a, "cat-file", "-t", made, check=False) == ""


def test_a_bundle_larger_than_the_limit_is_not_taken_in(pair: tuple[Path, Path]) -> None:
    a, b = pair
    new = commit(b, {"large": os.urandom(100_000)})
    file = a.parent / "in"
    file.write_bytes(bundle_of(b, new))
    with pytest.raises(GitError, match="more than the limit"):
        vector_of(a, limit_bytes=50_000).take_in(told(new), {"b": file}, ())
    assert kept(a, "b") == []


@pytest.mark.parametrize("name", ["--all", "main", "ab" * 20 + "\n", "AB" * 20, ""])
def test_what_is_no_commits_name_is_asked_of_git_on_neither_side(pair: tuple[Path, Path], name: str) -> None:
    _, b = pair
    inquiry = Tips("x", ("b",), 0.0)
    said(inquiry, asked(inquiry, 0.0), TipTold(commit=name), 1.0)
    assert inquiry.tips == {}
    assert "no commit's name" in inquiry.refused["b"]
    with pytest.raises(GitError, match="no commit's name"):
        vector_of(b).piece(GetBundle(commit=name))
    with pytest.raises(GitError, match="no commit's name"):
        vector_of(b).piece(GetBundle(commit=tip(b), have=(name,)))


# --- Bundles ----------------------------------------------------------------------------------------------------------


def brought(source: Vector, target: Vector, commit: str, needed: tuple[str, ...] = ()) -> int:
    """Have the commit brought over as actors do it; how many bytes that took."""
    wanted = target.lacking(told(commit))
    if not wanted:
        target.take_in(told(commit), {}, needed)
        return 0
    file = target.room() / "in"
    asked, data = wanted["b"], b""
    while True:
        piece = source.piece(GetBundle(commit=asked.commit, have=asked.have, offset=len(data)))
        data += piece.data
        assert len(piece.data) <= PIECE_BYTES
        if len(data) == piece.total_bytes:
            break
    file.write_bytes(data)
    target.take_in(told(commit), {"b": file}, needed)
    return len(data)


def test_a_second_bundle_holds_only_what_is_new(pair: tuple[Path, Path]) -> None:
    a, b = pair
    source, target = vector_of(b), vector_of(a)
    commit(b, {"large": os.urandom(2 * PIECE_BYTES)})
    assert brought(source, target, tip(b)) > 2 * PIECE_BYTES
    new = commit(b, {"words.txt": "other words\n"})
    assert 0 < brought(source, target, new) < 2_000
    assert kept(a, "b") == [new]
    assert git(a, "show", f"{new}:words.txt") == "other words"
    assert brought(source, target, new) == 0


def test_a_branch_that_was_set_back_needs_no_bundle(pair: tuple[Path, Path]) -> None:
    a, b = pair
    source, target = vector_of(b), vector_of(a)
    old = tip(b)
    new = commit(b, {"words.txt": "other words\n"})
    brought(source, target, new)
    assert brought(source, target, old) == 0
    assert kept(a, "b") == [old]


def test_a_commit_that_a_task_needs_stays(pair: tuple[Path, Path]) -> None:
    a, b = pair
    source, target = vector_of(b), vector_of(a)
    old = tip(b)
    brought(source, target, old)
    new = commit(b, {"words.txt": "other words\n"})
    brought(source, target, new, needed=(old,))
    assert sorted(kept(a, "b")) == sorted([old, new])
    brought(source, target, new)
    assert kept(a, "b") == [new]


def test_a_commit_that_is_not_on_the_branch_is_not_given_away(pair: tuple[Path, Path]) -> None:
    _, b = pair
    aside = commit_aside(b, tip(b), {"secret": "x\n"})
    with pytest.raises(GitError, match="is not on 'main' any more"):
        vector_of(b).piece(GetBundle(commit=aside))


def test_a_bundle_is_made_once_for_all_its_pieces_and_anew_after_a_restart(pair: tuple[Path, Path]) -> None:
    _, b = pair
    asked = GetBundle(commit=tip(b), have=("ab" * 20,))
    source = vector_of(b)
    first = source.piece(asked)
    assert source.piece(asked) == first
    again = vector_of(b)
    again.clear()
    assert again.piece(asked).bundle != first.bundle
    assert len(list(again.folder.iterdir())) == 1


def test_a_check_and_its_setup_run_on_what_was_brought_in(pair: tuple[Path, Path]) -> None:
    a, b = pair
    brought(vector_of(b), vector_of(a), tip(b))
    project = project_of(a, setup_cmd='cp words.txt "$THRUM_SETUP"')
    check = Check(name="step", repo="b", command='cat "$THRUM_SETUP/words.txt" && ls')
    asked = RunGate(run="r", gate=Gate.INTEGRATION, checks=(check,), vector={"a": tip(a), "b": tip(b)}, home="a")
    runner = CheckRunner(project, OutputStore(a.parent / "outputs"), a.parent / "rooms", "vector-test")
    [result] = runner.run(asked, StopEvent()).checks
    runner.close()
    assert (result.verdict, result.tail) == (Verdict.PASSED, "first words\nwords.txt\n"), result.reason


# --- An effect that needs a neighbour ---------------------------------------------------------------------------------


class Loop:
    """The neighbours of `a` without its loop: the test answers for `b`, and is the thread of the effects."""

    def __init__(self, a: Path, b: Path) -> None:
        project = project_of(a)
        repo = project.repos[0]
        self.b = vector_of(b)
        self.world = Worldly(project, repo, OutputStore(a.parent / "outputs"), ("a", "b"))
        self.sends: list[Send] = []
        self.todo: list[Callable[[], Outcome]] = []
        self.neighbours = Neighbours(
            hosts_of(project, repo, ("a", "b")),
            self.world,
            address="repo.a#1-a",
            send=self.sends.append,
            submit=self.todo.append,
            needed=frozenset,
            limit_bytes=LIMIT_BYTES,
        )

    def run(self, now: float) -> list[Input]:
        """Answer what is asked and do what is to be done, until nothing more is; what came of effects."""
        given: list[Input] = []
        self.neighbours.step(now)
        while self.sends or self.todo:
            for send in self.sends:
                answer = self.b.piece(send.body) if isinstance(send.body, GetBundle) else self.b.tip()
                header = Header(kind=type(answer).__name__, id="y", correlation=send.id)
                assert self.neighbours.hear(Envelope(destination="repo.a", header=header, body=answer), now)
            self.sends.clear()
            todo, self.todo[:] = list(self.todo), []
            for outcome in (work() for work in todo):
                given += [outcome.given] if outcome.given is not None else []
                if outcome.then is not None:
                    outcome.then(now)
            self.neighbours.step(now)
        return given


def candidate(loop: Loop, a: Path, now: float) -> CandidateBuilt:
    work = commit_aside(a, tip(a), {"work": "done\n"})
    effect = BuildCandidate(task="a-1", head=work, attempt_base=tip(a), files=("work",), title="Do it")
    loop.neighbours.carry_out(effect, now)
    loop.neighbours.step(now)
    loop.sends.clear()  # they got lost, and the effect was asked for again
    loop.neighbours.carry_out(effect, now)
    [built] = loop.run(now)
    assert isinstance(built, CandidateBuilt)
    return built


def swap(built: CandidateBuilt) -> MoveBranch:
    return MoveBranch(task="a-1", old=built.base, new=built.commit, vector=built.vector)


def test_a_candidate_is_built_once_with_all_that_its_vector_names(pair: tuple[Path, Path]) -> None:
    a, b = pair
    commit(b, {"large": os.urandom(2 * PIECE_BYTES)})
    loop = Loop(a, b)
    built = candidate(loop, a, time.time())
    assert built.vector == {"a": built.commit, "b": tip(b)}
    assert kept(a, "b") == [tip(b)]
    assert [path.name for path in loop.world.vector.folder.iterdir()] == [], "what was on its way is gone"


def test_tips_that_were_told_long_ago_are_asked_for_again_before_the_swap(pair: tuple[Path, Path]) -> None:
    a, b = pair
    loop = Loop(a, b)
    built = candidate(loop, a, time.time())
    loop.neighbours.carry_out(swap(built), time.time() - FRESH_S - 5)
    loop.neighbours.step(time.time() - FRESH_S - 5)
    [send] = loop.sends
    header = Header(kind="TipTold", id="y", correlation=send.id)
    loop.neighbours.hear(Envelope(destination="repo.a", header=header, body=loop.b.tip()), 0.0)
    loop.neighbours.step(time.time() - FRESH_S - 5)
    loop.sends.clear()
    # Meanwhile the thread had other work to do.
    new = commit(b, {"words.txt": "other words\n"})
    assert loop.run(time.time()) == [BranchMoved(tip=new, repo="b")]
    assert tip(a) == built.base


def test_an_answer_to_an_earlier_inquiry_counts_for_nothing(pair: tuple[Path, Path]) -> None:
    a, b = pair
    loop = Loop(a, b)
    built = candidate(loop, a, time.time())
    ids = []
    for _ in range(2):
        loop.neighbours.carry_out(swap(built), 100.0)
        loop.neighbours.step(100.0)
        ids.append(loop.sends[-1].id)
    answers = [
        Envelope(
            destination="repo.a", header=Header(kind="TipTold", id="y", correlation=id), body=TipTold(commit=tip(b))
        )
        for id in ids
    ]
    assert [loop.neighbours.hear(answer, 100.0) for answer in answers] == [False, True]


def test_a_branch_that_was_moved_is_settled_although_the_other_host_is_away(pair: tuple[Path, Path]) -> None:
    a, b = pair
    loop = Loop(a, b)
    now = time.time()
    built = candidate(loop, a, now)
    away = Told(tips={}, trouble="b does not answer", absent=True)
    blocked = BranchBlocked(reason="b does not answer", checkout=False, host=True)
    assert loop.world.move_branch(swap(built), away) == blocked
    assert tip(a) == built.base
    loop.neighbours.carry_out(swap(built), now)
    assert loop.run(now) == [BranchLanded(commit=built.commit)]
    assert loop.world.move_branch(swap(built), away) == BranchLanded(commit=built.commit)


def test_who_does_not_answer_blocks_the_candidate_by_name(pair: tuple[Path, Path]) -> None:
    loop = Loop(*pair)
    effect = BuildCandidate(task="a-1", head="h", attempt_base="b", files=(), title="Do it")
    loop.neighbours.carry_out(effect, 100.0)
    assert loop.neighbours.next_at() <= 100.0
    loop.neighbours.step(100.0 + PATIENCE_S)
    [work] = loop.todo
    assert work().given == CandidateBlocked(reason="b on host 'two' does not answer", host=True)
    assert loop.neighbours.next_at() == float("inf")


# --- An inquiry -------------------------------------------------------------------------------------------------------


def said(inquiry: Inquiry, id: str, body: Message, now: float) -> bool:
    header = Header(kind=type(body).__name__, id="y", source="repo.b", incarnation="1-a", correlation=id)
    return inquiry.hear(Envelope(destination="repo.a", header=header, body=body), now)


def asked(inquiry: Inquiry, now: float) -> str:
    """The id of the one question that is due."""
    [send] = inquiry.due(now)
    assert send.destination == "repo.b"
    return send.id


def test_a_question_is_asked_again_under_its_id_until_it_is_answered() -> None:
    inquiry = Tips("x", ("b",), 100.0)
    id = asked(inquiry, 100.0)
    assert inquiry.due(100.0 + ASK_AGAIN_S - 0.1) == []
    assert asked(inquiry, 100.0 + ASK_AGAIN_S) == id
    assert not said(inquiry, "another", TipTold(commit=ONE), 104.0), "it was asked by somebody else, or long ago"
    assert not inquiry.over
    assert said(inquiry, id, TipTold(commit=ONE), 104.0)
    assert (inquiry.over, inquiry.tips, inquiry.silent, inquiry.refused) == (True, {"b": ONE}, [], {})
    assert not said(inquiry, id, TipTold(commit=TWO), 104.0)
    assert inquiry.tips == {"b": ONE}


def test_who_is_not_heard_of_in_time_is_silent_and_who_is_at_work_is_waited_for() -> None:
    inquiry = Tips("x", ("b",), 100.0)
    id = asked(inquiry, 100.0)
    said(inquiry, id, Undeliverable(destination="repo.b", reason="is not connected"), 101.0)
    assert inquiry.next_at() == 102.0, "it may be starting"
    said(inquiry, id, AnswerAwaited(), 105.0)
    asked(inquiry, 105.0 + PATIENCE_S - 0.1)
    assert not inquiry.over
    assert inquiry.due(105.0 + PATIENCE_S) == []
    assert (inquiry.over, inquiry.silent) == (True, ["b"])


def test_nobody_is_waited_for_without_end() -> None:
    inquiry = Tips("x", ("b",), 0.0)
    now = 0.0
    while inquiry.due(now):
        said(inquiry, "x.1", AnswerAwaited(), now)
        now += ASK_AGAIN_S
    assert (inquiry.silent, now < LONGEST_S + 2 * ASK_AGAIN_S) == (["b"], True)


@pytest.mark.parametrize(("body", "why"), [(Reply(ok=False, message="it is gone"), "it is gone"), (GetTip(), "GetTip")])
def test_who_cannot_answer_is_not_asked_again(body: Message, why: str) -> None:
    for inquiry in (Tips("x", ("b",), 0.0), bundles()):
        assert said(inquiry, asked(inquiry, 0.0), body, 1.0)
        assert inquiry.over
        assert why in inquiry.refused["b"]


def bundles(limit_bytes: int = 100) -> Bundles:
    return Bundles("x", {"b": GetBundle(commit="c", have=("d",))}, 0.0, limit_bytes=limit_bytes)


def piece(offset: int, data: bytes, total_bytes: int = 6, bundle: str = "one") -> BundlePiece:
    return BundlePiece(bundle=bundle, offset=offset, total_bytes=total_bytes, data=data)


def test_a_bundle_comes_piece_by_piece() -> None:
    inquiry = bundles()
    first = asked(inquiry, 0.0)
    said(inquiry, first, piece(0, b"abc"), 1.0)
    [send] = inquiry.due(1.0)
    assert send.body == GetBundle(commit="c", have=("d",), offset=3)
    assert not said(inquiry, first, piece(0, b"abc"), 1.0), "the first answer came twice"
    said(inquiry, send.id, piece(3, b"def"), 2.0)
    assert [(one.offset, one.data) for one in inquiry.arrived] == [(0, b"abc"), (3, b"def")]
    assert (inquiry.over, inquiry.refused) == (True, {})


def test_a_bundle_that_was_made_anew_is_fetched_from_its_beginning() -> None:
    inquiry = bundles()
    said(inquiry, asked(inquiry, 0.0), piece(0, b"abc"), 1.0)
    said(inquiry, asked(inquiry, 1.0), piece(3, b"xyz", bundle="two"), 2.0)
    [send] = inquiry.due(2.0)
    assert send.body == GetBundle(commit="c", have=("d",), offset=0)
    said(inquiry, send.id, piece(0, b"uvwxyz", bundle="two"), 3.0)
    assert [(one.offset, one.data) for one in inquiry.arrived] == [(0, b"abc"), (0, b"uvwxyz")]
    assert inquiry.over


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (piece(0, b"abc", total_bytes=101), "more than the limit of 100"),
        (piece(0, b""), "breaks off"),
        (piece(3, b"abc"), "breaks off"),
        (piece(0, b"abcdefg"), "breaks off"),
        (piece(-1, b"a"), "breaks off"),
    ],
)
def test_a_piece_that_cannot_be_is_refused_and_not_kept(answer: BundlePiece, why: str) -> None:
    inquiry = bundles()
    said(inquiry, asked(inquiry, 0.0), answer, 1.0)
    assert why in inquiry.refused["b"]
    assert (inquiry.over, inquiry.arrived) == (True, [])
