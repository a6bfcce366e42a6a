"""Showing counts to a person."""

from collections import Counter


def report(counts: Counter[str]) -> list[str]:
    """A line for each word: the most frequent first, those of equal count in alphabetical order."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [f"{count:>5}  {word}" for word, count in ordered]
