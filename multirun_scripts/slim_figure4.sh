#!/usr/bin/env bash
# Slim Embedding, Figure 4: input and output compressed at ratios from 1/2 to 1/256, compared with shorter vectors (PM)
# and fewer units (SM).
# usage: slim_figure4.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin slim_figure4 "$@"
ratios=2,4,8,16,32,64
[ "$scale" = small ] || ratios+=,128,256
sweep experiment=slim/figure4 paper.model=ne
sweep experiment=slim/figure4 paper.model=se,pm,sm "paper.ratio=$ratios"
report
