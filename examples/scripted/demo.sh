#!/usr/bin/env bash
# The demo: three tasks from `thrum task add` to merged. Needs git, and thrum, python, pytest and ruff on the PATH.
#
#   demo.sh [FOLDER]     FOLDER (new or empty) gets the project; default: a new one for temporary files
#
# Every state is reached by the commands that it shows. What a person would decide, it decides.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
directory=${1:-$(mktemp -d "${TMPDIR:-/tmp}/thrum-demo.XXXXXX")}
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
    [ "$code" = 0 ] || say "" "The demo ended early (exit code $code). What there is of it: $directory"
}
trap bring_down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

heading "A project: a sample repository, an agent, and the configuration that joins them"
sandbox=$(python "$here/make.py" "$directory") # an assignment, so that a failure ends the script
say "Sandbox: $sandbox"
say ""
cd "$directory"
run git -C tally --no-pager log --oneline
say ""
run thrum check

heading "Thrum comes up, and gets three tasks; the third needs the first"
run thrum up --detach
run thrum task add --title "Show only the most frequent words" \
    --description "An option --top N, and a parameter of report()."
run thrum task add --title "Count words regardless of case" \
    --description "The and the are one word."
run thrum task add --depends-on tally-1 --title "Say how many words were left out" \
    --description "A last line of the report, where --top leaves some out."

heading "The agents work, the gates check; one attempt does not pass"
run_to_approval thrum run
say ""
run thrum task list
say ""
run thrum task log tally-1

heading "A person looks at the second task, and wants it otherwise; the first one is good"
run thrum task diff tally-2
say ""
# shellcheck disable=SC2016 # the backticks are meant
run thrum task reject tally-2 --feedback \
    'Use `casefold` instead of `lower`, and add a test that `Straße` and `STRASSE` are one word.'
run thrum task approve tally-1

heading "The first one lands, so the third can start; the agent of the second follows the feedback"
run_to_approval thrum run
say ""
run thrum task log tally-2
say ""
run thrum task diff tally-2
say ""
run thrum task approve tally-2 tally-3
run thrum run

heading "What became of each task"
for task in tally-1 tally-2 tally-3; do
    run thrum task show "$task"
    say ""
done

heading "What landed"
run git -C tally --no-pager log --graph --oneline
say ""
run thrum down

heading "Where to look next"
say "$directory has all of it: the repository tally/, configs/, agent.py, and Thrum's own state in .thrum/." \
    "It took ${SECONDS} s. To go on from here:" \
    "" \
    "  cd ${directory@Q}" \
    "  export PATH=\"$(dirname "$(command -v thrum)"):\$PATH\"" \
    "  thrum task log tally-1 --attempt 1        # what the agent printed" \
    "  thrum task diff tally-1 --attempt 1       # the work that the gate stopped" \
    "  thrum task show tally-1 --json            # all that is known of a task" \
    "" \
    "How it works: $here/README.md. With your own repository: README.md at the top."
