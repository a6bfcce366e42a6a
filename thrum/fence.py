"""What a change may not touch without a word of its own, unless the configuration says otherwise."""

from __future__ import annotations

LINKS = "<links and submodules>"
"""In `protect`: symbolic links and links to other repositories, whatever their names."""
MODULES = "<modules of Python>"
"""In `protect`: files that Python would import in place of its standard library or of a test runner."""
COMMANDS = "<scripts of commands>"
"""In `protect`: the scripts and settings of the repository that its configured commands name."""
OBLIGATIONS = "<obligations>"
"""In `protect`: files that `[repo.proof]` names, where they are changed or deleted; a new one takes nothing away."""
PROTECTED = (
    *(LINKS, MODULES, COMMANDS, OBLIGATIONS),
    *(
        "**/conftest.py",
        "**/pytest.ini",
        "**/.pytest.ini",
        "**/pytest.toml",
        "**/.pytest.toml",
        "**/tox.ini",
        "**/setup.cfg",
        "**/setup.py",
        "**/pyproject.toml",
    ),
    *("**/noxfile.py", "**/mypy.ini", "**/.mypy.ini", "**/ruff.toml", "**/.ruff.toml", "**/.flake8", "**/.isort.cfg"),
    *("**/.pylintrc*", "**/pylintrc*", "**/pyrightconfig.json", "**/*.dist-info/**", "**/*.egg-info/**"),
    *("**/.coveragerc", "**/sitecustomize.py", "**/usercustomize.py", "**/*.pth", "**/requirements*.txt"),
    *("**/package.json", "**/jest.config.*", "**/vitest.config.*", "**/.mocharc*", "**/.eslintrc*", "**/.npmrc"),
    *("**/vite.config.*", "**/vitest.workspace.*", "**/playwright*.config.*", "**/cypress.config.*", "**/karma.conf*"),
    *("**/.taprc", "**/biome.json*", "**/.nycrc*", "**/.c8rc*"),
    *("**/eslint.config.*", "**/.prettierrc*", "**/tsconfig*.json", "**/babel.config.*", "**/.babelrc*"),
    *("**/Cargo.toml", "**/build.rs", "**/.cargo/**", "**/rustfmt.toml", "**/.rustfmt.toml", "**/clippy.toml"),
    *("**/.clippy.toml", "**/rust-toolchain", "**/rust-toolchain.toml", "**/.config/nextest.toml", "**/go.mod"),
    *("**/go.work", "**/.golangci.y*ml", "**/.golangci.toml", "**/.golangci.json", "**/Rakefile", "**/Gemfile"),
    *("**/build.gradle*", "**/settings.gradle*", "**/gradle.properties", "**/gradle/wrapper/**", "**/pom.xml"),
    # What is installed is what checks are made of.
    *("**/Pipfile", "**/Pipfile.lock", "**/poetry.lock", "**/uv.lock", "**/pylock*.toml", "**/package-lock.json"),
    *("**/npm-shrinkwrap.json", "**/yarn.lock", "**/pnpm-lock.yaml", "**/Cargo.lock", "**/go.sum", "**/go.work.sum"),
    *("**/Gemfile.lock", "**/.tool-versions", "**/.python-version", "**/.nvmrc", "**/.node-version"),
    *("**/Dockerfile*", "**/*.dockerfile", "**/dune", "**/dune-project"),
    *("**/Makefile", "**/makefile", "**/GNUmakefile", "**/*.mk", "**/CMakeLists.txt", "**/*.cmake", "**/meson.build"),
    *("**/BUILD", "**/BUILD.bazel", "WORKSPACE", "MODULE.bazel", "**/*.bzl", "**/justfile", "**/Justfile"),
    *("**/_CoqProject", "**/_RocqProject", "**/.gitattributes", "**/.gitmodules", "**/.pre-commit-config.yaml"),
    *(
        ".github/**",
        ".gitlab-ci.yml",
        ".ci/**",
        "ci/**",
        ".travis.yml",
        ".woodpecker*",
        ".woodpecker/**",
        ".buildkite/**",
        ".circleci/**",
        "Jenkinsfile",
        "azure-pipelines.yml",
    ),
    *("configs/repos.toml", "configs/pipeline.toml"),
)
"""What can change what a check means: of test runners, linters, builds, CI, and of Thrum itself."""
