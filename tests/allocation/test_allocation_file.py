import pytest
import torch

from lightrnn_pl.allocation.allocation_file import read_table, write_table
from lightrnn_pl.allocation.word_allocation import WordAllocation

WORDS = ["the", 'a "quoted", word', "<unk>", "café", "0"]


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".parquet"])
@pytest.mark.parametrize("sides", [(2, 3), (2, 2, 2), (5,)])
def test_write_and_read(tmp_path, suffix, sides):
    allocation = WordAllocation.random(5, sides, seed=0)
    path = tmp_path / f"table{suffix}"
    write_table(path, allocation, WORDS)
    codes, needed = read_table(path, WORDS)
    assert torch.equal(codes, allocation.codes.long())
    assert all(need <= side for need, side in zip(needed, sides, strict=True))
    reordered, _ = read_table(path, WORDS[::-1])
    assert torch.equal(reordered, codes.flip(0))


def test_file_format(tmp_path):
    write_table(tmp_path / "table.tsv", WordAllocation.in_order(3, (2, 2)), ["a", "b", "c"])
    assert (tmp_path / "table.tsv").read_text() == "word\trow\tcolumn\na\t0\t0\nb\t0\t1\nc\t1\t0\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("word,row,column\na,0,0\nb,0,1\n", "no cell for 1 of the vocabulary's 3 words: 'c'"),
        ("word,row,column\na,0,0\nb,0,1\nc,1,1\nd,1,0\n", "lists 1 words that are not in the vocabulary: 'd'"),
        ("word,row,column\na,0,0\nb,0,0\nc,1,1\n", "entry 3: 'b' and 'a' share the cell"),
        ("word,row,column\na,0,0\na,0,1\nc,1,1\n", "is duplicated"),
        ("word,row,column\na,0\n", "entry 2: expected 3 fields, as in the header, got 2"),
        ("word,row,column\na,0,x\n", "not integers"),
        ("word,row,column\na,0,-1\n", "negative"),
        ("a,0,0\n", "must begin with the header"),
        ("", "must begin with the header"),
    ],
)
def test_malformed_files_are_rejected(tmp_path, text, message):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(path, ["a", "b", "c"])


def test_missing_files_and_unknown_formats(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv does not exist"):
        read_table(tmp_path / "nothing.csv", ["a"])
    with pytest.raises(ValueError, match=r"\.tsv, \.csv or \.parquet"):
        write_table(tmp_path / "table.json", WordAllocation.in_order(1, (1,)), ["a"])
    with pytest.raises(ValueError, match="pass every word"):
        write_table(tmp_path / "table.csv", WordAllocation.in_order(1, (1,)), ["a", "b"])
    (tmp_path / "latin.csv").write_bytes("word,row,column\ncafé,0,0\n".encode("latin-1"))
    with pytest.raises(ValueError, match="UTF-8"):
        read_table(tmp_path / "latin.csv", ["café"])


def test_unquoted_quotation_marks_are_refused(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text('word\trow\tcolumn\n"\t0\t0\n' + "".join(f"w{number}\t0\t0\n" for number in range(20_000)))
    with pytest.raises(ValueError, match="quote words that begin with a quotation mark"):
        read_table(path, ['"'])
