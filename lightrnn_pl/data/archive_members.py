"""Members of zip and tar archives, selected by patterns.

A zip archive has a directory, so only the selected members are read.  A tar archive is read from its start to its end.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

_BUFFER = 1 << 20
_SUFFIXES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_TAR_MAGIC = slice(257, 262)
_LISTED = 8


class ArchiveError(Exception):
    """An archive does not have the expected content.  The message does not contain the archive's name."""


def is_archive_name(name: str) -> bool:
    """Whether a path or address ends like the name of an archive."""
    return name.partition("?")[0].lower().endswith(_SUFFIXES)


class MemberPatterns:
    """Selects the members of one split.

    A pattern such as ``cs/train.txt`` or ``news-*`` is compared with the end of a member's path, folder by folder, so
    folders that contain the whole archive can be omitted.  Hidden files are never selected.

    Args:
        key: The configuration key of the patterns, for error messages.
        patterns: The patterns, as for ``pathlib.PurePath.match``.
    """

    def __init__(self, key: str, patterns: Sequence[str]) -> None:
        self._key, self.patterns = key, list(patterns)
        self._folders: dict[str, PurePosixPath] = {}

    def matches(self, name: str) -> bool:
        """Whether the member with the given path is selected.

        Raises:
            ArchiveError: If a pattern matches members in unrelated folders, which probably are different texts.
        """
        path = PurePosixPath(name)
        if path.name.startswith(".") or path.parts[0] == "__MACOSX":
            return False
        for pattern in self.patterns:
            if path.match(pattern):
                depth = len(PurePosixPath(pattern).parts)
                folder = PurePosixPath(*path.parts[:-depth])
                other = self._folders.setdefault(pattern, folder)
                if other != folder:
                    raise ArchiveError(
                        f"{self._key}={pattern} matches members in the folders {other} and {folder} of the archive; "
                        f"include the folder, such as {self._key}={folder.name or '*'}/{pattern}"
                    )
                return True
        return False

    def check_found(self, names: Collection[str]) -> None:
        """Check that every pattern matched one of the archive's members.

        Raises:
            ArchiveError: If a pattern matched none.  The message lists some of the members.
        """
        for pattern in self.patterns:
            if pattern not in self._folders:
                listed = ", ".join(sorted(names)[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
                raise ArchiveError(
                    f"{self._key}={pattern} matches no member of the archive; it has {len(names)} files: {listed}"
                )


def is_zip(file: BinaryIO) -> bool:
    """Whether ``file`` is a zip archive; False if it is a tar archive, compressed or not.

    Raises:
        ArchiveError: If it is neither.
    """
    start = file.read(_TAR_MAGIC.stop)
    file.seek(0)
    if start.startswith(b"PK"):
        return True
    if start[_TAR_MAGIC] == b"ustar" or start.startswith(tuple(_OPENERS)):
        return False
    raise ArchiveError(f"the file is neither a zip nor a tar archive; it begins with {start[:20]!r}")


def zip_members(archive: zipfile.ZipFile, patterns: MemberPatterns) -> list[zipfile.ZipInfo]:
    """The selected members of a zip archive, sorted by path.

    Raises:
        ArchiveError: If a pattern matches no member or several folders, or a member is encrypted.
    """
    members = [member for member in archive.infolist() if not member.is_dir()]
    selected = sorted((member for member in members if patterns.matches(member.filename)), key=lambda m: m.filename)
    patterns.check_found([member.filename for member in members])
    for member in selected:
        if member.flag_bits & 1:
            raise ArchiveError(f"{member.filename} is encrypted; decrypt the archive first")
    return selected


def tar_members(file: BinaryIO, splits: Mapping[str, MemberPatterns]) -> Iterator[tuple[list[str], str, BinaryIO]]:
    """The selected members of a tar archive in the order of the archive, as (splits, path, file).

    Each file must be read before the next member is requested.

    Raises:
        ArchiveError: If a pattern matches several folders or, at the end of the archive, no member.
        tarfile.TarError, EOFError: If the archive is damaged.
    """
    start = file.read(_TAR_MAGIC.stop)
    file.seek(0)
    # The stream modes of tarfile do not notice a truncated compressed file.
    opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
    names = []
    with tarfile.open(fileobj=opener(file) if opener else file, mode="r|", bufsize=_BUFFER) as archive:
        for member in archive:
            if not member.isreg():
                continue
            names.append(member.name)
            if selecting := [split for split, patterns in splits.items() if patterns.matches(member.name)]:
                yield selecting, member.name, cast(BinaryIO, archive.extractfile(member))
        # tarfile accepts an archive that ends after any member.  Compressed files are checked by their opener.
        if opener is None and file.seek(0, io.SEEK_END) < archive.offset + tarfile.BLOCKSIZE:
            raise tarfile.ReadError("the end marker is missing")
    for patterns in splits.values():
        patterns.check_found(names)
