import pytest

from lightrnn_pl.reporting.anonymous_paths import text_without_folders, without_folders


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/home/someone/ptb/train.txt", "train.txt"),
        ("/home/someone/runs/a/", "a"),
        ("~/train.txt", "train.txt"),
        ("C:\\Users\\someone\\train.txt", "train.txt"),
        ("data/train.txt", "data/train.txt"),
        ("</s>", "</s>"),
        ("/", "/"),
        ("words/s", "words/s"),
        ("torch.optim.SGD", "torch.optim.SGD"),
        ("https://host/a/b", "https://host/a/b"),
        (3, 3),
        (None, None),
    ],
)
def test_shortens_absolute_paths(value, expected):
    assert without_folders({"a": [value]}) == {"a": [expected]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            "FileNotFoundError: text file /home/someone/x/train.txt does not exist",
            "FileNotFoundError: text file train.txt does not exist",
        ),
        ("cannot write '/home/someone/x': no space; 3 words/s, </s>", "cannot write 'x': no space; 3 words/s, </s>"),
        ("see https://host/a/b", "see https://host/a/b"),
    ],
)
def test_shortens_absolute_paths_in_messages(value, expected):
    assert text_without_folders(value) == expected
