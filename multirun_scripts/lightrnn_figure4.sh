#!/usr/bin/env bash
# LightRNN, Figure 4: perplexity by round on ACLW-French, with a control without reallocation.
# usage: lightrnn_figure4.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin lightrnn_figure4 "$@"
sweep experiment=lightrnn/figure4,lightrnn/figure4_control
report
