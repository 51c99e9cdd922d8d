#!/usr/bin/env bash
# Slim Embedding, Figure 5: input and output compressed to 1/8, K from 1 to the number of units, random and hashed.
# usage: slim_figure5.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin slim_figure5 "$@"
parts=1,2,4,8,16,32,64,128
[ "$scale" = small ] || parts+=,256,512
sweep experiment=slim/figure5 paper.model=ne,hashed
sweep experiment=slim/figure5 paper.model=se "paper.parts=$parts"
report
