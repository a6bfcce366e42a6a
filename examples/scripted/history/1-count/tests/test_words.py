from tally.words import count_words


def test_each_word_is_counted():
    assert count_words("to be or not to be") == {"to": 2, "be": 2, "or": 1, "not": 1}


def test_a_text_without_words_has_no_counts():
    assert count_words(" ... !\n") == {}
