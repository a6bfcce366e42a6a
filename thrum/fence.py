"""What a change may not touch without a word of its own, unless the configuration says otherwise."""

from __future__ import annotations

from collections.abc import Iterator

from thrum.values import dataclass

LINKS = "<links and submodules>"
"""In `protect`: symbolic links and links to other repositories, whatever their names."""
MODULES = "<modules of Python>"
"""In `protect`: files that Python would import in place of its standard library, of a test runner, or of a module that
a command runs with `-m`."""
COMMANDS = "<scripts of commands>"
"""In `protect`: the scripts and settings of the repository that its configured commands name."""
OBLIGATIONS = "<obligations>"
"""In `protect`: files that `[repo.proof]` names, where they are changed or deleted; a new one takes nothing away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """What of a change is protected; `always` are patterns, whatever is done to the files that they match."""

    always: tuple[str, ...] = ()
    standing: tuple[str, ...] = ()
    """Patterns of files that are protected once they are there."""
    new: tuple[str, ...] = ()
    """Patterns of files that are protected from being added."""
    links: bool = False
    modules: bool = False
    """Whether files count that Python would import in place of its own modules or a runner's."""
    beside: tuple[str, ...] = ()
    """Patterns of where a new file may not have the name of a module of the repository."""


def _anywhere(names: str) -> Iterator[str]:
    return (f"**/{name}" for name in names.split())


def _any_case(name: str) -> str:
    return "".join(f"[{char.lower()}{char.upper()}]" if char.isalpha() else char for char in name)


