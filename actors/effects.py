"""What a repo actor does to the world: git and kept outputs, in a thread of its own (`background`).

Every effect looks at the world first, so that one begun before a crash is completed rather than repeated. What
is decided about the outcome is the ledger's part.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from thrum import inputs as i
from thrum.agents import resolve, takes_system_prompt
from thrum.config import Project, RepoConfig
from thrum.errors import GitError, ThrumError, words
from thrum.failures import Failure
from thrum.files import OutputStore, text_of
from thrum.git.checkouts import Checkout
from thrum.git.history import search
from thrum.git.objects import Conflict
from thrum.git.repository import Blocked, Landed, Moved, Repository
from thrum.masking import concealed, holds, masked, part, reach, secrets
from thrum.messages import kinds as m
from thrum.names import number_of, owner
from thrum.prompt import assemble, instructions
from thrum.protection import rivals_of
from thrum.records import well_formed
from thrum.task import AttemptEnding, Task
from thrum.values import dataclass

from .turn import ImportAttempt
from .vector import VECTOR, Told, Vector

log = logging.getLogger(__name__)

IMPORT_TRIES = 10
DIFF_LIMIT_BYTES = 2 * 1024 * 1024
PROMPT_DIFF_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an effect: an input for its task, an answer to a question, or what the loop is to go on with."""

    effect: Any
    given: i.Input | None = None
    reply: m.Message | None = None
    header: m.Header | None = None
    then: Callable[[float], None] | None = None
    """Called with the time."""


