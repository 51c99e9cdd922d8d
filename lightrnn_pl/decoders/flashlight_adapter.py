"""Our language models in flashlight's lexicon decoder, which is torchaudio's ``ctc_decoder``.

``FlashlightLanguageModel`` has the interface of torchaudio's ``CTCDecoderLM``: pass it as ``lm=`` of
``torchaudio.models.decoder.ctc_decoder``, together with ``lm_dict=``, a file with one word of ``words`` per line.  It
requires only flashlight-text (``pip install 'lightrnn_pl[flashlight]'``), not torchaudio.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flashlight.lib.text.decoder import LM, LMState

from lightrnn_pl.decoders.word_scorer import WordScorer


class FlashlightLanguageModel(LM):
    """A word-level language model for a lexicon decoder.  Scores are natural-log probabilities.

    Args:
        scorer: The language model.
        words: The word of each index of the decoder's word dictionary.
    """

    def __init__(self, scorer: WordScorer, words: Sequence[str]) -> None:
        super().__init__()
        self.scorer, self.words = scorer, list(words)
        # The decoder identifies a hypothesis by a state object, whose children are the words that follow.  The keys
        # keep the objects alive, so that the decoder receives the same ones again.
        self._states: dict[Any, Any] = {}
        self._scores: dict[Any, float] = {}

    def start(self, start_with_nothing: bool) -> Any:
        """The state of an empty hypothesis.  The states of the previous utterance are discarded."""
        self._states, self._scores = {}, {}
        state = LMState()
        self._states[state] = self.scorer.start()
        return state

    def score(self, state: Any, usr_token_idx: int) -> tuple[Any, float]:
        """The state after the word with the given index, and the log-probability of the word."""
        following = state.child(usr_token_idx)
        if following not in self._states:
            score, after = self.scorer.score(self._states[state], self.words[usr_token_idx])
            self._states[following], self._scores[following] = after, score
        return following, self._scores[following]

    def finish(self, state: Any) -> tuple[Any, float]:
        """The state after the end of the utterance, and the log-probability of its end."""
        following = state.child(len(self.words))
        if following not in self._states:
            self._states[following] = None
            self._scores[following] = self.scorer.end(self._states[state])
        return following, self._scores[following]
