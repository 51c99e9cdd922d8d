#!/usr/bin/env bash
# Slim Embedding, Figure 5: both layers shared at 1/8, K from 1 to as many as units, shuffled and hashed.
# usage: slim_figure5.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin slim_figure5 "$@"
parts=1,2,4,8,16,32,64,128
[ "$scale" = small ] || parts+=,256,512
sweep experiment=slim/figure5_ne,slim/figure5_hashed
sweep experiment=slim/figure5_se "paper.parts=$parts"
report
