"""Small archives with the layouts of the published ones."""

import io
import random
import tarfile
import zipfile

LANGUAGES = ("cs", "de", "en", "es", "fr", "ru")
BENCHMARK = "1-billion-word-language-modeling-benchmark-r13output"


def text(seed: int, lines: int) -> str:
    """Sentences of Zipfian words; the words depend on the seed."""
    generator = random.Random(seed)
    words = [f"w{seed % 7}{number:02d}" for number in range(30)]
    return "".join(
        " ".join(
            words[min(int(generator.paretovariate(0.8)), len(words)) - 1] for _ in range(generator.randrange(3, 9))
        )
        + "\n"
        for _ in range(lines)
    )


def aclw_files(lines: int = 150) -> dict[str, str]:
    """The files of the archive of Kim et al. (2016)."""
    return {
        f"{language}/{split}.txt": text(seed, lines if split == "train" else 20)
        for seed, (language, split) in enumerate(
            (language, split) for language in LANGUAGES for split in ("train", "valid", "test")
        )
    }


def billionw_files(shards: int = 5, lines: int = 60) -> dict[str, str]:
    """The files of the archive of the One Billion Word benchmark: fewer shards."""
    training = [f"training-monolingual.tokenized.shuffled/news.en-{i:05d}-of-00100" for i in range(1, shards + 1)]
    held_out = [f"heldout-monolingual.tokenized.shuffled/news.en.heldout-{i:05d}-of-00050" for i in range(4)]
    files = {f"{BENCHMARK}/{name}": text(700 + 7 * seed, lines) for seed, name in enumerate(training)}
    files |= {f"{BENCHMARK}/{name}": text(7 * seed, 15) for seed, name in enumerate(held_out)}
    return {f"{BENCHMARK}/README": "not a shard\n", **files}


def make_zip(files: dict[str, str], **options) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in files.items():
            if "/" in name:
                folder = name.rpartition("/")[0] + "/"
                if folder not in archive.namelist():
                    archive.writestr(folder, "")
            archive.writestr(name, content)
    return file.getvalue()


def make_tar(files: dict[str, str], compression: str = "gz") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{compression}") as archive:
        for name, content in files.items():
            data = content.encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()
