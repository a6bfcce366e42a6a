from collections import Counter

from tally.report import report


def test_the_most_frequent_word_comes_first():
    assert report(Counter({"or": 1, "be": 2})) == ["    2  be", "    1  or"]


def test_words_of_equal_count_are_in_alphabetical_order():
    assert report(Counter({"to": 2, "be": 2})) == ["    2  be", "    2  to"]
