"""Creates n-best lists in the Moses format from real text, to test rescoring: noisy sentences with features.

Each hypothesis is the sentence after a few edits: words are swapped with their neighbors, deleted, duplicated, or
replaced by another word of the text.  The original sentence is included only by chance.  Like those of a translation
model, the features are only a noisy indication of errors: the number of edits plus noise, the difference in length plus
noise, and pure noise.  The score is a weighted sum of the features.

    python benchmarks/nbest_lists.py TEXT OUT_PREFIX --sentences 500 --hypotheses 50
"""

import argparse
import gzip
from pathlib import Path

import numpy as np

WEIGHTS = (0.6, 0.2, 0.1, 0.1)


def edit(words: list[str], edits: int, replacements: list[str], generator: np.random.Generator) -> list[str]:
    """A copy of ``words`` after random edits."""
    words = list(words)
    for _ in range(edits):
        position, kind = int(generator.integers(len(words))), generator.integers(4)
        if kind == 0 and position + 1 < len(words):
            words[position], words[position + 1] = words[position + 1], words[position]
        elif kind == 1 and len(words) > 1:
            del words[position]
        elif kind == 2:
            words.insert(position, words[position])
        else:
            words[position] = replacements[generator.integers(len(replacements))]
    return words


def hypotheses(number: int, words: list[str], replacements: list[str], count: int, generator: np.random.Generator):
    """The lines of a sentence, in decreasing order of score."""
    variants = []
    for _ in range(count):
        edits = int(generator.integers(1, 7))
        variant = edit(words, edits, replacements, generator)
        features = (
            -edits + generator.normal(0, 2.5),
            -abs(len(variant) - len(words)) + generator.normal(0, 2),
            *generator.normal(size=2),
        )
        variants.append((float(np.dot(WEIGHTS, features)), " ".join(variant), features))
    for score, text, (adequacy, length, *noise) in sorted(variants, key=lambda variant: -variant[0]):
        values = f"TM0= {adequacy:.4f} {length:.4f} Noise0= {noise[0]:.4f} Noise1= {noise[1]:.4f}"
        yield f"{number} ||| {text} ||| {values} ||| {score:.5f}"


def make(text: Path, prefix: Path, sentences: int, count: int, seed: int, skip: int = 0, packed: bool = False) -> None:
    """Write ``prefix.nbest`` (or ``prefix.nbest.gz``) and ``prefix.ref``."""
    lines = [line.split() for line in text.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if 6 <= len(line) <= 30][skip : skip + sentences]
    replacements = [word for line in lines for word in line]
    generator = np.random.default_rng(seed)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{prefix}.ref").write_text("".join(f"{' '.join(line)}\n" for line in lines), encoding="utf-8")
    path = f"{prefix}.nbest" + (".gz" if packed else "")
    with gzip.open(path, "wt", encoding="utf-8") if packed else Path(path).open("w", encoding="utf-8") as file:
        for number, words in enumerate(lines):
            file.writelines(f"{line}\n" for line in hypotheses(number, words, replacements, count, generator))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="one tokenized sentence per line")
    parser.add_argument("prefix", type=Path, help="write PREFIX.nbest and PREFIX.ref")
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument("--hypotheses", type=int, default=50)
    parser.add_argument("--skip", type=int, default=0, help="number of sentences to skip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--packed", action="store_true", help="write PREFIX.nbest.gz")
    args = parser.parse_args()
    if not args.text.is_file():
        parser.error(f"{args.text} is not a file; pass a text file")
    make(args.text, args.prefix, args.sentences, args.hypotheses, args.seed, args.skip, args.packed)
