"""The whole house: it builds all the processes, kills and restarts them, and lets a run go from chaos to rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.bus import WIRES, Bus, Process
from tests.simulation.git import Commit, Repository, commit
from tests.simulation.people import Person
from tests.simulation.processes import GateProcess, SchedulerProcess, Slot, WorkerProcess
from tests.simulation.promises import Broken, Promises
from tests.simulation.repo_process import RepoProcess
from tests.simulation.world import Killed, World
from thrum.actors.gate_runs import GatePlan
from thrum.actors.ledger import Ledger
from thrum.actors.setup import Setup
from thrum.batch import Loaded
from thrum.gate import Check, Gate
from thrum.pipeline.draft import Rules
from thrum.scheduling import Limits
from thrum.store import MemoryRows, Store


def open_store(rows: MemoryRows, repo: str) -> Store:
    """The repository's store."""
    return Store(rows, repo=repo, epoch=f"store-{repo}")


def make_ledger(setup: Setup, loaded: Loaded, epoch: str) -> Ledger:
    """The repository's ledger."""
    return Ledger(setup, loaded, epoch=epoch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is like; everything else follows from its seed."""

    seed: int
    chaos_s: float = 150.0
    """How long things go wrong; virtual time, like the next."""
    rest_s: float = 3600.0
    """How long it may take until all is at rest after that."""
    crash: float = 0.004
    """How probable it is that a repo actor dies at any one of its steps."""
    tasks: int = 10
    open_store: Callable[[MemoryRows, str], Store] = open_store
    make_ledger: Callable[[Setup, Loaded, str], Ledger] = make_ledger


class Simulation:
    """One run. A broken promise raises `Broken` with the seed and the last steps."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.world = World(plan.seed)
        self.world.faulty = plan.chaos_s > 0
        rng = self.world.rng
        tied = rng.random() < 0.7
        self.sets: tuple[tuple[str, ...], ...] = (("a", "b"),) if tied else (("a",), ("b",))
        self.limits = Limits(agents=rng.choice((2, 3)), integration_sets=(("a", "b"),) if tied else ())
        self.gits = {repo: Repository(repo, self._moved) for repo in ("a", "b")}
        rules = Rules(approvers=rng.choice((1, 1, 2)), void_on_overlap=rng.random() < 0.3)
        self.setups = {repo: self._setup(repo, rules, rng.choice((1, 2))) for repo in self.gits}
        self.rows = {repo: MemoryRows(repo) for repo in self.gits}
        self.slots: dict[str, Slot] = {}
        self.bundles: dict[str, Commit] = {}
        self.births = 0
        self.promises = Promises(self)
        self.bus = Bus(self.world, rng.choice(WIRES))
        self.live: dict[str, Process] = {}
        self.people = [Person(self, name) for name in ("ann", "bob")]

    def run(self) -> None:
        """From the start through the chaos to the rest.

        Raises:
            Broken: a promise does not hold.
        """
        try:
            self._run()
        except Exception as error:
            tail = "\n".join(self.world.trace[-60:])
            raise Broken(f"seed {self.plan.seed}: {type(error).__name__}: {error}\nthe last steps:\n{tail}") from error

    def _run(self) -> None:
        world = self.world
        for person in self.people:
            self._open(person)
        for name in ("scheduler", "repo.a", "repo.b", "gate.local.1", "gate.local.2"):
            self._start(name)
        world.after(2.0, self._chaos)
        ends_at = world.now + self.plan.chaos_s
        world.run(ends_at)
        world.faulty = False
        world.note("the faults have stopped")
        self.promises.calm_since = world.now
        unrest = "nothing was looked at"
        while unrest and world.now < ends_at + self.plan.rest_s:
            world.run(world.now + 5.0)
            unrest = self.promises.unrest()
        if unrest:
            raise Broken(f"no rest: {unrest}")
        self.promises.at_rest()

    # --- Processes ------------------------------------------------------------------------------------------------

    def worker(self, name: str) -> Process:
        """The worker of the slot: the one that lives, or a new one. (A second one finds the slot taken and ends.)"""
        if name not in self.live:
            process = WorkerProcess(self, self.slots.setdefault(name, Slot(name)))
            self.live[name] = process
            process.killed = self._died
            self.world.after(self.world.between(0.05, 0.4), lambda: self._open(process))
        return self.live[name]

    def reopened(self, repo: str) -> Store:
        """The repository's store, seen from outside."""
        return open_store(self.rows[repo], repo)

    def _start(self, name: str) -> None:
        if name in self.live:
            return
        kind, _, rest = name.partition(".")
        process: Process
        match kind:
            case "repo":
                self.promises.restarted(rest, self.reopened(rest))
                process = RepoProcess(self, rest)
            case "gate":
                process = GateProcess(self, name)
            case _:
                process = SchedulerProcess(self)
        self.live[name] = process
        process.killed = self._died
        self._open(process)

    def _open(self, process: Process) -> None:
        if process.alive:
            self.world.note(f"{process.name} is up")
            self.bus.join(process)
            process.open()

    def _died(self, process: Process, killed: Killed) -> None:
        if killed.power:
            self._power_loss(killed.point)
            return
        self.world.note(f"{process.name} died: {killed.point}")
        self.world.happened("deaths")
        process.alive = False
        self.bus.leave(process)
        self.live.pop(process.name, None)
        if isinstance(process, WorkerProcess):
            self.world.after(0.01, lambda: self._tell_parent(process))
        else:
            self.world.after(self.world.between(0.2, 4.0), lambda: self._start(process.name))

    def _tell_parent(self, worker: WorkerProcess) -> None:
        parent = self.live.get(worker.repo)
        if isinstance(parent, RepoProcess):
            parent.child_died(worker)

    # --- Chaos ----------------------------------------------------------------------------------------------------

    def _chaos(self) -> None:
        world = self.world
        if not world.faulty:
            return
        rng = world.rng
        what = rng.choices(("kill", "stop", "broker", "power", "push", "cut"), weights=(56, 12, 8, 3, 14, 7))[0]
        victims = sorted(name for name in self.live if what != "stop" or name.startswith(("repo", "gate")))
        if what in ("kill", "stop") and victims:
            self._strike(self.live[rng.choice(victims)], what)
        elif what == "broker" and self.bus.up:
            world.note("the broker dies")
            world.happened("deaths")
            self.bus.crash(world.between(0.2, 3.0))
        elif what == "power":
            self._power_loss("thunderstorm")
        elif what == "cut" and victims:
            name = rng.choice(victims)
            self.bus.cuts[name] = world.now + world.between(3.0, 40.0)
            world.note(f"{name} is cut off")
            world.happened("cuts")
        elif what == "push":
            self._push()
        world.after(world.between(1.0, 5.0), self._chaos)

    def _strike(self, process: Process, what: str) -> None:
        if what == "kill":
            self._died(process, Killed("kill -9"))
        elif isinstance(process, (RepoProcess, GateProcess)):
            self.world.note(f"{process.name} is told to stop")
            process.guarded(process.stop)

    def _power_loss(self, why: str) -> None:
        self.world.note(f"the power fails: {why}")
        self.world.happened("power failures")
        for rows in self.rows.values():
            rows.crash()
        for process in list(self.live.values()):
            self._died(process, Killed("without power"))
        if self.bus.up:
            self.bus.crash(self.world.between(0.2, 3.0))

    def _push(self) -> None:
        """Somebody else puts a commit on a branch."""
        rng = self.world.rng
        git = self.gits[rng.choice(list(self.gits))]
        tree = dict(git.commits[git.tip].tree)
        self.births += 1
        tree[f"shared/{rng.randrange(3)}" if rng.random() < 0.3 else "outside"] = str(self.births)
        git.add(made := commit(frozenset(tree.items()), (git.tip,)))
        git.swap(git.tip, made.id, thrum=False)
        self.world.note(f"somebody pushes to {git.name}")

    def _moved(self, git: Repository, made: Commit, thrum: bool) -> None:
        self.world.note(f"{git.name} moves to {made.id[:8]} {made.task}")
        self.promises.moved(git, made, thrum)

    def _setup(self, repo: str, rules: Rules, concurrency: int) -> Setup:
        steps = tuple(Check(name=f"step-{member}", command="run", repo=member) for member in self._set_of(repo))
        lint = Check(name="lint", command="lint", repo=repo)
        test = Check(name="test", command="test", repo=repo)
        plans = {
            Gate.QUALITY: GatePlan(checks=(lint, test), definition="q"),
            Gate.PROOF: GatePlan(checks=(Check(name="proof", command="prove", repo=repo),), definition="p"),
            Gate.INTEGRATION: GatePlan(checks=steps if len(steps) > 1 else (), definition="i"),
        }
        definitions = {gate: plan.definition for gate, plan in plans.items()}
        return Setup(
            repo=repo,
            rules=Rules(
                approvers=rules.approvers, void_on_overlap=rules.void_on_overlap, definitions=definitions, fallbacks=1
            ),
            plans=plans,
            backends=("agent", "spare"),
            concurrency=concurrency,
            pool=f"pool:{GateProcess.POOL}",
            integration_set=self._set_of(repo),
        )

    def _set_of(self, repo: str) -> tuple[str, ...]:
        return next(members for members in self.sets if repo in members)
