"""``transformers`` on an exported folder, compared with the decoder of this package."""

import pytest
import torch

from lightrnn_pl.export.bundle_writer import write_bundle
from tests.export.bundles import bundle_of

transformers = pytest.importorskip("transformers")
adapter = pytest.importorskip("lightrnn_pl.export.transformers_adapter")

NAMES = ["lightrnn with empty cells", "cube", "slim", "hybrid"]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def folder(name, tmp_path):
    write_bundle(bundle_of(name), tmp_path)
    return tmp_path


@pytest.fixture
def model(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder)


@pytest.fixture
def tokenizer(folder):
    return transformers.AutoTokenizer.from_pretrained(folder)


def test_the_tokenizer_splits_words_and_prepends_the_context(name, folder, tokenizer, tmp_path):
    vocabulary = bundle_of(name).vocabulary
    encoded = tokenizer(["the never-seen w3", "<unk>w3 l'eau \" été w5"], padding=True)
    assert encoded["input_ids"][1] == [vocabulary.context_id, *vocabulary.encode(["?", "l'eau", '"', "été", "w5"])]
    assert encoded["input_ids"][0][-3:] == vocabulary.encode(["the", "?", "w3"]).tolist()
    assert encoded["attention_mask"][0] == [0, 0, 1, 1, 1, 1]
    assert tokenizer.decode(encoded["input_ids"][1][1:]) == " <unk> l'eau \" été w5"
    assert tokenizer.decode(encoded["input_ids"][0], skip_special_tokens=True) == " the w3"
    assert tokenizer.decode(encoded["input_ids"][0][-3:]) == " the <unk> w3"
    tokenizer.save_pretrained(tmp_path / "again")
    loaded = adapter.LightRNNTokenizer.from_pretrained(tmp_path / "again")
    assert loaded("the w3")["input_ids"] == tokenizer("the w3")["input_ids"]


def test_logits_are_the_log_probabilities_of_all_words(name, model, tokenizer):
    bundle = bundle_of(name)
    lines = ["the w3 w9", "w52"]
    encoded = tokenizer(lines, padding=True, return_tensors="pt")
    logits = model(**encoded).logits
    for row, line in enumerate(lines):
        ids = bundle.vocabulary.encode(line.split()).tolist()
        for position in range(len(ids) + 1):
            expected = bundle.decoder.log_probabilities(bundle.decoder.state_after([ids[:position]]))[0]
            torch.testing.assert_close(logits[row, position - len(ids) - 1], expected, atol=1e-5, rtol=1e-5)
    # The loss does not include the end marker, because it was not read.
    encoded = tokenizer(lines[0], return_tensors="pt")
    loss = float(model(**encoded, labels=encoded["input_ids"]).loss)
    assert loss == pytest.approx(-sum(bundle.score(lines[:1])[0][:-1]) / 3, abs=1e-5)


def test_greedy_generation_equals_that_of_the_decoder(name, model, tokenizer):
    bundle = bundle_of(name)
    prompts = ["the w3 w9 w4", "w52", ""]
    encoded = tokenizer(prompts, padding=True, return_tensors="pt")
    written = model.generate(**encoded, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    for row, prompt in enumerate(prompts):
        # min_new_tokens makes the end marker impossible.
        state = bundle.decoder.state_after([bundle.vocabulary.encode(prompt.split()).tolist()])
        for word in written[row, encoded["input_ids"].shape[1] :]:
            scores = bundle.decoder.log_probabilities(state)[0]
            scores[bundle.vocabulary.end_id] = -torch.inf
            assert float(scores[word]) == pytest.approx(float(scores.max()), abs=1e-5)
            state = bundle.decoder.read(state, word[None])


def test_the_cache_does_not_change_the_result(model, tokenizer):
    encoded = tokenizer(["the w3 w9 w4 w8"], return_tensors="pt")["input_ids"]
    whole = model(encoded).logits
    first = model(encoded[:, :2])
    rest = model(encoded[:, 2:], past_key_values=first.past_key_values)
    torch.testing.assert_close(torch.cat([first.logits, rest.logits], 1), whole, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(model(encoded, logits_to_keep=1).logits, whole[:, -1:])
    lengths = []
    forward = model.forward
    model.forward = lambda input_ids, **options: (lengths.append(input_ids.shape[1]), forward(input_ids, **options))[1]
    model.generate(encoded, max_new_tokens=4, min_new_tokens=4, do_sample=False, pad_token_id=1)
    assert lengths == [6, 1, 1, 1]


def test_beam_search_is_at_least_as_good_as_greedy_search(name, model, tokenizer):
    bundle = bundle_of(name)
    encoded = tokenizer(["the w3", "w52 w8 w7"], padding=True, return_tensors="pt")
    length = encoded["input_ids"].shape[1]

    def score(ids, prompt):
        words = [*prompt.split(), *bundle.vocabulary.decode(ids.tolist())]
        return sum(bundle.score([" ".join(words)])[0][len(prompt.split()) : len(words)])

    options = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
    greedy, beams = model.generate(**encoded, **options), model.generate(**encoded, **options, num_beams=59)
    for row, prompt in enumerate(["the w3", "w52 w8 w7"]):
        assert score(beams[row, length:], prompt) >= score(greedy[row, length:], prompt) - 1e-5


def test_a_pipeline_samples_the_same_words_with_the_same_seed(folder):
    pipe = transformers.pipeline("text-generation", model=str(folder))
    texts = []
    for seed in (0, 0, 1):
        transformers.set_seed(seed)
        texts.append(pipe("the w3", max_new_tokens=12, do_sample=True)[0]["generated_text"])
    assert texts[0] == texts[1] != texts[2] and texts[0].startswith("the w3 ")


def test_load_reads_the_saved_folder(name, model, tmp_path):
    from lightrnn_pl import load

    model.save_pretrained(tmp_path / "again")
    assert load(tmp_path / "again").score(["the w3"]) == bundle_of(name).score(["the w3"])
