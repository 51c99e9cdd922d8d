"""Our language models in the CTC beam search of ``pyctcdecode`` (``pip install 'lightrnn_pl[pyctcdecode]'``).

>>> from pyctcdecode import Alphabet, BeamSearchDecoderCTC           # doctest: +SKIP
>>> model = PyctcdecodeLanguageModel(NeuralScorer(load("demo")))     # doctest: +SKIP
>>> decoder = BeamSearchDecoderCTC(Alphabet.build_alphabet(labels), model)  # doctest: +SKIP
>>> decoder.decode(log_probabilities)                                # doctest: +SKIP
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from pyctcdecode.language_model import AbstractLanguageModel
from typing_extensions import override

from lightrnn_pl.decoders.word_scorer import WordScorer

_LONG_TOKEN = 6
"""The penalty of letters that start no word is proportional to their number above this length, as for kenlm."""


class PyctcdecodeLanguageModel(AbstractLanguageModel):
    """Adds alpha log P(word | preceding words) + beta to each word of a hypothesis.

    Args:
        scorer: The language model.
        alpha: Weight of the language model.
        beta: Added per word, which offsets the preference of language models for few words.
        unk_score_offset: Added to words outside the vocabulary, and to letters that start none of its words.
    """

    def __init__(
        self, scorer: WordScorer, alpha: float = 0.5, beta: float = 1.5, unk_score_offset: float = -10.0
    ) -> None:
        self.scorer, self.alpha, self.beta, self.unk_score_offset = scorer, alpha, beta, unk_score_offset
        self._sorted_words = sorted(scorer.vocabulary.words)

    @property
    @override
    def order(self) -> int:
        """The number of words that distinguish hypotheses, all of them, unlike for n-grams."""
        return 1 << 20

    @override
    def get_start_state(self) -> Any:
        return self.scorer.start()

    @override
    def score_partial_token(self, partial_token: str) -> float:
        position = bisect_left(self._sorted_words, partial_token)
        if position < len(self._sorted_words) and self._sorted_words[position].startswith(partial_token):
            return 0.0
        return self.unk_score_offset * max(1.0, len(partial_token) / _LONG_TOKEN)

    @override
    def score(self, prev_state: Any, word: str, is_last_word: bool = False) -> tuple[float, Any]:
        score, state = 0.0, prev_state
        if word:
            log_probability, state = self.scorer.score(prev_state, word)
            score = self.alpha * log_probability + self.beta
            if word not in self.scorer.vocabulary:
                score += self.unk_score_offset
        if is_last_word:
            score += self.alpha * self.scorer.end(state)
        return score, state

    @override
    def reset_params(self, **params: Any) -> None:
        for name in ("alpha", "beta", "unk_score_offset"):
            if params.get(name) is not None:
                setattr(self, name, params[name])
