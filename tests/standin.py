"""A program that plays Claude Code: it asks a model, runs its commands, keeps a session, and says how it went.

`written` writes it where a test wants it, with one way to misbehave.
"""

from __future__ import annotations

import sys
from pathlib import Path

SOURCE = r"""
import json, os, signal, subprocess, sys, threading, time, urllib.error, urllib.request

FAULT = "@FAULT@"
if "--version" in sys.argv:
    print("1.2.3 (a stand-in)")
    sys.exit()


def say(**line):
    print(json.dumps({**line, "session_id": session}), flush=True)


def ask(messages):
    tools = [{"name": "Bash", "input_schema": {"properties": {"command": {"type": "string"}}}}]
    body = {"model": "m", "messages": messages, "tools": tools}
    key = "sk-found-somewhere" if FAULT == "takes another key" else os.environ["ANTHROPIC_API_KEY"]
    url = os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages"
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"x-api-key": key})
    try:
        return 200, json.load(urllib.request.urlopen(asked))
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def run(command):
    # Nothing in its environment or its session tells whose child this is.
    own = {"env": {"PATH": os.environ["PATH"]}, "start_new_session": True} if FAULT == "disowns its children" else {}
    ran = subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=2, **own)
    if len(ran.stdout) > 1_000_000 and FAULT == "chokes":
        sys.exit("out of memory")
    print(ran.stdout.decode(), flush=True)
    return ran.stdout.decode()[-1000:]


def git(*args):
    subprocess.run(["git", *args], check=True, stdout=subprocess.DEVNULL)


def clean_up(*_):
    git("reset", "--quiet", "--hard", start)
    git("clean", "-fdq")


def told(text, **more):
    say(type="result", subtype="success", result=text, **{"is_error": False, **more})


def main():
    prompt = sys.stdin.read()
    if FAULT == "asks nobody":
        return told("I know it all.")
    history = os.path.join(os.environ["CLAUDE_CONFIG_DIR"], f"{session}.json")
    messages = json.load(open(history)) if os.path.exists(history) and FAULT != "forgets" else []
    messages.append({"role": "user", "content": prompt})
    while True:
        json.dump(messages, open(history, "w"))
        status, answer = ask(messages)
        if status != 200:
            if FAULT == "is cheerful":
                return told("All is well.")
            told(f"API Error: {status} {answer['error']['message']}", is_error=True, api_error_status=status)
            sys.exit(1)
        messages.append({"role": "assistant", "content": answer["content"]})
        calls = [block for block in answer["content"] if block["type"] == "tool_use"]
        if not calls:
            text = answer["content"][0]["text"]
            break
        results = [{"type": "tool_result", "content": run(call["input"]["command"])} for call in calls]
        messages.append({"role": "user", "content": results})
    if FAULT == "waits for an answer" and "?" in text:
        time.sleep(3600)
    if FAULT == "leaves litter":
        open("notes.tmp", "w").close()
    if FAULT == "undoes its work":
        clean_up()
    if FAULT == "takes its commits back":
        git("reset", "--quiet", "--soft", start)
    told("" if FAULT == "is mute" else text)


named = "--resume" if "--resume" in sys.argv else "--session-id"
session = sys.argv[sys.argv.index(named) + 1]
start = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()
if FAULT == "cleans up when it is ended":
    signal.signal(signal.SIGTERM, lambda *_: (clean_up(), os._exit(1)))
if FAULT == "chatters":
    def chatter():
        while True:
            print(".", flush=True)
            time.sleep(0.1)
    threading.Thread(target=chatter, daemon=True).start()
main()
"""


def written(directory: Path, fault: str = "") -> Path:
    """The program, in a folder of its own."""
    path = directory / "standin" / "claude"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{SOURCE.replace('@FAULT@', fault)}")
    path.chmod(0o755)
    return path
