"""Small bundles of every kind of model, initialized with large values."""

from functools import cache

import torch
from omegaconf import OmegaConf

from lightrnn_pl.building import as_config, build_allocation, build_model
from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.vocabulary import Vocabulary
from tests.training.runs import compose_overrides

WORDS = ["the", "<eos>", "<unk>", '"', "l'eau", "été", *(f"w{number}" for number in range(53))]

HYBRID = ("model.components=2", "model/output=multi_component")
SLIM = ("model.embedding.num_parts=4", "model.embedding.compression=0.4")
MODELS = {
    "lightrnn": ("model=lightrnn",),
    "lightrnn with empty cells": ("model=lightrnn", "model.sides=[7,11]", "model.num_layers=1", "model.tied=true"),
    "cube": ("model=lightrnn", "model.components=3", "model/core=gru"),
    "one code": ("model=lightrnn", "model.components=1", "model/core=rnn"),
    "minimal GRU": ("model=lightrnn", "model/core=mingru"),
    "hybrid": ("model=hybrid", *SLIM),
    "hybrid from characters": ("model=hybrid", "model/embedding=char_cnn", "model.embedding.features=[2,2,2,2,2,2]"),
    "slim": ("model=slim", *SLIM, "model.output.num_parts=2", "model.output.compression=0.5", "model/core=gru"),
    "slim with hashed maps": (
        *("model=slim", *SLIM, "model/map@model.embedding.map=hashed", "model/map@model.output.map=hashed"),
        *("model.output.num_parts=2", "model.output.compression=0.5"),
    ),
    "full": ("model=full", "model.tied=true"),
    "projected": ("model=projected", "model.embedding.projection_dim=3", "model.output.projection_dim=3"),
    "hashed": ("model=hashed",),
    "hierarchical": ("model=hierarchical",),
    "row word": ("model=row_word", *SLIM, "model.output.num_parts=2", "model.output.compression=0.5"),
    "row word in two steps": (
        *("model=row_word", "model.steps_per_word=2", "model.sides=[7,11]", "model/core=gru"),
        *("model/embedding=full", "model/output=row_word_full", "model.num_layers=1"),
    ),
    "row word with projected vectors": (
        *("model=row_word", "model/embedding=projected", "model/output=row_word_projected"),
        *("model.embedding.projection_dim=3", "model.output.projection_dim=3", "model/core=rnn"),
    ),
    "row word with adaptive vectors": (
        *("model=row_word_adaptive", "model.tied=true", "model.embedding_dim=8", "model.embedding.cutoffs=[9,20]"),
        *("model.embedding.div_value=2.0", "model.output.cutoffs=[9,20]", "model.output.div_value=2.0"),
    ),
    "adaptive": ("model=adaptive",),
}


@cache
def bundle_of(name: str) -> Bundle:
    """An untrained model of ``MODELS``; it is cached, so it must not be modified."""
    vocabulary = Vocabulary(WORDS, range(len(WORDS), 0, -1), unknown="<unk>", end="<eos>")
    config = compose_overrides(
        *MODELS[name],
        *("data=text", "data.train=nowhere.txt", "paths.run_dir=run", "model.hidden_dim=12", "model.init_scale=0.8"),
    )
    torch.manual_seed(0)
    model = build_model(config, build_allocation(config, vocabulary), vocabulary).eval()
    # The configuration of a bundle is resolved, but this one refers to a run folder that does not exist.
    config = as_config({"name": name, "model": OmegaConf.to_container(config.model, resolve=True)})
    return Bundle(model, vocabulary, config, {"end_marker": "<eos>"}, {"valid_nll": 3.25})
