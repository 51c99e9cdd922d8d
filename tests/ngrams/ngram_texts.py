"""Small random texts for n-gram models, with words that occur once, one-word lines and empty lines."""

import numpy as np

WORDS = ("<unk>", *(f"w{number}" for number in range(12)), "</s>")
END = len(WORDS) - 1


def random_lines(seed: int, num_lines: int = 60, words: int = 12) -> list[list[str]]:
    generator = np.random.default_rng(seed)
    lines = []
    for _ in range(num_lines):
        line = [min(int(generator.zipf(1.4)) - 1, words - 1) for _ in range(generator.integers(0, 8))]
        for index in range(1, len(line)):
            if generator.random() < 0.5:
                line[index] = (line[index - 1] * 5 + 1) % words
        lines.append([f"w{word}" for word in line] + ["</s>"])
    return lines


def ids_of(lines: list[list[str]], words=WORDS) -> np.ndarray:
    return np.array([words.index(word) for line in lines for word in line], dtype=np.int32)


def probabilities_after(model, context: list[int], end: int | None, num_words: int) -> np.ndarray:
    """The probability of every word id after a context that starts a line; a text is one line if ``end`` is None."""
    scores = []
    for word in range(num_words):
        line = [*context, word] if end in (None, word) else [*context, word, end]
        scores.append(model.log_probabilities(np.array(line))[len(context)])
    return np.exp(scores)
