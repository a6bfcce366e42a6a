#!/usr/bin/env bash
# Three repositories, three gates: tasks for meld, loom and synth from `thrum task add` to merged, Z3 and Rocq really
# run. Needs git, and thrum, python, z3 and coqc on the PATH; no key, no network.
#
#   run.sh [--python|--rust] [FOLDER]    FOLDER (new or empty) gets the project; default: a new one for temporary files
#
# Without an option the programs are in Rust where there is a cargo with clippy and rustfmt, else in Python.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
language=
case ${1:-} in
--python | --rust)
    language=${1#--}
    shift
    ;;
-*)
    echo "usage: run.sh [--python|--rust] [FOLDER]" >&2
    exit 2
    ;;
esac
if [ -z "$language" ]; then
    language=python
    { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1 && language=rust
fi
root=$(cd "$here/../.." && pwd -P)
# What scripts/test and scripts/demo make.
command -v thrum >/dev/null || export PATH="$root/.venv/bin:$PATH"
command -v thrum >/dev/null || { echo "run.sh: there is no thrum on the PATH; scripts/demo installs it" >&2 && exit 1; }
directory=${1:-$(mktemp -d "${TMPDIR:-/tmp}/thrum-pulseengine.XXXXXX")}
mkdir -p "$directory"
directory=$(cd "$directory" && pwd -P)
# A project that is named in the caller's environment is another one.
unset THRUM_DIR

say() { printf '%s\n' "$@"; }
heading() { say "" "--- $*" ""; }

# Show a command as one would type it, and run it.
run() {
    local word line='$'
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9_./=-]+$ ]] || word="'$word'"
        line+=" $word"
    done
    say "$line"
    "$@"
}

# run, for a command that tells by its exit code that something waits for a person.
run_to_approval() {
    local code=0
    run "$@" || code=$?
    [ "$code" = 4 ] || { say "(exit code $code, where 4 was due)" && exit 1; }
    say "(exit code 4: what is left waits for approval)"
}

bring_down() {
    local code=$?
    trap '' INT TERM HUP
    if [ -e "$directory/.thrum/lock" ]; then
        thrum --dir "$directory" down --now >/dev/null 2>&1 || say "thrum down failed; see $directory/.thrum/log"
    fi
    [ "$code" = 0 ] || say "" "The example ended early (exit code $code). What there is of it: $directory"
}
trap bring_down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

heading "A project: three repositories with programs in $language, an agent, and what joins them"
sandbox=$(python "$here/make.py" "$language" "$directory")
say "Sandbox: $sandbox"
say ""
cd "$directory"
run thrum check
say ""
run thrum gate list

heading "Thrum comes up, and gets a task for each repository; what loom is to make, synth must be able to compile"
run thrum up --detach
run thrum task add --repo meld --title "Fuse any number of modules" \
    --description "Not only two. The proof is to say what running them all is."
run thrum task add --repo synth --title "Compile shr, the shift that brings in zeros" \
    --description "Its amount is unsigned; from 32 on, nothing is left."
run thrum task add --repo loom --depends-on synth-1 --title "Divide by two with a shift" \
    --description "A rule div-by-two with its obligation for Z3."

heading "Two of them can start; gates 1 and 2 check what the agents made"
run_to_approval thrum run
say ""
run thrum task list
say ""
run thrum task diff meld-1

heading "Both are approved; Gate 3 runs on what would land, and loom's task starts as soon as synth's has merged"
say "meld's task changes a proof that was there before, which takes a word of its own:"
run thrum task approve meld-1 --including-protected
run thrum task approve synth-1
run_to_approval thrum run

heading "Loom's first attempt passed its tests. Z3 found a word for which it is wrong, and the agent was told"
run thrum task prompt loom-1 --attempt 2
say ""
run thrum task log loom-1
say ""
run thrum task diff loom-1
say ""
run thrum task approve loom-1
run thrum run

heading "What became of each task"
for task in meld-1 synth-1 loom-1; do
    run thrum task show "$task"
    say ""
done

heading "What landed, and that all of it together does what is expected"
for repo in meld synth loom; do
    run git -C "$repo" --no-pager log --graph --oneline
    say ""
done
run thrum down
say ""
run thrum gate run --repo synth --gate integration --commit main

heading "Where to look next"
say "$directory has all of it: meld/, loom/, synth/, configs/, agent/, fixtures/, and Thrum's own state in .thrum/." \
    "It took ${SECONDS} s. To go on from here:" \
    "" \
    "  cd ${directory@Q}" \
    "  export PATH=\"$(dirname "$(command -v thrum)"):\$PATH\"" \
    "  thrum task diff loom-1 --attempt 1             # the rule that Z3 stopped" \
    "  thrum gate run --repo meld --gate proof        # a gate outside of any task" \
    "  thrum task show loom-1 --json                  # all that is known of a task" \
    "" \
    "What it shows: $here/README.md."
