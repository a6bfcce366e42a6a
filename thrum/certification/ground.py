"""The ground on which a backend is tried: a scratch project with one repository, and the backend changed to fit in.

Nothing of the user's project is touched; of its configuration the sandbox and the backend are taken over.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from thrum.actors.base import Situation as Told
from thrum.agents import preset_of
from thrum.allowlist import host_of
from thrum.backends import Preset
from thrum.certification.workers import REPO
from thrum.config import BackendConfig, EngineConfig, Project, RepoConfig, RolesConfig, SandboxConfig
from thrum.errors import SandboxError
from thrum.git.program import run as git
from thrum.git.repository import Repository
from thrum.job import Job
from thrum.messages.attempts import AttemptReported
from thrum.places import Places
from thrum.sandbox import open_sandbox
from thrum.snapshot import digest_of, save_snapshot

KEY = "sk-made-up-for-a-trial-0123456789"
"""What stands for the key of a model that follows a script."""
MODELS = {"claude-code": "claude-sonnet-4-5", "codex": "gpt-5-codex", "gemini": "gemini-2.5-pro"}
"""The model that a program is told to use where none is configured; for those with many providers, `OTHERWISE`."""
OTHERWISE = "anthropic/claude-sonnet-4-5"
FILE_BYTES = 1024 * 1024

_VERSION = re.compile(r"\d+(?:\.\d+)+")


def scripted_backend(backend: BackendConfig, known: Preset, url: str) -> BackendConfig:
    """The backend with its model at `url` and nowhere else, and with a made-up key in the place of every real one."""
    one_provider = known.name in MODELS
    if one_provider:
        model = backend.model or MODELS[known.name]
    else:
        model = backend.model if backend.model.startswith(("anthropic/", "openai/")) else OTHERWISE
    openai = model.startswith("openai/") and "OPENAI_API_KEY" in known.keys
    key = "OPENAI_API_KEY" if openai else next(iter(known.keys))
    env = {name: value for name, value in backend.env.items() if not _leads_elsewhere(name, known)}
    return replace(
        backend,
        model=model,
        base_url=url,
        # A variable that nobody has set, so that no real key is looked for.
        api_key_env="THRUM_MADE_UP_KEY",
        env={**env, key: KEY},
        pass_env=tuple(name for name in backend.pass_env if not _leads_elsewhere(name, known)),
        network=False,
        allow=(host_of(url),),
    )


def _leads_elsewhere(name: str, known: Preset) -> bool:
    return name in known.keys or name in known.base_url_env


class Ground:
    """A scratch project in a directory, which must exist; for one thread."""

    def __init__(self, directory: Path, project: Project, backend: BackendConfig, url: str) -> None:
        """`url` is where a model follows a script; it is used where the backend has a preset."""
        self.preset = preset_of(backend)
        self._backend = scripted_backend(backend, self.preset, url) if self.preset else backend
        self._directory = directory
        self.repository = directory / "scratch"
        self._wrappers = directory / "around"
        self._wrappers.mkdir()
        git(["init", "--quiet", "--initial-branch=main", str(self.repository)], cwd=directory)
        (self.repository / "README.md").write_text("A repository to try a backend in.\n")
        git(["add", "."], cwd=self.repository)
        git(["commit", "--quiet", "--message=Begin"], cwd=self.repository)
        self._git = Repository(self.repository, "main")
        self.tip = self._git.tip()
        sandbox = project.pipeline.sandbox
        if self.preset:
            sandbox = _without_keys(sandbox, self.preset)
        self._project = replace(
            project,
            directory=str(directory),
            repos=(RepoConfig(name=REPO, path=str(self.repository)),),
            pipeline=replace(
                project.pipeline,
                engine=EngineConfig(worktrees_dir=str(directory / ".thrum/work")),
                roles=RolesConfig(),
                sandbox=replace(sandbox, mount_paths=(*sandbox.mount_paths, str(self._wrappers))),
            ),
        )

    @property
    def backend(self) -> str:
        """The name of the backend."""
        return self._backend.name

    def version(self) -> str:
        """What the program says its version is, run in the sandbox; empty where that is not known.

        Raises:
            SandboxError: there is no sandbox, or it does not see the program.
        """
        config, command = self._project.pipeline.sandbox, self._backend.command
        paths = (*config.mount_paths, *self._backend.mount_paths)
        with open_sandbox(replace(config, mount_paths=paths), name=f"{Places(self._directory).mark}.certify") as box:
            if box.which(command) is None:
                remedy = "Give its path (command, --command), and have mount_paths show it."
                raise SandboxError(f"the sandbox {box.name!r} has no program {command!r}", remedy=remedy)
            if self.preset is None:
                return ""
            here = str(self.repository)
            asked = Job(argv=(command, *self.preset.version_args), cwd=here, readable=(here,), wall_s=60)
            found = _VERSION.search(box.run(asked).tail)
            return found[0] if found else ""

    def worker(self, number: int, nonce: str, *, around: str, wall_s: float, silence_s: float, endpoint: str) -> Told:
        """What the worker in a slot of that number is told; `around` is shell text in the place of the program."""
        backend = replace(self._backend, enabled=True, timeout_secs=wall_s, silence_secs=silence_s)
        if around:
            # Its name has the text in it by which what is left of it is found.
            wrapper = self._wrappers / f"around-{nonce}"
            wrapper.write_text(f"#!/bin/sh\n{around.replace('{program}', shlex.quote(backend.command))}\n")
            wrapper.chmod(0o755)
            backend = replace(backend, command=str(wrapper))
        project = replace(self._project, pipeline=replace(self._project.pipeline, backends=(backend,)))
        project = replace(project, digest=digest_of(project))
        places = Places(self._directory)
        places.snapshots.mkdir(parents=True, exist_ok=True)
        return Told(
            name=f"worker.{REPO}.{number}",
            incarnation="",
            endpoint=endpoint,
            snapshot=save_snapshot(project, places.snapshots),
            project=project,
            places=places,
            supervisor_pid=os.getpid(),
        )

    def tree(self, number: int) -> Path:
        """The work tree of the agent in the slot of that number."""
        return Path(self._project.pipeline.engine.worktrees_dir, REPO, f"slot-{number}", "clone/tree")

    def take_in(self, report: AttemptReported, name: str) -> str:
        """The commit that a run left, brought into the repository as an attempt's; the tip where it left none.

        Raises:
            GitError: what it left is no sound bundle.
        """
        if not report.bundle:
            return self.tip
        ref = f"refs/thrum/attempts/{name}/{report.token}"
        return self._git.import_bundle(report.bundle, ref=ref, limit_bytes=512 * 1024 * 1024)

    def changes(self, head: str) -> dict[str, str]:
        """What a commit changes against the tip: each path with its text."""
        files = {path: self._git.read_file(head, path, limit_bytes=FILE_BYTES) for path in self._changed(head)}
        return {path: (content or b"").decode(errors="replace") for path, content in files.items()}

    def _changed(self, head: str) -> tuple[str, ...]:
        return self._git.changed_files(self.tip, head)

    def subjects(self, head: str) -> tuple[str, ...]:
        """The first lines of the messages of the commits that lead to it from the tip."""
        lines = git(["log", "--format=%s", f"{self.tip}..{head}"], cwd=self.repository).text
        return tuple(filter(None, lines.split("\n")))

    def fill_in(self, text: str, nonce: str) -> str:
        """The text with its placeholders replaced, but for the program's."""
        places = " ".join(shlex.quote(str(place)) for place in self._outside(nonce))
        given = {"{nonce}": nonce, "{places}": places, "{repository}": shlex.quote(str(self.repository))}
        for placeholder, value in given.items():
            text = text.replace(placeholder, value)
        return text

    def _outside(self, nonce: str) -> tuple[Path, ...]:
        name = f"thrum-trial-{nonce}"
        return (Path("/etc") / name, Path.home() / name, self.repository / name, self.repository / ".git" / name)

    def written_outside(self, nonce: str) -> tuple[str, ...]:
        """What is there that nobody may have written; it is removed again."""
        found = []
        for path in self._outside(nonce):
            if path.exists():
                found.append(str(path))
                path.unlink()
        refs = git(["for-each-ref", "--format=%(refname)", "refs/heads", "refs/tags"], cwd=self.repository).text
        found += [f"{ref} in the repository" for ref in refs.split("\n") if ref != "refs/heads/main"]
        for ref in refs.split("\n"):
            if ref != "refs/heads/main":
                git(["update-ref", "-d", ref], cwd=self.repository)
        if self._git.tip() != self.tip:
            found.append("refs/heads/main in the repository")
            git(["update-ref", "refs/heads/main", self.tip], cwd=self.repository)
        return tuple(found)


def _without_keys(sandbox: SandboxConfig, known: Preset) -> SandboxConfig:
    env: Mapping[str, str] = sandbox.env
    return replace(
        sandbox,
        network=False,
        allow=(),
        env={name: value for name, value in env.items() if not _leads_elsewhere(name, known)},
        pass_env=tuple(name for name in sandbox.pass_env if not _leads_elsewhere(name, known)),
    )


def end_what_is_left(nonce: str) -> tuple[str, ...]:
    """The processes that have the text in their command line, each in words; they are killed."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = process.info["cmdline"] or ()
        if any(nonce in word for word in words) and process.pid != os.getpid():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)
                found.append(" ".join(words)[:120])
    return tuple(found)
