"""The text of ``--help`` in a narrow terminal."""

import re

import pytest

from lightrnn_pl.cli.help import help_text
from lightrnn_pl.cli.help_wrapping import wrap_help
from tests.cli.test_help import COMMANDS

WRAPPED = """\
A sentence that continues in the next
line, and another one that is longer.

usage: lightrnn-x [key=value ...]

  lightrnn-x a=1
      a description that is too long
      for a line
  lightrnn-x b=2   short
  lightrnn-x --an-option=of-many-letters
      described in the next line,
      which is filled too

model/core: gru, lstm, mingru, rnn,
    transformer

# A comment of two lines, which is
# filled once more.
key: 1 # the meaning of the key, and
       # more of it
# explained above its long value
other: [one, two, three, four]
  nested: 2 # short"""

UNWRAPPED = """\
A sentence that continues
in the next line, and another one that is longer.

usage: lightrnn-x [key=value ...]

  lightrnn-x a=1   a description that is too long for a line
  lightrnn-x b=2   short
  lightrnn-x --an-option=of-many-letters
      described in the next line, which is filled too

model/core: gru, lstm, mingru, rnn, transformer

# A comment of
# two lines, which is filled once more.
key: 1 # the meaning of the key, and more of it
other: [one, two, three, four] # explained above its long value
  nested: 2 # short"""


def test_each_kind_of_line_is_wrapped_in_its_own_way():
    assert wrap_help(UNWRAPPED, 37) == WRAPPED
    assert wrap_help(UNWRAPPED, 120) == UNWRAPPED


@pytest.mark.parametrize("name", COMMANDS)
def test_only_commands_and_values_are_wider_than_the_terminal(name):
    text = help_text(name, [])
    wrapped = wrap_help(text, 80)
    for line in wrapped.splitlines():
        assert len(line) <= 80 or re.match(r"  (lightrnn-|curl )| *(- )?(\w+|\{.*): [^#]*$", line), line
    # Nothing is lost, except for the # of comments that were joined.
    assert sorted(re.sub(r"[\s#]+", "", text)) == sorted(re.sub(r"[\s#]+", "", wrapped))
