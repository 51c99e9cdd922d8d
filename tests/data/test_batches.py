"""Batches: every token is a target exactly once, inputs precede targets, and epochs resume exactly."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lightrnn_pl.data.batches import SentenceBatches, StreamBatches, random_bounds
from lightrnn_pl.data.streaming import LINES_PER_CHUNK, UncachedBatches, assign_chunks, chunks

CONTEXT = 999
BEGIN = 7


def distinct_tokens(length):
    """Tokens that are all different."""
    return np.arange(1000, 1000 + length, dtype=np.int32)


def targets_of(loaders):
    """All targets that count, sorted."""
    return sorted(int(t) for loader in loaders for batch in loader for t in batch.targets[batch.mask])


def streams_of(loader):
    """The inputs and targets of each row over all windows, without padding."""
    batches = list(loader)
    rows = range(len(batches[0].mask))
    return [
        [
            (int(i), int(t))
            for batch in batches
            for i, t, m in zip(batch.inputs[row], batch.targets[row], batch.mask[row], strict=True)
            if m
        ]
        for row in rows
    ]


@given(st.integers(0, 200), st.integers(1, 5), st.integers(1, 12), st.integers(1, 3))
def test_evaluation_reads_every_token_once(length, batch_size, window, world_size):
    tokens = distinct_tokens(length)
    loaders = [
        StreamBatches(
            tokens, batch_size, window, context=CONTEXT, drop_remainder=False, rank=rank, world_size=world_size
        )
        for rank in range(world_size)
    ]
    assert targets_of(loaders) == tokens.tolist()
    assert len({len(loader) for loader in loaders}) == 1
    for loader in loaders:
        assert len(list(loader)) == len(loader)
        for stream in streams_of(loader) if len(loader) else []:
            for given_word, target in stream:
                assert given_word == (CONTEXT if target == 1000 else target - 1)


@given(st.integers(1, 200), st.integers(1, 5), st.integers(1, 12), st.integers(1, 3))
def test_training_streams_are_contiguous_and_equal(length, batch_size, window, world_size):
    num_streams = batch_size * world_size
    tokens = distinct_tokens(length)
    if length // num_streams < window:
        with pytest.raises(ValueError, match=r"less than one window \(data\.sequence_length="):
            StreamBatches(tokens, batch_size, window, context=CONTEXT, world_size=world_size)
        return
    streams = []
    for rank in range(world_size):
        loader = StreamBatches(tokens, batch_size, window, context=CONTEXT, rank=rank, world_size=world_size)
        batches = list(loader)
        assert all(batch.mask.all() for batch in batches)
        assert [bool(batch.reset.all()) for batch in batches] == [i == 0 for i in range(len(batches))]
        assert [bool(batch.reset.any()) for batch in batches] == [i == 0 for i in range(len(batches))]
        assert batches[0].inputs.dtype == batches[0].targets.dtype == torch.int64
        streams += [[target for _, target in stream] for stream in streams_of(loader)]
    used = length // num_streams * num_streams
    assert [target for stream in streams for target in stream] == tokens[:used].tolist()
    assert len({len(stream) for stream in streams}) == 1
    assert length - used < num_streams


@given(st.integers(1, 400), st.integers(1, 40), st.integers(0, 9))
def test_random_windows_cover_the_stream_in_order(num_windows, mean, seed):
    length = num_windows * mean
    bounds = random_bounds(length, num_windows, (seed, 0))
    assert len(bounds) == num_windows + 1 and (bounds[0], bounds[-1]) == (0, length)
    assert (np.diff(bounds) >= 1).all()


def test_random_windows_are_distributed_as_in_the_paper():
    lengths = np.diff(random_bounds(35 * 20_000, 20_000, (0, 0)))
    usual = lengths[lengths > 26]
    assert np.std(usual) == pytest.approx(5, abs=0.5) and usual.mean() == pytest.approx(36, abs=0.5)
    assert (lengths <= 24).mean() == pytest.approx(0.05, abs=0.02) and lengths.min() >= 5


def test_random_windows_contain_the_words_of_fixed_ones_and_differ_between_epochs():
    def loader(seed):
        return StreamBatches(distinct_tokens(210), 3, 7, context=CONTEXT, seed=seed)

    lengths = []
    for varying in (loader(0), loader(0), loader(1)):
        for _ in range(2):
            batches = list(varying)
            assert len(batches) == len(varying)
            lengths.append([batch.targets.shape[1] for batch in batches])
        assert streams_of(varying) == streams_of(loader(None))
        assert varying.state_dict()["num_batches"] == len(loader(None))
    assert lengths[:2] == lengths[2:4] and lengths[0] != lengths[1] and lengths[0] != lengths[4]
    assert {batch.targets.shape[1] for batch in loader(None)} == {7}


def test_begin_marker_is_an_input_but_not_a_target():
    tokens = np.array([BEGIN, 1, 2, 3, BEGIN, 4, 3], dtype=np.int32)
    (batch,) = StreamBatches(tokens, 1, 7, context=BEGIN, ignored=BEGIN)
    assert batch.inputs.tolist() == [[BEGIN, BEGIN, 1, 2, 3, BEGIN, 4]]
    assert batch.targets[batch.mask].tolist() == [1, 2, 3, 4, 3]


LINES = st.lists(st.integers(0, 9), max_size=30)


def tokens_of_lines(lengths, begin):
    """Distinct tokens of lines of the given lengths, with a begin marker before each line if ``begin`` is true."""
    lengths = np.array(lengths, dtype=np.int32) + begin
    tokens = distinct_tokens(int(lengths.sum()))
    if begin:
        tokens[np.cumsum(lengths) - lengths] = BEGIN
    return tokens, lengths


@given(LINES, st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), st.booleans(), st.sampled_from([None, 1]))
def test_sentences_are_independent_sequences(lengths, batch_size, window, world_size, begin, seed):
    tokens, marked = tokens_of_lines(lengths, begin)
    expected = sorted(t for t in tokens.tolist() if t != BEGIN)
    context, ignored = (BEGIN, BEGIN) if begin else (CONTEXT, None)
    loaders = [
        SentenceBatches(
            tokens,
            marked,
            batch_size,
            window,
            context=context,
            ignored=ignored,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
        for rank in range(world_size)
    ]
    for _ in range(2):
        assert targets_of(loaders) == expected
    firsts = set((1000 + np.cumsum(marked) - marked + begin)[np.array(lengths, dtype=int) > 0].tolist())
    assert len({len(loader) for loader in loaders}) == 1
    for loader in loaders:
        batches = list(loader)
        assert len(batches) == len(loader)
        for batch in batches:
            for row in range(batch_size):
                for i, t, m in zip(batch.inputs[row], batch.targets[row], batch.mask[row], strict=True):
                    if m:
                        assert int(i) == (context if int(t) in firsts else int(t) - 1)
                if batch.mask[row].any():
                    assert bool(batch.reset[row]) == (int(batch.targets[row, 0]) in firsts)


def test_sentence_order_changes_each_epoch_and_depends_only_on_the_seed():
    tokens, lengths = tokens_of_lines([3] * 40 + [5] * 40, False)
    one, two = (SentenceBatches(tokens, lengths, 4, 8, context=CONTEXT, seed=3) for _ in range(2))
    epochs = [[batch.targets.tolist() for batch in one] for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert [batch.targets.tolist() for batch in two] == epochs[0]
    two.set_epoch(1)
    assert [batch.targets.tolist() for batch in two] == epochs[1]


def blocks_of(tokens, lengths, block):
    """The text in blocks of ``block`` lines."""
    ends = np.cumsum(lengths)
    for first in range(0, len(lengths), block):
        block_lengths = lengths[first : first + block]
        end = ends[min(first + block, len(lengths)) - 1]
        yield tokens[end - block_lengths.sum() : end], block_lengths


def uncached(tokens, lengths, batch_size, window, world_size=1, rank=0, block=50):
    lines = np.array([len(chunk) for chunk in chunks(blocks_of(tokens, lengths, 7))], dtype=np.int32)
    return UncachedBatches(
        lambda: blocks_of(tokens, lengths, block),
        lines,
        batch_size,
        window,
        context=CONTEXT,
        rank=rank,
        world_size=world_size,
    )


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=400),
    st.integers(1, 4),
    st.integers(1, 20),
    st.integers(1, 3),
    st.integers(1, 100),
)
def test_uncached_batches_read_every_token_once(lengths, batch_size, window, world_size, block):
    tokens, lengths = tokens_of_lines(lengths, False)
    loaders = [uncached(tokens, lengths, batch_size, window, world_size, rank, block) for rank in range(world_size)]
    assert targets_of(loaders) == tokens.tolist()
    assert len({len(loader) for loader in loaders}) == 1
    starts = {1000, *(1000 + np.cumsum(lengths)[LINES_PER_CHUNK - 1 :: LINES_PER_CHUNK]).tolist()}
    for loader in loaders:
        assert len(list(loader)) == len(loader)
        for stream in streams_of(loader) if len(loader) else []:
            for given_word, target in stream:
                assert given_word == target - 1 or target in starts


def test_streams_have_similar_lengths():
    sizes = np.random.default_rng(0).integers(300, 900, size=2000).astype(np.int32)
    _, stream_lengths = assign_chunks(sizes, 20, 35)
    assert stream_lengths.max() - stream_lengths.min() < 2 * 900


def loaders_of_every_kind():
    lengths = np.random.default_rng(0).integers(0, 9, size=300).astype(np.int32)
    tokens = distinct_tokens(int(lengths.sum()))
    return {
        "stream": lambda: StreamBatches(tokens, 4, 7, context=CONTEXT),
        "sentence": lambda: SentenceBatches(tokens, lengths, 4, 3, context=CONTEXT, seed=5),
        "uncached": lambda: uncached(tokens, lengths, 4, 7),
    }


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", ["stream", "sentence", "uncached"])
@pytest.mark.parametrize("stop", [1, 5, 30, -1, 0])
def test_resumes_after_the_last_batch_used(kind, stop):
    make = loaders_of_every_kind()[kind]
    whole = make()
    expected = list(whole) + list(whole)
    cut = make()
    size = len(cut)
    stop = stop if stop >= 0 else size
    iterator = iter(cut)
    for _ in range(stop):
        next(iterator)
    state = cut.state_dict()
    resumed = make()
    iter(resumed)  # Lightning creates iterators that it never uses
    resumed.load_state_dict(state)
    assert len(resumed) == size
    rest = list(resumed) + (list(resumed) if stop < size else [])
    assert len(rest) == 2 * size - stop
    assert all(map(same, rest, expected[stop:]))


def test_rejects_a_state_with_another_number_of_batches():
    tokens = distinct_tokens(100)
    state = StreamBatches(tokens, 2, 5, context=CONTEXT).state_dict()
    with pytest.raises(ValueError, match="epoch of 10 batches, but this one has 25"):
        StreamBatches(tokens, 4, 1, context=CONTEXT).load_state_dict(state)


@pytest.mark.parametrize(("batch_size", "window"), [(0, 5), (2, 0), (-1, 5)])
def test_rejects_sizes_below_one(batch_size, window):
    with pytest.raises(ValueError, match=r"must be an integer greater than or equal to 1, got (0|-1)"):
        StreamBatches(distinct_tokens(100), batch_size, window, context=CONTEXT)


class Recorder(pl.LightningModule):
    """Records the batches it is trained on."""

    def __init__(self, loader):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.loader = loader
        self.seen = []

    def train_dataloader(self):
        return self.loader

    def val_dataloader(self):
        return StreamBatches(distinct_tokens(20), 2, 5, context=CONTEXT, drop_remainder=False)

    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, batch_idx, batch.targets.tolist()))
        return self.weight * batch.targets.float().mean()

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAt(pl.Callback):
    """Saves a checkpoint in the given hook after the given number of batches."""

    def __init__(self, path, hook, batches):
        self.path, self.batches = path, batches
        setattr(self, hook, self.save)

    def save(self, trainer, module, *args, **kwargs):
        if len(module.seen) == self.batches and not trainer.sanity_checking:
            trainer.save_checkpoint(self.path)


def fit(loader, callbacks=(), resume=None, **options):
    module = Recorder(loader)
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **options,
    )
    trainer.fit(module, ckpt_path=resume)
    return module.seen


@pytest.mark.parametrize("kind", ["stream", "sentence", "uncached"])
@pytest.mark.parametrize(
    ("hook", "epochs", "extra"),
    [
        ("on_train_batch_end", 0, 3),
        ("on_train_batch_end", 1, 5),
        ("on_train_batch_end", 1, 0),
        ("on_validation_end", 1, 0),
        ("on_train_epoch_end", 1, 0),
        ("on_train_epoch_end", 2, 0),
    ],
)
@pytest.mark.parametrize("limit", [None, pytest.param(7, marks=pytest.mark.exhaustive)])
def test_lightning_resumes_with_the_next_batch(tmp_path, kind, hook, epochs, extra, limit):
    make = loaders_of_every_kind()[kind]
    options = {"limit_train_batches": limit} if limit else {}
    stop = epochs * (limit or len(make())) + extra
    expected = fit(make(), **options)
    assert len(expected) == 3 * (limit or len(make()))
    path = tmp_path / "cut.ckpt"
    fit(make(), [SaveAt(path, hook, stop)], **options)
    assert fit(make(), resume=path, **options) == expected[stop:]
