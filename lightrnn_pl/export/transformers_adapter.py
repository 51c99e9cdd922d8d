"""An adapter for ``transformers``: ``generate`` and ``text-generation`` pipelines on an exported folder.

>>> import lightrnn_pl.export.transformers_adapter                    # doctest: +SKIP
>>> pipeline("text-generation", model="FOLDER")("the cat", max_new_tokens=10)    # doctest: +SKIP

Importing this module registers the model type ``lightrnn`` with the Auto classes.  The logits are exact, normalized
log-probabilities of all words.  With several codes per word, computing them opens every row, which is slow;
``Bundle.generate`` and ``Bundle.next_words`` avoid this.  The cache is the recurrent state between two words.

The first token of each text is the context word, which the tokenizer prepends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationMixin,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizer,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.export.hub import HubModel
from lightrnn_pl.inference.decoding import Decoder, DecodingState
from lightrnn_pl.inference.top_k import select_state
from lightrnn_pl.model_folder import MODEL_TYPE, VOCABULARIES, VOCABULARY
from lightrnn_pl.vocabulary import Vocabulary

_CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
"""The name of the cache in inputs and outputs: transformers 5.24 renamed ``past_key_values`` to ``cache``."""


class LightRNNConfig(PretrainedConfig):
    """The configuration that ``transformers`` needs; the model itself is built from the bundle's configuration."""

    model_type = MODEL_TYPE

    @classmethod
    def of(cls, bundle: Bundle) -> LightRNNConfig:
        """The configuration of a trained model."""
        config = cls()
        config.vocab_size = len(bundle.vocabulary)
        config.bos_token_id = bundle.vocabulary.context_id
        config.eos_token_id = bundle.vocabulary.end_id
        config.pad_token_id = config.bos_token_id if config.eos_token_id is None else config.eos_token_id
        return config


@dataclass
class RecurrentCache:
    """The state of B texts between two words.

    Attributes:
        state: The recurrent state of each text; zeros for texts that consist of padding so far.
        started: Whether a token other than padding has been read, (B,).
        num_read: Number of tokens read, including padding.
    """

    state: DecodingState
    started: Tensor
    num_read: int = 0

    is_compileable = False

    @classmethod
    def empty(cls, decoder: Decoder, batch_size: int) -> RecurrentCache:
        """The cache before the first token."""
        device = decoder.device
        first = decoder.start(1)
        zeros = DecodingState(
            torch.zeros_like(first.hidden).repeat(batch_size, 1),
            tuple(torch.zeros_like(part).repeat(1, batch_size, 1) for part in first.core),
        )
        return cls(zeros, torch.zeros(batch_size, dtype=torch.bool, device=device))

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The number of tokens read."""
        return self.num_read

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Select the texts ``beam_idx``, which may contain duplicates."""
        self.state = self.state.select(beam_idx)
        self.started = self.started[beam_idx]

    def read(self, decoder: Decoder, words: Tensor, counted: Tensor) -> RecurrentCache:
        """Read one token of each text, (B,); tokens for which ``counted`` is false are padding and are skipped."""
        hidden, core = self.state.hidden.clone(), tuple(part.clone() for part in self.state.core)
        for selected, is_first in ((counted & ~self.started, True), (counted & self.started, False)):
            rows = selected.nonzero()[:, 0]
            if not len(rows):
                continue
            if is_first:
                after = DecodingState(*decoder.model.step(decoder.model.embedding.first_step(words[rows])))
            else:
                after = decoder.read(DecodingState(hidden[rows], select_state(core, rows)), words[rows])
            hidden[rows] = after.hidden
            for part, new in zip(core, after.core, strict=True):
                part[:, rows] = new
        return RecurrentCache(DecodingState(hidden, core), self.started | counted, self.num_read + 1)


