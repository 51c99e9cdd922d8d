"""Decoder adapters: scores equal those of the model, and the decoders find sentences that they miss without it."""

import numpy as np
import pytest
import torch

from lightrnn_pl.building import as_config
from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.decoders.word_scorer import NeuralScorer, NgramScorer
from lightrnn_pl.ngrams.members import estimate_member
from lightrnn_pl.vocabulary import Vocabulary
from tests.inference.models import build

WORDS = ["the", "cat", "sat", "on", "mat", "a", "dog", "ran", "to", "at", "hat", "rat", "fat", "<unk>", "<eos>"]
VOCABULARY = Vocabulary(WORDS, range(60, 45, -1), "<unk>", None, "<eos>")
TEXT = [["the", "cat", "sat", "on", "the", "mat"], ["a", "dog", "ran", "to", "the", "cat"]] * 9
LETTERS = [" ", *"abcdefghijklmnopqrstuvwxyz"]
LINES = ["the cat sat", "", "a new dog", "mat"]


@pytest.fixture(scope="module")
def ngrams() -> NgramScorer:
    tokens = np.concatenate([VOCABULARY.encode([*line, "<eos>"]) for line in TEXT])
    return NgramScorer(estimate_member(tokens, VOCABULARY, 3, "own"), VOCABULARY)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    vocabulary = Vocabulary([*WORDS, *(f"x{number}" for number in range(45))], range(60, 0, -1), "<unk>", None, "<eos>")
    return Bundle(build((8, 8)), vocabulary, as_config({}), {})


def frames_of(text: str, signal: float = 6.0, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    columns = [column for letter in text for column in (LETTERS.index(letter),) * 2 + (len(LETTERS),)]
    scores = generator.normal(size=(len(columns), len(LETTERS) + 1))
    scores[np.arange(len(columns)), columns] += signal
    return torch.from_numpy(scores).log_softmax(-1).float().numpy()


def test_word_by_word_scores_equal_those_of_lines(bundle, ngrams):
    for line, scores in zip(LINES, bundle.score(LINES), strict=True):
        assert NeuralScorer(bundle).line(line.split()) == pytest.approx(sum(scores), abs=1e-4)
        ids = np.array([*VOCABULARY.encode(line.split()), VOCABULARY.end_id])
        expected = ngrams._member.log_probabilities(ids).sum()
        assert ngrams.line(line.split()) == pytest.approx(expected)


class TestPyctcdecode:
    def adapter(self, scorer, **options):
        pytest.importorskip("pyctcdecode")
        from lightrnn_pl.decoders.pyctcdecode_adapter import PyctcdecodeLanguageModel

        return PyctcdecodeLanguageModel(scorer, **options)

    def test_scores_are_weighted_log_probabilities(self, bundle):
        model = self.adapter(NeuralScorer(bundle), alpha=0.7, beta=1.25, unk_score_offset=-9.0)
        for line, scores in zip(LINES, bundle.score(LINES), strict=True):
            state, total, words = model.get_start_state(), 0.0, line.split()
            for word in words:
                score, state = model.score(state, word)
                total += score
            total += model.score(state, "", is_last_word=True)[0]
            expected = 0.7 * sum(scores) + 1.25 * len(words) - 9.0 * ("new" in words)
            assert total == pytest.approx(expected, abs=1e-4)
        assert model.score_partial_token("ca") == model.score_partial_token("") == 0
        assert model.score_partial_token("zq") == -9 and model.score_partial_token("zqzqzqzq") == -9 * 8 / 6

    @pytest.mark.parametrize("kind", ["neural", "n-gram"])
    def test_finds_the_more_likely_sentence(self, kind, bundle, ngrams):
        scorer = ngrams if kind == "n-gram" else NeuralScorer(bundle)
        from_model = self.adapter(scorer, alpha=1.0)
        from pyctcdecode import Alphabet, BeamSearchDecoderCTC

        alphabet = Alphabet.build_alphabet([*LETTERS, ""])
        decoder = BeamSearchDecoderCTC(alphabet, from_model)
        assert decoder.decode(frames_of("the cat sat on the mat", 12.0)) == "the cat sat on the mat"
        if kind == "n-gram":
            frames = frames_of("the cat sat on the mat", 12.0)
            frames[[12, 13], LETTERS.index("r")] = frames[[12, 13], LETTERS.index("c")] + 0.5  # "rat" is a bit clearer
            assert BeamSearchDecoderCTC(alphabet).decode(frames) == "the rat sat on the mat"
            assert decoder.decode(frames) == "the cat sat on the mat"
        # Beams are rescored from shared states.
        best = decoder.decode_beams(frames_of("the cat sat", 3.0), beam_width=20)[0]
        assert best[-1] == pytest.approx(
            best[-2]
            + scorer.line(best[0].split()) * 1.0
            + 1.5 * len(best[0].split())
            - 10 * sum(word not in scorer.vocabulary for word in best[0].split()),
            abs=1e-3,
        )


class TestFlashlight:
    def decoder(self, scorer, weight: float = 1.0):
        pytest.importorskip("flashlight.lib.text.decoder")
        from flashlight.lib.text import decoder as flashlight

        from lightrnn_pl.decoders.flashlight_adapter import FlashlightLanguageModel

        words = WORDS[:13]
        model = flashlight.ZeroLM() if scorer is None else FlashlightLanguageModel(scorer, words)
        trie = flashlight.Trie(len(LETTERS) + 1, 0)
        start = model.start(False)
        for index, word in enumerate(words):
            trie.insert([LETTERS.index(letter) for letter in word] + [0], index, model.score(start, index)[1])
        trie.smear(flashlight.SmearingMode.MAX)
        options = flashlight.LexiconDecoderOptions(
            50, 28, 50.0, weight, 0.0, -np.inf, 0.0, False, flashlight.CriterionType.CTC
        )
        # The decoder does not own the model.
        return flashlight.LexiconDecoder(options, trie, model, 0, len(LETTERS), len(words), [], False), words, model

    def decode(self, decoder, frames: np.ndarray):
        decoder, words, _ = decoder
        frames = np.ascontiguousarray(np.concatenate([frames, frames_of(" ", 12.0)]))
        best = decoder.decode(frames.ctypes.data, *frames.shape)[0]
        return " ".join(words[word] for word in best.words if 0 <= word < len(words)), best

    def test_scores_and_sentences(self, ngrams):
        frames = frames_of("the cat sat on the mat", 12.0)
        frames[[12, 13], LETTERS.index("r")] = frames[[12, 13], LETTERS.index("c")] + 0.5
        assert self.decode(self.decoder(None), frames)[0] == "the rat sat on the mat"
        text, best = self.decode(self.decoder(ngrams, 1.5), frames)
        assert text == "the cat sat on the mat"
        assert best.lmScore == pytest.approx(ngrams.line(text.split()), abs=1e-3)

    def test_neural_models_score_each_word_once(self, bundle):
        scorer = NeuralScorer(bundle)
        text, best = self.decode(self.decoder(scorer, 0.3), frames_of("a dog ran to the cat", 12.0))
        assert text == "a dog ran to the cat"
        assert best.lmScore == pytest.approx(scorer.line(text.split()), abs=1e-3)