_PYTHON = """
    conftest.py pytest.ini .pytest.ini pytest.toml .pytest.toml tox.ini tox.toml setup.cfg setup.py pyproject.toml
    noxfile.py nose.cfg .noserc nose2.cfg unittest.cfg behave.ini .behaverc .coveragerc .testmondata mypy.ini
    .mypy.ini ty.toml pyrightconfig.json .pyre_configuration pytype.cfg *.pyi ruff.toml .ruff.toml .flake8
    .isort.cfg .pylintrc* pylintrc* .style.yapf .pep8 .pydocstyle* .bandit bandit.y*ml .importlinter .codespellrc
    sitecustomize.py usercustomize.py *.pth *requirements*.txt *requirements*.in constraints*.txt requirements/*.txt
    requirements/*.in Pipfile Pipfile.lock poetry.lock poetry.toml uv.lock uv.toml pdm.lock pdm.toml hatch.toml
    pylock*.toml pip.conf environment.y*ml .condarc .python-version .env .envrc
"""
_NODE = """
    package.json package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml pnpm-workspace.yaml bun.lock*
    bunfig.toml deno.json* deno.lock .npmrc .yarnrc* .pnpmfile.* .pnp.* .nvmrc .node-version lerna.json nx.json
    turbo.json jest.config.* jest.setup.* jest-preset.* vitest.config.* vitest.setup.* vitest.workspace.*
    vite.config.* .mocharc* ava.config.* karma.conf* playwright*.config.* cypress.config.* wdio.conf.*
    nightwatch.conf.* .taprc .nycrc* .c8rc* .eslintrc* eslint.config.* .oxlintrc* .jshintrc tslint.json xo.config.*
    .xo-config* .stylelintrc* stylelint.config.* .prettierrc* prettier.config.* biome.json* rome.json .lintstagedrc*
    lint-staged.config.* .commitlintrc* commitlint.config.* .husky/** tsconfig*.json jsconfig*.json babel.config.*
    .babelrc* .swcrc webpack.config.* rollup.config.* esbuild.config.* jest-setup.* setup-jest.* setupTests.*
    vitest-setup.* mocha.opts
"""
_RUST_AND_GO = """
    Cargo.toml Cargo.lock build.rs .cargo/** rustfmt.toml .rustfmt.toml clippy.toml .clippy.toml rust-toolchain
    rust-toolchain.toml nextest.toml .config/** deny.toml .deny.toml Cross.toml tarpaulin.toml .tarpaulin.toml
    Makefile.toml typos.toml _typos.toml .typos.toml taplo.toml .taplo.toml go.mod go.sum go.work go.work.sum
    .go-version .golangci.* staticcheck.conf revive.toml vendor/modules.txt
"""
_BUILDS = """
    Makefile makefile GNUmakefile [Mm]akefile.[!m]* *.mk *.mak Kbuild configure configure.ac CMakeLists.txt
    *.cmake CMakePresets.json CMakeUserPresets.json meson.build meson_options.txt meson.options SConstruct
    SConscript wscript xmake.lua BUILD BUILD.bazel WORKSPACE WORKSPACE.bazel MODULE.bazel *.bzl .bazelrc
    .bazelversion justfile Justfile .justfile Taskfile.y*ml magefile.go Earthfile conanfile.* vcpkg.json
    .clang-format .clang-tidy .clangd build.gradle* settings.gradle* gradle.properties gradle/wrapper/**
    gradle/*.gradle* gradle/*.versions.toml gradlew* pom.xml .mvn/** mvnw* build.xml build.sbt checkstyle*.xml
    pmd*.xml spotbugs*.xml detekt*.y*ml junit-platform.properties testng*.xml lombok.config Rakefile Gemfile
    Gemfile.lock *.gemspec .rspec .rubocop*.y*ml .ruby-version .simplecov phpunit.xml* phpstan*.neon* psalm.xml*
    phpcs.xml* .php-cs-fixer* composer.json composer.lock *.cabal cabal.project* stack.yaml* .hlint.yaml *.opam dune
    dune-project dune-workspace .ocamlformat mix.exs mix.lock .formatter.exs .credo.exs rebar.config rebar.lock
    Package.swift Package.resolved .swiftlint.y*ml .swiftformat *.csproj *.fsproj Directory.Build.*
    Directory.Packages.props global.json nuget.config NuGet.Config *.ruleset *.runsettings packages.lock.json
    build.zig build.zig.zon lakefile.* lean-toolchain lake-manifest.json _CoqProject _RocqProject
"""
_MACHINES = """
    Dockerfile* *.dockerfile Containerfile* docker-compose*.y*ml compose.y*ml flake.nix flake.lock shell.nix
    default.nix devbox.json mise.toml .mise.toml .tool-versions .sdkmanrc
"""
_ALL_SORTS = """
    .*ignore .gitattributes .gitmodules .editorconfig .pre-commit-config.yaml .pre-commit-hooks.yaml lefthook.y*ml
    .shellcheckrc .hadolint.y*ml .yamllint* .markdownlint* .cspell* cspell.* .semgrep* .sqlfluff buf.yaml buf.*.yaml
    .spectral.* .vale.ini codecov.y*ml .codecov.y*ml sonar-project.properties
"""
_CI = """
    .github/** .gitlab-ci* .gitlab/** .gitea/** .forgejo/** .ci/** ci/** .travis.yml .woodpecker* .woodpecker/**
    .buildkite/** .circleci/** .cirrus.yml .drone.yml Jenkinsfile azure-pipelines.yml .azure-pipelines/**
    bitbucket-pipelines.yml appveyor.yml .appveyor.yml cloudbuild.yaml
"""
# A runner, or make, takes them as up to date, and looks at no source.
_BUILT = """
    __pycache__/** *.pyc *.pyo *.pyd *.egg *.whl site-packages/** .venv/** venv/** .eggs/** .mypy_cache/**
    .pytest_cache/** .ruff_cache/** .hypothesis/** .tox/** .nox/** .dmypy.json node_modules/** .yarn/**
    *.tsbuildinfo .eslintcache .stylelintcache .turbo/** .nx/** .parcel-cache/** .cache/** *.o *.lo *.la *.a *.so
    *.so.* *.dylib *.dll *.exe *.gch *.pch *.rlib *.rmeta target/debug/** target/release/** .fingerprint/**
    CMakeFiles/** CMakeCache.txt build.ninja .ninja_deps .ninja_log _build/** *.class *.jar *.war .gradle/** *.beam
    *.cmi *.cmo *.cmx *.cma *.cmxa *.cmxs *.vo *.vos *.vok *.olean
"""
# Code of others, which nothing compares with a lock file: a runner or a library of tests may be among it.
_VENDORED = (
    "vendor/**",
    "third_party/**",
    "**/vendor/*.*/**",
    "**/vendor/bundle/**",
    "__mocks__/**",
    "src/__mocks__/**",
)
# importlib.metadata finds them in any case, and pytest its plugins by them.
_METADATA = tuple(f"**/*{_any_case(name)}{below}" for name in (".dist-info", "egg-info") for below in ("", "/**"))

PROTECTED = (
    *(LINKS, MODULES, COMMANDS, OBLIGATIONS),
    *_anywhere(_PYTHON),
    *_anywhere(_NODE),
    *_anywhere(_RUST_AND_GO),
    *_anywhere(_BUILDS),
    *_anywhere(_MACHINES),
    *_anywhere(_ALL_SORTS),
    *_anywhere(_BUILT),
    *_VENDORED,
    *_METADATA,
    *_CI.split(),
    *("configs/repos.toml", "configs/pipeline.toml"),
)
"""What can change what a check means: of test runners, linters, builds, CI, and of Thrum itself."""
