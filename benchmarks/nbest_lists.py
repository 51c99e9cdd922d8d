"""N-best lists in Moses's format made of real text, to try rescoring on: noisy variants of sentences, with features.

Each hypothesis is the sentence after a few edits: neighbours swapped, words dropped, replaced by another word of the
text, or said twice; the undamaged sentence itself is among them only by chance.  Its features know of the noise no
more than a translation model does of errors: the number of edits seen through noise, the difference in length seen
through noise, and noise alone.  The score is a weighted sum of them.

    python benchmarks/nbest_lists.py TEXT OUT_PREFIX --sentences 500 --hypotheses 50
"""

import argparse
import gzip
from pathlib import Path

import numpy as np

WEIGHTS = (0.6, 0.2, 0.1, 0.1)


def damage(words: list[str], edits: int, known: list[str], generator: np.random.Generator) -> list[str]:
    words = list(words)
    for _ in range(edits):
        place, kind = int(generator.integers(len(words))), generator.integers(4)
        if kind == 0 and place + 1 < len(words):
            words[place], words[place + 1] = words[place + 1], words[place]
        elif kind == 1 and len(words) > 1:
            del words[place]
        elif kind == 2:
            words.insert(place, words[place])
        else:
            words[place] = known[generator.integers(len(known))]
    return words


def hypotheses(number: int, words: list[str], known: list[str], count: int, generator: np.random.Generator):
    """The lines of a sentence, the highest score first."""
    found = []
    for _ in range(count):
        edits = int(generator.integers(1, 7))
        variant = damage(words, edits, known, generator)
        features = (
            -edits + generator.normal(0, 2.5),
            -abs(len(variant) - len(words)) + generator.normal(0, 2),
            *generator.normal(size=2),
        )
        found.append((float(np.dot(WEIGHTS, features)), " ".join(variant), features))
    for score, text, (adequacy, length, *noise) in sorted(found, key=lambda one: -one[0]):
        values = f"TM0= {adequacy:.4f} {length:.4f} Noise0= {noise[0]:.4f} Noise1= {noise[1]:.4f}"
        yield f"{number} ||| {text} ||| {values} ||| {score:.5f}"


def make(text: Path, prefix: Path, sentences: int, count: int, seed: int, skip: int = 0, packed: bool = False) -> None:
    lines = [line.split() for line in text.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if 6 <= len(line) <= 30][skip : skip + sentences]
    known = [word for line in lines for word in line]
    generator = np.random.default_rng(seed)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{prefix}.ref").write_text("".join(f"{' '.join(line)}\n" for line in lines), encoding="utf-8")
    path = f"{prefix}.nbest" + (".gz" if packed else "")
    with gzip.open(path, "wt", encoding="utf-8") if packed else Path(path).open("w", encoding="utf-8") as file:
        for number, words in enumerate(lines):
            file.writelines(f"{line}\n" for line in hypotheses(number, words, known, count, generator))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="one tokenised sentence a line")
    parser.add_argument("prefix", type=Path, help="PREFIX.nbest and PREFIX.ref are written")
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument("--hypotheses", type=int, default=50)
    parser.add_argument("--skip", type=int, default=0, help="sentences of the text that are passed over")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--packed", action="store_true", help="write PREFIX.nbest.gz")
    given = parser.parse_args()
    make(given.text, given.prefix, given.sentences, given.hypotheses, given.seed, given.skip, given.packed)
