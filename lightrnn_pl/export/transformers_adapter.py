"""A trained model for ``transformers``: ``generate``, and pipelines of kind ``text-generation``, on an exported folder.

>>> import lightrnn_pl.export.transformers_adapter                    # doctest: +SKIP
>>> pipeline("text-generation", model="FOLDER")("the cat", max_new_tokens=10)    # doctest: +SKIP

Importing this module registers the model type ``lightrnn`` with the Auto classes.  What ``transformers`` calls logits
are exact, normalized log-probabilities of all words.  With several codes per word this expands every row, which is slow
(``Bundle.generate`` and ``Bundle.next_words`` search instead).  The cache is the state between two words.

The first token of a text is the word that every text is read after; the tokenizer puts it there.
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
from lightrnn_pl.model_folder import MODEL_TYPE, VOCABULARY
from lightrnn_pl.vocabulary import Vocabulary

_CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
"""The name of the cache in inputs and outputs: transformers 5.24 renamed ``past_key_values`` to ``cache``."""


class LightRNNConfig(PretrainedConfig):
    """What ``transformers`` asks of a configuration; the model's own is the bundle's."""

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
    """Where B texts stand between two words.

    Attributes:
        state: Of each text; of one that is padding so far, zeros.
        started: Whether a text has begun, (B,).
        num_read: Tokens read, padding included.
    """

    state: DecodingState
    started: Tensor
    num_read: int = 0

    is_compileable = False

    @classmethod
    def empty(cls, decoder: Decoder, batch_size: int) -> RecurrentCache:
        """Before the first token."""
        device = decoder.device
        first = decoder.start(1)
        zeros = DecodingState(
            torch.zeros_like(first.hidden).repeat(batch_size, 1),
            tuple(torch.zeros_like(part).repeat(1, batch_size, 1) for part in first.core),
        )
        return cls(zeros, torch.zeros(batch_size, dtype=torch.bool, device=device))

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens read."""
        return self.num_read

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Go on with these texts, each as often as it is named."""
        self.state = self.state.select(beam_idx)
        self.started = self.started[beam_idx]

    def read(self, decoder: Decoder, words: Tensor, counted: Tensor) -> RecurrentCache:
        """One more token of each text, (B,); where ``counted`` is false it is padding, and not read."""
        hidden, core = self.state.hidden.clone(), tuple(part.clone() for part in self.state.core)
        for places, begins in ((counted & ~self.started, True), (counted & self.started, False)):
            chosen = places.nonzero()[:, 0]
            if not len(chosen):
                continue
            if begins:
                after = DecodingState(*decoder.model.step(decoder.model.embedding.first_step(words[chosen])))
            else:
                after = decoder.read(DecodingState(hidden[chosen], select_state(core, chosen)), words[chosen])
            hidden[chosen] = after.hidden
            for part, new in zip(core, after.core, strict=True):
                part[:, chosen] = new
        return RecurrentCache(DecodingState(hidden, core), self.started | counted, self.num_read + 1)


class LightRNNForCausalLM(PreTrainedModel, GenerationMixin):
    """A trained model that ``generate`` and pipelines take; for inference, so without gradients.

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
        """Of a model that was loaded already."""
        return cls(LightRNNConfig.of(bundle), bundle).eval()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **options: Any) -> LightRNNForCausalLM:
        """Of an exported folder, or of a model on the hub; fingerprints are checked as ``lightrnn_pl.load`` does."""
        known = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        asked = {key: options[key] for key in known if options.get(key) is not None}
        return cls.from_bundle(HubModel.from_pretrained(str(pretrained_model_name_or_path), **asked).bundle)

    def save_pretrained(self, save_directory: Any, *args: Any, **options: Any) -> None:
        """The folder that ``lightrnn-export`` writes."""
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
            input_ids: Words, (B, T).
            attention_mask: 0 where a token is padding, (B, T) or longer at the front.
            past_key_values: The state after the preceding tokens.
            labels: ``input_ids`` again, for the mean loss in nats; -100 is left out.
            logits_to_keep: Only after this many last tokens; 0 for all.
            use_cache: Taken for the sake of the interface; a state costs nothing.
            return_dict: Likewise.
            cache: The name of ``past_key_values`` since transformers 5.24.
        """
        decoder = Decoder(self.lm, self.config.bos_token_id)
        batch, length = input_ids.shape
        cache = cache or past_key_values or RecurrentCache.empty(decoder, batch)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask[:, -length:]
        kept = []
        for place in range(length):
            cache = cache.read(decoder, input_ids[:, place], mask[:, place].bool())
            if not logits_to_keep or place >= length - logits_to_keep:
                kept.append(decoder.log_probabilities(cache.state))
        logits = torch.stack(kept, 1)
        loss = None
        if labels is not None:
            loss = F.nll_loss(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        # The cache only has to look like one of theirs.
        return CausalLMOutputWithPast(loss=loss, logits=logits, **{_CACHE: cache})

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Only the tokens that have not been read yet."""
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
        # The first call of forward makes the cache.
        return False


class LightRNNTokenizer(PreTrainedTokenizer):
    """Words separated by whitespace, and before them the word that every text is read after.

    Args:
        vocab_file: ``vocabulary.txt`` of an exported folder.
    """

    vocab_files_names = {"vocab_file": VOCABULARY}  # noqa: RUF012  # as transformers declares it
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012
    padding_side = "left"

    def __init__(self, vocab_file: str, **options: Any) -> None:
        self.vocabulary = Vocabulary.load(vocab_file)
        known = self.vocabulary
        context = known.words[known.context_id]
        options |= {
            "unk_token": known.unknown,
            # Without markers the context is a word like others, which decoding must not leave out.
            "bos_token": context if context in (known.begin, known.end) else None,
            "eos_token": known.end,
            "pad_token": known.end or known.unknown,
            "clean_up_tokenization_spaces": False,
            "padding_side": "left",
        }
        super().__init__(**options)

    @property
    def vocab_size(self) -> int:
        """V."""
        return len(self.vocabulary)

    def get_vocab(self) -> dict[str, int]:
        """Word to id."""
        return {word: number for number, word in enumerate(self.vocabulary.words)}

    def tokenize(self, text: str, **_: Any) -> list[str]:
        """The words; markers are words like others, and are not looked for inside of words."""
        return text.split()

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Words with a space before each, so that a continuation can be written right after its prompt."""
        return "".join(f" {token}" for token in tokens)

    def build_inputs_with_special_tokens(self, token_ids_0: list[int], token_ids_1: Any = None) -> list[int]:
        """The context word first; a second text follows as it is."""
        return [self.vocabulary.context_id, *token_ids_0, *(token_ids_1 or [])]

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        """Write ``vocabulary.txt``."""
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
