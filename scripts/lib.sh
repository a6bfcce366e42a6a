# What scripts/demo, scripts/test and scripts/bench share: the virtual environment in .venv. To be sourced by bash.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
# What is set for the Python of the caller must not reach ours.
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONNOUSERSITE=1

say() { printf '%s\n' "$*"; }
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# Every Python 3.11 or later that runs, that of $PYTHON first, then what `python3` means; shims that cannot run are
# passed over.
pythons() {
    local name path
    for name in ${PYTHON:-} python3 python3.11 python3.12 python3.13 python3.14; do
        for path in $(type -aP "$name"); do
            "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))' </dev/null >/dev/null 2>&1 && say "$path"
        done
    done
}

# The first of them that can make a virtual environment with pip in it.
find_python() {
    local path
    for path in $(pythons); do
        if "$path" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            say "$path"
            return
        fi
    done
    return 1
}

may_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# Install Debian packages; a list that is old is fetched anew first.
apt_install() {
    say "Installing system packages: $*"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get install -qq --yes --no-install-recommends "$@" ||
        { apt-get update -qq && apt-get install -qq --yes --no-install-recommends "$@"; }; } </dev/null >/dev/null
}

# What nothing works without: git, and a Python that makes virtual environments.
need_base() {
    local wanted=()
    command -v git >/dev/null || wanted+=(git)
    if ! find_python >/dev/null; then
        [ -n "$(pythons)" ] || wanted+=(python3)
        wanted+=(python3-venv)
    fi
    [ ${#wanted[@]} = 0 ] && return
    may_install || fail "please install ${wanted[*]} (Python 3.11 or later)"
    apt_install "${wanted[@]}" || fail "apt-get could not install ${wanted[*]}"
    find_python >/dev/null || fail "there is no Python 3.11 or later with venv and pip"
}

# install NAME WHAT...: have .venv hold Thrum (editable) and WHAT; done once for each state of pyproject.toml.
# A note of what was done lies in .venv under NAME; the environment is made anew if the checkout was moved.
install() {
    local name=$1 python state
    shift
    state="$root $* $(cksum <"$root/pyproject.toml")"
    [ "$(cat "$venv/installed-$name" 2>/dev/null)" = "$state" ] && "$venv/bin/python" -c '' 2>/dev/null && return
    if ! grep -qsxF "$root" "$venv/made-in" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        python=$(find_python) || fail "there is no Python 3.11 or later with venv and pip"
        say "Making a virtual environment in .venv with $python"
        rm -rf "$venv"
        "$python" -m venv "$venv" || return
        say "$root" >"$venv/made-in"
    fi
    say "Installing into .venv: $*"
    "$venv/bin/python" -m pip install --quiet "$@" || return
    say "$state" >"$venv/installed-$name"
}
