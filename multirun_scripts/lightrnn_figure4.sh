#!/usr/bin/env bash
# LightRNN, Figure 4: perplexity over the rounds of word reallocation, ACLW-French.
# usage: lightrnn_figure4.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin lightrnn_figure4 "$@"
sweep experiment=lightrnn/figure4
report
