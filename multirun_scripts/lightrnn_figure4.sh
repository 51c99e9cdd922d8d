#!/usr/bin/env bash
# LightRNN, Figure 4: perplexity over the rounds of word reallocation, ACLW-French; beside it, without the moves.
# usage: lightrnn_figure4.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin lightrnn_figure4 "$@"
sweep experiment=lightrnn/figure4,lightrnn/figure4_control
report
