"""Models on the Hugging Face hub: a bundle with the interface of ``huggingface_hub``'s mixin.

>>> HubModel(load("runs/a")).push_to_hub("me/my-model")            # doctest: +SKIP
>>> HubModel.from_pretrained("me/my-model").bundle.score(["..."])  # doctest: +SKIP

The pushed files are those of ``lightrnn-export format=safetensors``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin, snapshot_download

from lightrnn_pl.checkpoint import Bundle, load
from lightrnn_pl.export.bundle_writer import write_bundle
from lightrnn_pl.export.card import model_card
from lightrnn_pl.files import atomic_write
from lightrnn_pl.model_folder import CONFIG, VOCABULARIES, VOCABULARY, WEIGHTS, is_model_folder


class HubModel(
    ModelHubMixin, library_name="lightrnn_pl", pipeline_tag="text-generation", tags=["language-model", "lightrnn"]
):
    """A bundle with ``save_pretrained``, ``push_to_hub`` and ``from_pretrained``.

    Args:
        bundle: The trained model.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def _save_pretrained(self, save_directory: Path) -> None:
        with tempfile.TemporaryDirectory(dir=save_directory) as folder:
            write_bundle(self.bundle, Path(folder))
            for name in (CONFIG, WEIGHTS, VOCABULARY):
                (Path(folder) / name).replace(save_directory / name)
        with atomic_write(save_directory / "README.md", "w") as file:
            file.write(model_card(self.bundle, "safetensors", {}))

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        device: str = "cpu",
        **_: Any,
    ) -> HubModel:
        folder = Path(model_id)
        if not folder.is_dir():
            options: dict[str, Any] = {"revision": revision, "cache_dir": cache_dir, "token": token}
            files = [CONFIG, WEIGHTS, *VOCABULARIES.values()]
            folder = Path(
                snapshot_download(
                    model_id,
                    allow_patterns=files,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    **options,
                )
            )
        if not is_model_folder(folder):
            raise ValueError(f"{model_id} is not a lightrnn_pl model; it must contain {WEIGHTS} and {CONFIG}")
        return cls(load(folder, device))
