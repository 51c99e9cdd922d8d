"""Corpora of Hugging Face datasets, on the Hub or on disk."""

from __future__ import annotations

import urllib.error
import urllib.request
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from typing_extensions import override

from lightrnn_pl.data.archive_members import is_archive_name
from lightrnn_pl.data.corpus import SPLITS, Corpus, arrow_column, content_hash

_FILE_FORMATS = ("parquet", "json", "csv", "text")
"""Other readers of the library can run code from files or connect to databases."""

_FILE_SUFFIXES = (".txt", ".gz", ".bz2", ".xz", ".tokens")
"""Endings of text files, which names of splits do not have."""


class DatasetCorpus(Corpus):
    """Abstract: a corpus whose splits are datasets.

    Args:
        train: The dataset's name of the split; None if there is no such split.
        valid: Like ``train``.
        test: Like ``train``.

    Raises:
        ValueError: If a name is that of a file.
    """

    def __init__(self, train: str | None, valid: str | None, test: str | None) -> None:
        names = zip(SPLITS, (train, valid, test), strict=True)
        self._splits = {split: name for split, name in names if name is not None}
        for split, name in self._splits.items():
            if set("/*") & set(name) or Path(name).suffix in _FILE_SUFFIXES:
                raise ValueError(
                    f"data.{split}={name} is a file, but must be the name of a split of the dataset; to read text "
                    "files, use data=text data.train=... data.valid=... data.test=..."
                )

    @override
    def has(self, split: str) -> bool:
        return split in self._splits

    @override
    def check(self) -> None:
        for split in self._splits:
            self._open(split)

    @abstractmethod
    def _open(self, split: str) -> Any:
        """The dataset of a split."""


class HubCorpus(DatasetCorpus):
    """A dataset on the Hugging Face Hub.  Each row of one column is a line.

    Args:
        id: Name of the dataset, or ``parquet``, ``json``, ``csv``, ``text`` to read ``data_files`` of that format.
        config: Configuration of the dataset, if it has several.
        revision: Branch, tag or commit; None for the latest version.
        data_files: Files to read instead of the dataset's own splits, by split.
        column: The column with the text.
        train: Name of the training split in the dataset; None if there is none.
        valid: Name of the validation split, or None.
        test: Name of the test split, or None.
        streaming: If True, the text is read over the network and only the token cache is stored.  If False, the
            dataset is downloaded first.

    Raises:
        ValueError: If a data file is a whole archive, all of whose members would be read.
    """

    def __init__(
        self,
        id: str,
        config: str | None = None,
        revision: str | None = None,
        data_files: Mapping[str, Any] | None = None,
        column: str = "text",
        train: str | None = "train",
        valid: str | None = "validation",
        test: str | None = "test",
        streaming: bool = True,
    ) -> None:
        self.id, self.config, self.revision, self.column = id, config, revision, column
        self.data_files = None if data_files is None else dict(data_files)
        self.streaming = streaming
        for name in _strings(self.data_files):
            if "::" not in name and is_archive_name(name):
                raise ValueError(
                    f"data.data_files contains the archive {name}; use data=archive data.archive={name} and set "
                    "data.train, data.valid and data.test to its members"
                )
        super().__init__(train, valid, test)
        self._opened: dict[str, Any] = {}

    @override
    def fingerprint(self, split: str) -> str:
        """A hash of the arguments, so that a token cache can be used without the hub.

        The hash does not change when the dataset is updated.  Set ``revision`` to select a version of the text.
        """
        names = [self.id, self.config, self.revision, self.data_files, self.column, self._splits[split]]
        return content_hash(["hub", names])

    @property
    def _name(self) -> str:
        parts = [f"data.id={self.id}"]
        parts += [f"data.{key}={getattr(self, key)}" for key in ("config", "revision") if getattr(self, key)]
        return ", ".join(parts)

    @override
    def _texts(self, split: str) -> Iterator[pa.Array | pa.ChunkedArray]:
        yield from arrow_column(self._open(split), self.column)

    def _open(self, split: str) -> Any:
        import datasets

        if split in self._opened:
            return self._opened[split]
        if _is_builder(self.id) and self.id not in _FILE_FORMATS:
            raise ValueError(f"data.id={self.id} must be the name of a dataset or one of {', '.join(_FILE_FORMATS)}")
        if not _is_builder(self.id) or any(map(_is_on_hub, _strings(self.data_files))):
            self._require_hub()
        try:
            dataset = datasets.load_dataset(
                self.id,
                self.config,
                revision=self.revision,
                data_files=self.data_files,
                split=self._splits[split],
                # Offline, a downloaded dataset can be read but not streamed.
                streaming=self.streaming and not (_offline() and not _is_builder(self.id)),
            )
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self._name} refers to files that do not exist: {error}") from error
        except Exception as error:  # datasets raises many kinds of exceptions
            raise ValueError(
                f"{self._name}, data.{split}={self._splits[split]} cannot be read ({error}); "
                "check data.id, data.config, data.revision and the names of the splits, or use text files: "
                "data=text data.train=... data.valid=... data.test=..."
            ) from error
        _check_column(dataset, self.column, self._name)
        self._opened[split] = dataset
        return dataset

    def _require_hub(self) -> None:
        """Check that the hub responds, because the library retries for half a minute before it fails."""
        from huggingface_hub import constants

        if _offline():
            return
        try:
            urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=5).close()
        except urllib.error.HTTPError:
            return  # the hub responded
        except OSError as error:
            raise ValueError(
                f"{self._name}: the Hugging Face hub at {constants.ENDPOINT} cannot be reached ({error}). Set "
                "HF_HUB_OFFLINE=1 to use datasets downloaded before, or use text files: data=text data.train=... "
                "data.valid=... data.test=..."
            ) from error


