"""How tasks are named: the repository, `-` and a number."""

from __future__ import annotations


def id_of(repo: str, number: int) -> str:
    """The id of the repository's task with that number, counted from 1."""
    return f"{repo}-{number}"


def number_of(task: str) -> int:
    """The number of a task's id; 0 where it ends in none."""
    number = task.rpartition("-")[2]
    return int(number) if number.isdecimal() and number.isascii() else 0


def owner(task: str) -> str:
    """The repository that a task's id names: everything before its last `-`; empty where there is none."""
    return task.rpartition("-")[0]
