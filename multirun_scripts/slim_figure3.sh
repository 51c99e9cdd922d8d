#!/usr/bin/env bash
# Slim Embedding, Figure 3: the input layer shared at 1/8, K from 1 to as many as units, shuffled and hashed.
# usage: slim_figure3.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin slim_figure3 "$@"
parts=1,2,4,8,16,32,64,128
[ "$scale" = small ] || parts+=,256,512
sweep experiment=slim/figure3_ne,slim/figure3_hashed
sweep experiment=slim/figure3_se "paper.parts=$parts"
report
