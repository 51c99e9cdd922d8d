"""Word error rate of CTC beam search on synthetic emissions, without a language model, with ours, and with n-grams.

The emissions are those of a noisy recognizer: each letter of a sentence has high scores in two frames, followed by a
blank, plus Gaussian noise.  Sentences are from the test split of the documentation included in Python, which the
model of the package was not trained on; n-grams are estimated on its training split.

    python benchmarks/ctc_decoding.py --decoder pyctcdecode
    python benchmarks/ctc_decoding.py --decoder flashlight
"""

import argparse
import importlib
from collections.abc import Callable, Sequence

import numpy as np

from lightrnn_pl import load
from lightrnn_pl.data.pydoc import PydocCorpus
from lightrnn_pl.decoders.word_scorer import NeuralScorer, NgramScorer, WordScorer
from lightrnn_pl.ngrams.members import estimate_member

LETTERS = [" ", *"abcdefghijklmnopqrstuvwxyz"]
Decode = Callable[[np.ndarray], str]


def emissions(text: str, signal: float, generator: np.random.Generator) -> np.ndarray:
    """Log-probabilities of the blank (the last column) and of ``LETTERS``, (frames, 28), float32."""
    columns = [column for letter in text for column in (LETTERS.index(letter),) * 2 + (len(LETTERS),)]
    scores = generator.normal(size=(len(columns), len(LETTERS) + 1))
    scores[np.arange(len(columns)), columns] += signal
    return (scores - np.log(np.exp(scores).sum(1, keepdims=True))).astype(np.float32)


def pyctcdecode_decoder(scorer: WordScorer | None, words: Sequence[str], alpha: float, beta: float) -> Decode:
    """The decoder of pyctcdecode; without a model, it knows no words."""
    from pyctcdecode import Alphabet, BeamSearchDecoderCTC

    from lightrnn_pl.decoders.pyctcdecode_adapter import PyctcdecodeLanguageModel

    model = None if scorer is None else PyctcdecodeLanguageModel(scorer, alpha, beta)
    decoder = BeamSearchDecoderCTC(Alphabet.build_alphabet([*LETTERS, ""]), model)
    return lambda frames: decoder.decode(frames, beam_width=25)


def flashlight_decoder(scorer: WordScorer | None, words: Sequence[str], alpha: float, beta: float) -> Decode:
    """The lexicon decoder of flashlight, which finds only ``words``; without a model, all are equally likely."""
    from flashlight.lib.text import decoder as flashlight

    from lightrnn_pl.decoders.flashlight_adapter import FlashlightLanguageModel

    model = flashlight.ZeroLM() if scorer is None else FlashlightLanguageModel(scorer, words)
    silence, blank = 0, len(LETTERS)
    trie = flashlight.Trie(len(LETTERS) + 1, silence)
    start = model.start(False)
    for index, word in enumerate(words):
        trie.insert([LETTERS.index(letter) for letter in word] + [silence], index, model.score(start, index)[1])
    trie.smear(flashlight.SmearingMode.MAX)
    options = flashlight.LexiconDecoderOptions(
        beam_size=50,
        beam_size_token=10,
        beam_threshold=25,
        lm_weight=alpha,
        word_score=beta,
        unk_score=-np.inf,
        sil_score=0,
        log_add=False,
        criterion_type=flashlight.CriterionType.CTC,
    )
    decoder = flashlight.LexiconDecoder(options, trie, model, silence, blank, len(words), [], False)

    def decode(frames: np.ndarray) -> str:
        frames = np.ascontiguousarray(np.concatenate([frames, emissions(" ", 9.0, np.random.default_rng(0))]))
        best = decoder.decode(frames.ctypes.data, *frames.shape)[0]
        return " ".join(words[word] for word in best.words if 0 <= word < len(words))

    decode.__dict__["model"] = model  # the decoder does not keep it alive
    return decode


def word_error_rate(decode: Decode, texts: Sequence[str], signal: float, seed: int) -> float:
    """The word error rate in percent."""
    from kaldialign import edit_distance

    generator = np.random.default_rng(seed)
    errors = sum(
        edit_distance(text.split(), decode(emissions(text, signal, generator)).split())["total"] for text in texts
    )
    return 100 * errors / sum(len(text.split()) for text in texts)


def sentences(split: str) -> list[str]:
    """Sentences of letters only."""
    texts = (" ".join(words[:-1] if words[-1:] == ["."] else words) for words in PydocCorpus().lines(split))
    return [text for text in texts if 4 <= len(text.split()) <= 15 and set(text) <= set(LETTERS)]


def check_packages(decoder: str) -> None:
    """Check that the packages of a decoder and of the word error rate are installed.

    Raises:
        ValueError: Naming the extra to install.
    """
    module = {"pyctcdecode": "pyctcdecode", "flashlight": "flashlight.lib.text"}[decoder]
    for package, extra in ((module, decoder), ("kaldialign", "rescore")):
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            raise ValueError(f"the package {error.name} is required: pip install 'lightrnn_pl[{extra}]'") from error


def main(decoder: str, number: int, signal: float, alpha: float, beta: float, seed: int) -> dict[str, float]:
    """Print and return the word error rates."""
    bundle = load("demo")
    words = sorted(word for word in bundle.vocabulary.words if set(word) <= set(LETTERS))
    texts = [text for text in sentences("test") if set(text.split()) <= set(words)][:number]
    tokens = np.concatenate([bundle.vocabulary.encode([*line, "<eos>"]) for line in PydocCorpus().lines("train")])
    ngrams = estimate_member(tokens, bundle.vocabulary, 3, "own")
    scorers = {
        "no language model": None,
        "Kneser-Ney 3-gram": NgramScorer(ngrams, bundle.vocabulary),
        "demo": NeuralScorer(bundle),
    }
    make = {"pyctcdecode": pyctcdecode_decoder, "flashlight": flashlight_decoder}[decoder]
    rates = {}
    for name, scorer in scorers.items():
        rates[name] = word_error_rate(make(scorer, words, alpha, beta), texts, signal, seed)
        print(f"{decoder}, {name}: {rates[name]:.2f}% word errors in {len(texts)} sentences", flush=True)
    return rates


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decoder", choices=("pyctcdecode", "flashlight"), default="pyctcdecode")
    parser.add_argument("--sentences", type=int, default=20)
    parser.add_argument("--signal", type=float, default=4.5, help="score of the right letter, in standard deviations")
    parser.add_argument("--alpha", type=float, default=0.5, help="weight of the language model")
    parser.add_argument("--beta", type=float, default=1.0, help="added per word")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        check_packages(args.decoder)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")
    main(args.decoder, args.sentences, args.signal, args.alpha, args.beta, args.seed)
