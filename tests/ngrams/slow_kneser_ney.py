"""Reference implementation of interpolated modified Kneser-Ney with dictionaries and recursion."""

from collections import Counter, defaultdict

BEGIN = "<s>"


def ngrams(lines: list[list[str]], n: int) -> Counter:
    """Counts of the n-grams of lines."""
    return Counter(tuple(line[i : i + n]) for line in lines for i in range(len(line) - n + 1))


class SlowKneserNey:
    """A model of ``lines``, including any end markers, over ``vocabulary``, which excludes the begin marker."""

    def __init__(self, lines: list[list[str]], vocabulary: list[str], order: int) -> None:
        marked = [[BEGIN, *line] for line in lines]
        self.order, self.vocabulary = order, vocabulary
        self.counts = {}
        for n in range(1, order + 1):
            plain = ngrams(marked, n)
            before = defaultdict(set)
            for ngram in ngrams(marked, n + 1):
                before[ngram[1:]].add(ngram[0])
            self.counts[n] = {
                ngram: count if n == order or ngram[0] == BEGIN else len(before[ngram])
                for ngram, count in plain.items()
                if ngram != (BEGIN,)
            }
        self.discounts = {n: self._discounts(n) for n in self.counts}

    def _discounts(self, n: int) -> tuple[float, float, float, float]:
        counts_of_counts = Counter(self.counts[n].values())
        if not all(counts_of_counts[k] for k in (1, 2, 3)):
            return 0.0, 0.5, 1.0, 1.5
        y = counts_of_counts[1] / (counts_of_counts[1] + 2 * counts_of_counts[2])
        discounts = [k - (k + 1) * y * counts_of_counts[k + 1] / counts_of_counts[k] for k in (1, 2, 3)]
        if any(not 0 <= d <= k for k, d in enumerate(discounts, start=1)):
            return 0.0, 0.5, 1.0, 1.5
        return 0.0, *discounts

    def probability(self, word: str, context: tuple[str, ...]) -> float:
        context = context[-(self.order - 1) :] if self.order > 1 else ()
        n = len(context) + 1
        lower = self.probability(word, context[1:]) if context else 1 / len(self.vocabulary)
        followers = {ngram[-1]: count for ngram, count in self.counts[n].items() if ngram[:-1] == context}
        if not followers:
            return lower
        total = sum(followers.values())
        count, discount = followers.get(word, 0), self.discounts[n]
        gamma = sum(discount[min(c, 3)] for c in followers.values()) / total
        return (count - discount[min(count, 3)]) / total + gamma * lower
