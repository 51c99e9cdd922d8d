"""Tokenizers: whitespace is ``str.split``, and the others follow the conventions of the Penn Treebank."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrnn_pl import tokenization
from lightrnn_pl.tokenization import TOKENIZERS, tokenizer_named

TREEBANK = {
    "They don't, can't and won't.": "They do n't , ca n't and wo n't .",
    'The firm\'s shares "fell 3.5%," he said.': "The firm 's shares `` fell 3.5 % , '' he said .",
    "Mr. Jones of A&B Co. (U.S.) cannot pay US$1,200.": "Mr. Jones of A&B Co. ( U.S. ) can not pay US$ 1,200 .",
    "It’s “fine”—isn’t it?": "It 's `` fine '' — is n't it ?",
    "the <unk> of the '80s": "the <unk> of the '80s",
}
PTB = {
    "They don't, can't and won't.": "they do n't ca n't and wo n't",
    'The firm\'s shares "fell 3.5%," he said.': "the firm 's shares fell N N he said",
    "Mr. Jones of A&B Co. (U.S.) cannot pay US$1,200.": "mr. jones of a&b co. u.s. can not pay us$ N",
    "Its 30-year bonds -- 7 1/2% of 'good' and/or bad debt": "its 30-year bonds N N N of good and\\/or bad debt",
    "the boys' toys in the U.S.": "the boys ' toys in the u.s.",
    "the <unk>, the <unk> and \ue000 <s> at 7:30.": "the <unk> the <unk> and <s> at N",
    "?! ... --": "",
}


@given(st.text())
def test_whitespace_splits_like_str_split(text):
    assert tokenizer_named("whitespace")(text) == text.split()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [(name, *pair) for name, examples in (("treebank", TREEBANK), ("ptb", PTB)) for pair in examples.items()],
)
def test_conventions_of_the_penn_treebank(name, text, expected):
    assert tokenizer_named(name)(text) == expected.split()


@pytest.mark.parametrize("name", ["treebank", "ptb"])
def test_tokenized_text_is_not_changed(name):
    for text in ("the firm 's <unk> do n't N of s&p 's $ N N", "the boys ' u.s. shares of mr. <unk> & co. in N"):
        assert tokenizer_named(name)(text) == text.split()


@given(st.text(st.sampled_from("aBs N1%.,:;'\"-&$#<>/\\()\u2019\u2014\ue000\u00e9\u3042\n")))
def test_words_of_ptb_are_valid_for_any_text(text):
    for word in tokenizer_named("ptb")(text):
        assert word.split() == [word]
        assert word == "N" or word == word.lower()
        assert word in ("$", "#", "&", "'") or any(map(str.isalnum, word))


@given(st.text())
def test_no_letter_is_lost(text):
    letters = [letter for letter in text.lower() if letter.isalpha()]
    assert [letter for letter in "".join(tokenizer_named("treebank")(text)).lower() if letter.isalpha()] == letters


def test_invalid_names_and_a_missing_package_are_one_line_errors(monkeypatch):
    with pytest.raises(ValueError, match=r"^data\.tokenizer must be whitespace, treebank or ptb, got 'moses'$"):
        tokenizer_named("moses", "data.tokenizer")
    monkeypatch.setitem(sys.modules, "nltk.tokenize", None)
    tokenization._nltk_tokenizer.cache_clear()
    for name in TOKENIZERS[1:]:
        message = f"^data.tokenizer={name} requires nltk: pip install 'lightrnn_pl\\[tokenizer\\]'; [^\n]*$"
        with pytest.raises(ValueError, match=message):
            tokenizer_named(name, "data.tokenizer")
    assert tokenizer_named("whitespace")("needs no package") == ["needs", "no", "package"]
