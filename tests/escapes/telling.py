"""Attempts to take over the terminal of the person who looks at a task, in a whole project with its commands."""

from tests.escapes import Telling

TELLING = (
    Telling(
        name="print escapes that `thrum task show` and `thrum task log` would show",
        script="printf '\\033]0;owned\\007\\033[2J\\033]52;c;b3duZWQ=\\007\\233\\n'; echo x >x",
        commands=(("task", "show"), ("task", "log"), ("task", "log", "--raw")),
    ),
    Telling(
        name="call a tool, in JSON, by a name with escapes that `thrum task log` would show",
        script="""printf '%s\\n' '{"type": "tool_use", "tool_name": "\\u001b]0;owned\\u0007\\n\\u009b2J", \
"parameters": {"command": "\\u001b[2Jls"}}'""",
        commands=(("task", "log"),),
    ),
    Telling(
        name="give files names and content that `thrum task diff` would show",
        script="printf 'x\\033[2J\\007\\n' >\"$(printf 'a\\033]0;owned\\007\\nb')\"",
        commands=(("task", "diff"),),
    ),
)
