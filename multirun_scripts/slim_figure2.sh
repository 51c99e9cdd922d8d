#!/usr/bin/env bash
# Slim Embedding, Figure 2: the input compressed at ratios from 1/2 to 1/512, K = 8.
# usage: slim_figure2.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin slim_figure2 "$@"
sweep experiment=slim/figure2 paper.model=ne
sweep experiment=slim/figure2 paper.model=se paper.ratio=2,4,8,16,32,64,128,256,512
report
