"""What a change may not touch without a word of its own, unless the configuration says otherwise."""

from __future__ import annotations

LINKS = "<links and submodules>"
"""In `protect`: symbolic links and links to other repositories, whatever their names."""
MODULES = "<modules of Python>"
"""In `protect`: files that Python would import in place of its standard library or of a test runner."""
PROTECTED = (
    *(LINKS, MODULES),
    *("**/conftest.py", "**/pytest.ini", "**/tox.ini", "**/setup.cfg", "**/setup.py", "**/pyproject.toml"),
    *("**/noxfile.py", "**/mypy.ini", "**/.mypy.ini", "**/ruff.toml", "**/.ruff.toml", "**/.flake8", "**/.pylintrc"),
    *("**/.coveragerc", "**/sitecustomize.py", "**/usercustomize.py", "**/*.pth", "**/requirements*.txt"),
    *("**/package.json", "**/jest.config.*", "**/vitest.config.*", "**/.mocharc*", "**/.eslintrc*", "**/.npmrc"),
    *("**/eslint.config.*", "**/.prettierrc*", "**/tsconfig*.json", "**/babel.config.*", "**/.babelrc*"),
    *("**/Cargo.toml", "**/build.rs", "**/.cargo/**", "**/rustfmt.toml", "**/.rustfmt.toml", "**/clippy.toml"),
    *("**/.clippy.toml", "**/rust-toolchain", "**/rust-toolchain.toml", "**/.config/nextest.toml", "**/go.mod"),
    *("**/Makefile", "**/makefile", "**/GNUmakefile", "**/*.mk", "**/CMakeLists.txt", "**/*.cmake", "**/meson.build"),
    *("**/BUILD", "**/BUILD.bazel", "WORKSPACE", "MODULE.bazel", "**/*.bzl", "**/justfile", "**/Justfile"),
    *("**/_CoqProject", "**/_RocqProject", "**/.gitattributes", "**/.gitmodules", "**/.pre-commit-config.yaml"),
    *(".github/**", ".gitlab-ci.yml", ".ci/**", ".circleci/**", "Jenkinsfile", "azure-pipelines.yml"),
    *("configs/repos.toml", "configs/pipeline.toml"),
)
"""What can change what a check means: of test runners, linters, builds, CI, and of Thrum itself."""