class LightRNNForCausalLM(PreTrainedModel, GenerationMixin):
    """A trained model for ``generate`` and pipelines; for inference only, without gradients.

    Args:
        config: ``LightRNNConfig.of(bundle)``.
        bundle: The model.
    """

    config_class = LightRNNConfig
    base_model_prefix = "lm"
    main_input_name = "input_ids"
    _is_stateful = True

    def __init__(self, config: LightRNNConfig, bundle: Bundle) -> None:
        super().__init__(config)
        self.lm = bundle.model
        self.bundle = bundle

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> LightRNNForCausalLM:
        """Wrap a loaded bundle."""
        return cls(LightRNNConfig.of(bundle), bundle).eval()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **options: Any) -> LightRNNForCausalLM:
        """Load an exported folder, or a model from the hub; fingerprints are checked as in ``lightrnn_pl.load``."""
        supported = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        hub_options = {key: options[key] for key in supported if options.get(key) is not None}
        return cls.from_bundle(HubModel.from_pretrained(str(pretrained_model_name_or_path), **hub_options).bundle)

    def save_pretrained(self, save_directory: Any, *args: Any, **options: Any) -> None:
        """Write the same folder as ``lightrnn-export format=safetensors``."""
        HubModel(self.bundle).save_pretrained(Path(save_directory))

    @torch.no_grad()
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: RecurrentCache | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
        cache: RecurrentCache | None = None,
        **_: Any,
    ) -> CausalLMOutputWithPast:
        """Natural-log probability of every word after each token, (B, T, V).

        Args:
            input_ids: Word ids, (B, T).
            attention_mask: 0 for padding, (B, T), or longer if preceding tokens are in the cache.
            past_key_values: The cache after the preceding tokens.
            labels: Usually ``input_ids``, to compute the mean loss in nats; -100 is ignored.
            logits_to_keep: Compute logits only for this many last tokens; 0 for all.
            use_cache: Ignored; the cache is always returned.
            return_dict: Ignored.
            cache: The name of ``past_key_values`` since transformers 5.24.
        """
        decoder = Decoder(self.lm, self.config.bos_token_id)
        batch, length = input_ids.shape
        cache = cache or past_key_values or RecurrentCache.empty(decoder, batch)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask[:, -length:]
        scores = []
        for position in range(length):
            cache = cache.read(decoder, input_ids[:, position], mask[:, position].bool())
            if not logits_to_keep or position >= length - logits_to_keep:
                scores.append(decoder.log_probabilities(cache.state))
        logits = torch.stack(scores, 1)
        loss = None
        if labels is not None:
            loss = F.nll_loss(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        # generate() requires only a few methods of its own cache classes, which RecurrentCache provides.
        return CausalLMOutputWithPast(loss=loss, logits=logits, **{_CACHE: cache})

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Select the tokens that have not been read yet."""
        cache: RecurrentCache | None = kwargs.get(_CACHE)
        read = 0 if cache is None else cache.num_read
        return {
            "input_ids": input_ids[:, read:],
            "attention_mask": attention_mask,
            _CACHE: cache,
            "logits_to_keep": 1,
        }

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        # forward() creates the cache.
        return False


class LightRNNTokenizer(PreTrainedTokenizer):
    """Splits text at whitespace, and prepends the context word.

    Args:
        vocab_file: ``vocabulary.txt.gz`` of an exported folder.
        vocab_file_version_1: ``vocabulary.txt`` of a folder exported by an earlier release.
    """

    vocab_files_names = {"vocab_file": VOCABULARY, "vocab_file_version_1": VOCABULARIES[1]}  # noqa: RUF012  # as transformers declares it
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012
    padding_side = "left"

    def __init__(self, vocab_file: str | None = None, vocab_file_version_1: str | None = None, **options: Any) -> None:
        path = vocab_file or vocab_file_version_1
        if path is None:
            raise ValueError(f"the folder contains no {VOCABULARY}; export the model again")
        self.vocabulary = Vocabulary.load(path)
        vocabulary = self.vocabulary
        context = vocabulary.words[vocabulary.context_id]
        options |= {
            "unk_token": vocabulary.unknown,
            # Without markers, the context is an ordinary word, which decoding must not skip as a special token.
            "bos_token": context if context in (vocabulary.begin, vocabulary.end) else None,
            "eos_token": vocabulary.end,
            "pad_token": vocabulary.end or vocabulary.unknown,
            "clean_up_tokenization_spaces": False,
            "padding_side": "left",
        }
        super().__init__(**options)

    @property
    def vocab_size(self) -> int:
        """The number of words."""
        return len(self.vocabulary)

    def get_vocab(self) -> dict[str, int]:
        """Word -> id."""
        return {word: number for number, word in enumerate(self.vocabulary.words)}

    def tokenize(self, text: str, **_: Any) -> list[str]:
        """Split a text into words; markers are recognized only as separate words."""
        return text.split()

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Join words with a space before each, so that a continuation can be appended to its prompt."""
        return "".join(f" {token}" for token in tokens)

    def build_inputs_with_special_tokens(self, token_ids_0: list[int], token_ids_1: Any = None) -> list[int]:
        """Prepend the context word; a second text is appended unchanged."""
        return [self.vocabulary.context_id, *token_ids_0, *(token_ids_1 or [])]

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        """Write ``vocabulary.txt.gz``."""
        path = Path(save_directory) / f"{filename_prefix + '-' if filename_prefix else ''}{VOCABULARY}"
        self.vocabulary.save(path)
        return (str(path),)

    def _convert_token_to_id(self, token: str) -> int:
        return self.vocabulary.id(token)

    def _convert_id_to_token(self, index: int) -> str:
        return self.vocabulary.words[index]


AutoConfig.register(MODEL_TYPE, LightRNNConfig, exist_ok=True)
AutoModelForCausalLM.register(LightRNNConfig, LightRNNForCausalLM, exist_ok=True)
AutoTokenizer.register(LightRNNConfig, slow_tokenizer_class=LightRNNTokenizer, exist_ok=True)
