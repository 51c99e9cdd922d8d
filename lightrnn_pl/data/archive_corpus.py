"""Corpora of text files in a zip or tar archive, on disk or on a server."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import pyarrow as pa
from typing_extensions import override

from lightrnn_pl.data.archive_file import ArchiveFile
from lightrnn_pl.data.archive_members import ArchiveError, MemberPatterns, is_zip, tar_members, zip_members
from lightrnn_pl.data.corpus import SPLITS, Corpus, content_hash
from lightrnn_pl.data.line_blocks import is_compressed, line_blocks
from lightrnn_pl.data.remote_file import RemoteError
from lightrnn_pl.files import temporary_folder

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError)


class ArchiveCorpus(Corpus):
    """Text files in UTF-8 in an archive: zip, tar, or tar compressed with gzip, bzip2 or xz.

    The members of a zip archive are read in sorted order, and those of a tar archive in its order.  A tar archive can
    only be read from its start.  The first pass over it therefore stores the validation and test texts in the cache.

    Args:
        archive: Path, or address that begins with ``http://`` or ``https://``.
        train: A member, a pattern such as ``news-*``, or a list of them, compared with the ends of the members' paths.
            None if there is no such split.
        valid: Like ``train``.
        test: Like ``train``.
        streaming: If True and the server supports ranges, a remote archive is read over the network in every pass.
            Otherwise, it is downloaded once.
        cache_dir: Folder of downloads and of stored members.
    """

    def __init__(
        self,
        archive: str,
        train: str | Sequence[str] | None,
        valid: str | Sequence[str] | None = None,
        test: str | Sequence[str] | None = None,
        streaming: bool = True,
        cache_dir: str = ".cache/lightrnn_pl",
    ) -> None:
        self._folder = Path(cache_dir) / "archives"
        self._file = ArchiveFile(archive, self._folder, streaming)
        self._members = {
            split: [members] if isinstance(members, str) else list(members)
            for split, members in zip(SPLITS, (train, valid, test), strict=True)
            if members is not None
        }
        for split, members in self._members.items():
            if not members:
                raise ValueError(f"data.{split} is an empty list; pass at least one member of the archive")

    @override
    def has(self, split: str) -> bool:
        return split in self._members

    @override
    def check(self) -> None:
        """Check that the archive can be opened and, if it is a zip archive, that it has all members."""
        for split in self._members:
            self.num_bytes(split)

    @override
    def fingerprint(self, split: str) -> str:
        """A hash of the members' patterns and of the size, and ETag or modification time, of the archive."""
        with self._errors():
            return content_hash(["archive", self._file.version(), self._members[split]])

    @override
    def num_bytes(self, split: str) -> int | None:
        """The size of the members in a zip archive; None for a tar archive, which has no directory."""
        if stored := self._stored_files(split):
            sizes = {path.name: path.stat().st_size for path in stored}
        else:
            with self._open() as file:
                if not is_zip(file):
                    return None
                with zipfile.ZipFile(file) as archive:
                    sizes = {
                        member.filename: member.file_size for member in zip_members(archive, self._patterns(split))
                    }
        return None if any(map(is_compressed, sizes)) else sum(sizes.values())

    @override
    def _texts(self, split: str) -> Iterator[pa.Array | pa.ChunkedArray]:
        if not self._stored_files(split):
            with self._open() as file:
                if is_zip(file):
                    yield from self._read_zip(file, split)
                    return
                # Yields nothing for validation and test, which are stored instead.
                yield from self._read_tar(file, training=split == "train")
        for path in self._stored_files(split):
            with path.open("rb") as text:
                yield from line_blocks(text, self._title(split, path.name))

    def _read_zip(self, file: BinaryIO, split: str) -> Iterator[pa.StringArray]:
        with zipfile.ZipFile(file) as archive:
            for member in zip_members(archive, self._patterns(split)):
                with archive.open(member) as text:
                    yield from line_blocks(cast(BinaryIO, text), self._title(split, member.filename))

    def _read_tar(self, file: BinaryIO, training: bool) -> Iterator[pa.StringArray]:
        """One pass over a tar archive: yields the training text, and stores the other splits if they are not stored."""
        stored = self._stored_members()
        splits = [split for split in self._members if (training if split == "train" else not stored.exists())]
        with contextlib.ExitStack() as stack:
            if not set(splits) <= {"train"}:
                partial = stack.enter_context(_new_folder(stored))
            patterns = {split: self._patterns(split) for split in splits}
            for index, (selecting, name, member) in enumerate(tar_members(file, patterns)):
                file_name = f"{index:06d}-{PurePosixPath(name).name}"
                copies = [partial / f"{split}-{file_name}" for split in selecting if split != "train"]
                for copy in copies:
                    with copy.open("wb") as target:
                        shutil.copyfileobj(member, target)
                    member = stack.enter_context(copy.open("rb"))  # a member of a tar archive can be read only once
                if "train" in selecting:
                    yield from line_blocks(member, self._title("train", name))

    def _stored_members(self) -> Path:
        """The folder of the validation and test texts of a tar archive."""
        members = {split: members for split, members in self._members.items() if split != "train"}
        return self._folder / f"{content_hash([self._file.version(), members])[:16]}-{self._file.name}-members"

    def _stored_files(self, split: str) -> list[Path]:
        """The stored members of a split; empty if they are not stored, as for the training split."""
        if split == "train":
            return []
        with self._errors():
            return sorted(self._stored_members().glob(f"{split}-*"))

    def _patterns(self, split: str) -> MemberPatterns:
        return MemberPatterns(f"data.{split}", self._members[split])

    def _title(self, split: str, member: str) -> str:
        return f"data.{split}: {self._file.location}, {member}"

    @contextlib.contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        with self._errors(), self._file.open() as file:
            yield file

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Adds the name of the archive to errors."""
        name = f"data.archive={self._file.location}"
        try:
            yield
        except (RemoteError, ArchiveError) as error:
            raise ValueError(f"{name}: {error}") from error
        except NotImplementedError as error:
            raise ValueError(f"{name} is compressed with an unsupported method ({error}); unpack it") from error
        except _DAMAGED as error:
            download = self._file.download_path() if self._file.is_remote else None
            remedy = f"delete {download} and run again" if download and download.exists() else "obtain it again"
            raise ValueError(f"{name} is damaged or truncated ({error}); {remedy}") from error


@contextlib.contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that is renamed to ``path`` if the block ends without an error."""
    with temporary_folder(path) as new:
        yield new
        try:
            new.rename(path)
        except OSError:
            if not path.exists():  # otherwise, another process stored the same members
                raise
