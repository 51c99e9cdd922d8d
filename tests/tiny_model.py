"""The configuration of a tiny LightRNN."""

CONFIG = {
    "model": {
        "embedding": {
            "_target_": "lightrnn_pl.nn.embeddings.MultiComponentEmbedding",
            "_partial_": True,
            "embedding_dim": 6,
        },
        "core": {"_target_": "lightrnn_pl.nn.cores.LSTMCore", "_partial_": True, "hidden_dim": 6},
        "output": {"_target_": "lightrnn_pl.nn.outputs.MultiComponentOutput", "_partial_": True},
        "loss": {"_target_": "lightrnn_pl.nn.losses.ExactLoss", "_partial_": True},
        "tied": False,
        "input_dropout": 0.5,
        "output_dropout": 0.5,
        "init_scale": 0.5,
    }
}
