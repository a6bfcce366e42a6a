"""Finding words in a text."""

import re
from collections import Counter

_WORD = re.compile(r"\w+")


def count_words(text: str) -> Counter[str]:
    """How often each word occurs in the text."""
    return Counter(_WORD.findall(text))