class DiskCorpus(DatasetCorpus):
    """A dataset written by ``save_to_disk``.  Each row of one column is a line.

    Args:
        path: Folder of a dataset.  A dataset without splits is used as training split.
        column: The column with the text.
        train: Name of the training split in the dataset; None if there is none.
        valid: Name of the validation split, or None.
        test: Name of the test split, or None.
    """

    def __init__(
        self,
        path: str,
        column: str = "text",
        train: str | None = "train",
        valid: str | None = "validation",
        test: str | None = "test",
    ) -> None:
        self.path, self.column = path, column
        super().__init__(train, valid, test)

    @override
    def fingerprint(self, split: str) -> str:
        """A hash of the fingerprint that ``datasets`` stores with the data."""
        return content_hash(["disk", self._open(split)._fingerprint, self.column])

    @override
    def num_bytes(self, split: str) -> int | None:
        return int(self._open(split).data.nbytes)

    @override
    def _texts(self, split: str) -> Iterator[pa.Array | pa.ChunkedArray]:
        yield from arrow_column(self._open(split), self.column)

    def _open(self, split: str) -> Any:
        import datasets

        if not Path(self.path).exists():
            raise FileNotFoundError(f"data.path={self.path} does not exist (current working directory: {Path.cwd()})")
        try:
            dataset = datasets.load_from_disk(self.path)
        except FileNotFoundError as error:
            raise ValueError(
                f"data.path={self.path} was not written by save_to_disk ({error}); to read text files, use "
                "data=text data.train=..."
            ) from error
        name = self._splits[split]
        if isinstance(dataset, datasets.DatasetDict):
            if name not in dataset:
                raise ValueError(
                    f"data.path={self.path} has no split data.{split}={name}; it has {', '.join(dataset)}"
                    + ("" if split == "train" else f"; set data.{split}=null to omit it")
                )
            dataset = dataset[name]
        elif split != "train":
            raise ValueError(
                f"data.path={self.path} has no splits, so data.{split}={name} does not exist; save a DatasetDict, or "
                f"set data.{split}=null"
            )
        _check_column(dataset, self.column, f"data.path={self.path}")
        return dataset


def _check_column(dataset: Any, column: str, name: str) -> None:
    columns = dataset.column_names or list(next(iter(dataset), {column: ""}))
    if column not in columns:
        raise ValueError(f"{name} has no column data.column={column}; it has {', '.join(columns)}")


def _is_builder(id: str) -> bool:
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

    return id in _PACKAGED_DATASETS_MODULES


def _strings(files: Any) -> Iterator[str]:
    """The names in a string, a list, or a mapping of them."""
    if isinstance(files, str):
        yield files
    elif files is not None:
        for item in files.values() if isinstance(files, Mapping) else files:
            yield from _strings(item)


def _is_on_hub(name: str) -> bool:
    from huggingface_hub import constants

    return any(part.startswith(("hf://", f"{constants.ENDPOINT}/")) for part in name.split("::"))


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)