class Worldly:
    """Carries out effects on one repository; every method may be called again after a crash."""

    def __init__(self, project: Project, repo: RepoConfig, outputs: OutputStore, members: tuple[str, ...]) -> None:
        """`members` are the repositories of its integration set, itself among them."""
        self._project = project
        self._repo = repo
        self._outputs = outputs
        self._git = Repository(repo.path, repo.branch)
        self._secrets = secrets(project, os.environ)
        self._limit_bytes = project.pipeline.engine.attempt_limit_mb * 1024 * 1024
        self._failed_imports: Counter[tuple[str, int]] = Counter()
        others = [other for name in members if name != repo.name and (other := project.repo(name)) is not None]
        here = {other.name: other for other in others if other.host == repo.host}
        folder = Path(project.pipeline.engine.worktrees_dir) / repo.name / "bundles"
        self.vector = Vector(self._git, here, folder, limit_bytes=self._limit_bytes)

    def highest_number(self) -> int:
        """The highest number of a task that something is pinned of in the repository; 0 where nothing is."""
        try:
            pinned = self._git.pins()
        except ThrumError as error:
            log.warning("it cannot be seen which ids the repository knows: %s", error.message)
            return 0
        tasks = {ref.split("/")[3] for ref in pinned if ref.count("/") >= 3 and not ref.startswith(VECTOR)}
        return max((number_of(task) for task in tasks if owner(task) == self._repo.name), default=0)

    def look_at_branch(self) -> i.BranchMoved | None:
        """Where the branch stands; None where that cannot be seen just now."""
        try:
            return i.BranchMoved(tip=self._git.tip(), repo=self._repo.name)
        except ThrumError as error:
            log.warning("it cannot be seen where the branch stands: %s", error.message)
            return None

    def prepare_attempt(self, effect: i.PrepareAttempt, task: Task) -> i.Input:
        """Resolve and pin base and start, and put the prompt together."""
        try:
            tip = self._git.inspect()
            ref = f"refs/thrum/bases/{task.id}/{effect.token}"
            # Pinned already: we died before this was on record, and the tip may have moved since.
            base = effect.base or self._git.pins(ref).get(ref) or tip
            start = effect.start or base
            self._git.pin(ref, base)
            backend, role = resolve(self._project, "implementer", fallbacks=effect.fallbacks)
            role_text, repo_text = self._text(role.prompt_template if role else ""), self._text(self._repo.claude_md)
            apart = takes_system_prompt(backend)
            prompt = assemble(
                task,
                role_text="" if apart else role_text,
                repo_text="" if apart else repo_text,
                diff_text=self._diff(base, start, PROMPT_DIFF_BYTES)[0] if start != base else "",
                max_retries=self._project.pipeline.engine.max_retries,
            )
            digest = self._kept(prompt)
            system_digest = self._kept(instructions(role_text, repo_text)) if apart else ""
        except (ThrumError, OSError) as error:
            return i.AttemptBlocked(token=effect.token, reason=words(error))
        return i.AttemptPrepared(
            token=effect.token,
            base=base,
            start=start,
            backend=backend.name,
            model=backend.model,
            prompt_digest=digest,
            system_prompt_digest=system_digest,
            fallbacks=effect.fallbacks,
        )

    def import_attempt(self, effect: ImportAttempt) -> i.AttemptEnded | None:
        """Bring the attempt's bundle in and pin its head before anything else happens to it.

        None: it could not be done just now, for a reason that may pass (a lock, a full disk); try again. What
        cannot be imported at all is kept, and is the operator's to look at.
        """
        report = effect.report
        ending, reason = AttemptEnding(report.ending), report.reason
        head = tree = base_tree = ""
        files: tuple[str, ...] = ()
        new: tuple[str, ...] = ()
        links: tuple[str, ...] = ()
        namesakes: tuple[str, ...] = ()
        leaked: tuple[str, ...] = ()
        if report.bundle:
            ref = f"refs/thrum/attempts/{report.task}/{report.token}"
            limit_bytes = self._limit_bytes
            try:
                head = self._git.import_bundle(report.bundle, ref=ref, limit_bytes=limit_bytes)
                tree, base_tree = self._git.tree_of(head), self._git.tree_of(effect.base)
                files = self._git.changed_files(effect.base, head)
                new = self._git.added_files(effect.base, head)
                links = self._git.changed_links(effect.base, head)
                rivals = {file: rivals_of(file) for file in new}
                there = self._git.blobs(effect.base, sorted({path for paths in rivals.values() for path in paths}))
                namesakes = tuple(file for file, paths in rivals.items() if not there.keys().isdisjoint(paths))
                if self._secrets:
                    leaked = search(self._git, effect.base, head, self._holds, limit_bytes=limit_bytes)
            except (GitError, OSError) as error:
                if self._failed_imports[report.task, report.token] < IMPORT_TRIES:
                    self._failed_imports[report.task, report.token] += 1
                    log.warning("an attempt could not be imported; it is tried again", extra={"reason": str(error)})
                    return None
                head = ""
                ending = AttemptEnding.COULD_NOT_RUN
                bundle = Path(report.bundle)
                kept = f"its bundle is kept as output {self._outputs.adopt(bundle)[0]}" if bundle.is_file() else ""
                reason = f"the attempt's work could not be taken over: {error}; {kept}"
                log.error("an attempt's bundle was refused", extra={"task": report.task, "reason": reason})
        return i.AttemptEnded(
            token=report.token,
            ending=ending,
            reason=reason,
            exit_code=report.exit_code,
            head=head,
            tree=tree,
            base_tree=base_tree,
            files=files,
            added=new,
            links=links,
            namesakes=namesakes,
            leaks=leaked,
            session=report.session,
            failure=Failure(report.failure) if report.failure else None,
            cost_usd=report.cost_usd,
            input_tokens=report.input_tokens,
            cached_tokens=report.cached_tokens,
            output_tokens=report.output_tokens,
            output_digest=report.output_digest,
            output_bytes=report.output_bytes,
            tail=report.tail,
            no_change=report.no_change,
            retry_after_s=report.retry_after_s,
            started_at=report.started_at,
            ended_at=report.ended_at,
        )

    def build_candidate(
        self, effect: i.BuildCandidate, told: Told, bundles: Mapping[str, Path], needed: Collection[str]
    ) -> i.Input:
        """Merge the approved head onto the tip, and pin what comes out.

        The tips of other hosts' repositories are kept beside it: those that are not here yet from `bundles`; of the
        earlier ones those that are `needed`.
        """
        if told.trouble:
            return i.CandidateBlocked(reason=told.trouble, host=told.absent)
        try:
            tip = self._git.inspect()
            subject = f"{effect.title}\n\nThrum-Task: {effect.task}\n"
            merged = self._git.merge(tip, effect.head, message=masked(subject, self._secrets))
            if isinstance(merged, Conflict):
                start = self._git.commit_tree(merged.tree, [tip], f"Merge of {effect.task} with conflicts to resolve")
                self._git.pin(f"refs/thrum/starts/{effect.task}/{start[:16]}", start)
                return i.CandidateConflicted(base=tip, start=start, paths=merged.paths)
            self._git.pin(f"refs/thrum/candidates/{effect.task}/{merged.commit[:16]}", merged.commit)
            moved = effect.attempt_base != tip
            # Known by the names that the task has them under.
            landed = self._git.changed_files(effect.attempt_base, tip) if moved else ()
            overlap = set(concealed(landed, self._secrets)).intersection(effect.files)
            self.vector.take_in(told, bundles, needed)
            vector = self.vector.tips(told)
        except (ThrumError, OSError) as error:
            return i.CandidateBlocked(reason=words(error))
        return i.CandidateBuilt(
            base=tip,
            commit=merged.commit,
            tree=merged.tree,
            vector={**vector, self._repo.name: merged.commit},
            overlap=tuple(sorted(overlap)),
        )

    def move_branch(self, effect: i.MoveBranch, told: Told) -> i.Input:
        """Swap the branch to the candidate, unless a tip of the vector moved, or one on another host is not known;
        settle a swap begun earlier."""
        try:
            tip = self._git.tip()
            if tip == effect.new or (tip != effect.old and self._git.is_ancestor(effect.new, tip)):
                return i.BranchLanded(
                    commit=effect.new, behind=_behind(self._git.finish_checkouts(effect.old, effect.new))
                )
            if told.trouble:
                return i.BranchBlocked(reason=told.trouble, checkout=False, host=told.absent)
            for name, now_at in self.vector.tips(told).items():
                if now_at != effect.vector.get(name):
                    return i.BranchMoved(tip=now_at, repo=name)
            outcome = self._git.land(effect.old, effect.new)
        except ThrumError as error:
            return self._settled(effect, words(error))
        match outcome:
            case Landed():
                return i.BranchLanded(commit=effect.new, behind=_behind(outcome.behind))
            case Moved():
                return i.BranchMoved(tip=outcome.tip, repo=self._repo.name)
            case Blocked():
                return i.BranchBlocked(reason=outcome.reason, checkout=True)

    def _settled(self, effect: i.MoveBranch, reason: str) -> i.Input:
        """What an error during the move means: a branch that stands at the candidate has landed all the same."""
        try:
            tip = self._git.tip()
            landed = tip == effect.new or self._git.is_ancestor(effect.new, tip)
        except ThrumError as error:
            return i.BranchBlocked(reason=f"{reason}; {words(error)}", checkout=False)
        return (
            i.BranchLanded(commit=effect.new, behind=(reason,))
            if landed
            else i.BranchBlocked(reason=reason, checkout=False)
        )

    def diff(self, task: Task, token: int) -> m.Reply:
        """The diff of an attempt against its base, the latest with work in it if `token` is 0."""
        attempts = [a for a in task.attempts if a.head and token in (0, a.token)]
        if not attempts:
            return m.Reply(ok=False, code="not-found", message=f"{task.id} has no such attempt that changed anything")
        attempt = attempts[-1]
        try:
            text, truncated = self._diff(attempt.base, attempt.head, DIFF_LIMIT_BYTES)
        except ThrumError as error:
            return m.Reply(ok=False, code=error.code, message=error.message, remedy=error.remedy)
        value = {
            "task": task.id,
            "attempt": attempt.token,
            "base": attempt.base,
            "head": attempt.head,
            "files": [*attempt.protected, *(name for name in attempt.files if name not in attempt.protected)],
            "protected": list(attempt.protected),
            "leaks": list(attempt.leaks),
            "diff": text,
            "truncated": truncated,
        }
        return m.Reply(value=value)

    def output(self, body: m.GetOutput) -> m.Reply:
        """A piece of a kept output; as it was masked when it was kept, and by what is a secret now."""
        values = self._secrets
        around = reach(values)
        before = min(max(body.offset, 0), around)
        try:
            first = body.offset - before
            data, total = self._outputs.read(body.digest, offset=first, limit=before + body.limit_bytes + around)
        except ThrumError as error:
            return m.Reply(ok=False, code=error.code, message=error.message, remedy=error.remedy)
        end = before + body.limit_bytes
        if first + end < total:
            end = before + text_of(data[before:end], final=False)[1]
        shown, end = part(data, before, min(end, len(data)), values)
        text = shown.decode(errors="replace")
        return m.Reply(value={"text": text, "offset": body.offset, "bytes": end - before, "total_bytes": total})

    def prompt(self, digest: str) -> str:
        """A prompt that an attempt was prepared with; empty without a digest."""
        if not digest:
            return ""
        size = self._outputs.read(digest, limit=0)[1]
        return self._outputs.read(digest, limit=size)[0].decode()

    def _kept(self, prompt: str) -> str:
        """The digest of a prompt, kept without secrets; empty where it is empty."""
        return self._outputs.keep(masked(prompt, self._secrets).encode()) if prompt else ""

    def _diff(self, base: str, head: str, limit_bytes: int) -> tuple[str, bool]:
        """A diff as a model or a person reads it, and whether it was cut."""
        text, truncated = self._git.diff(base, head, limit_bytes=limit_bytes)
        return masked(text, self._secrets, cut=truncated), truncated

    def _holds(self, data: bytes, earlier: Iterable[bytes]) -> bool:
        return holds(data, earlier, self._secrets)

    def _text(self, path: str) -> str:
        if not path:
            return ""
        place = Path(self._project.directory, path)
        try:
            return place.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ThrumError(f"the prompt needs {place}, which cannot be read: {error}") from error


def _behind(checkouts: tuple[Checkout, ...]) -> tuple[str, ...]:
    told = (f"the checkout {checkout.path} could not follow: {checkout.reason}" for checkout in checkouts)
    return tuple(map(well_formed, told))
