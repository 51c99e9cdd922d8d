# What the scripts of this folder share; sourced by them.
#
#   begin NAME [override ...]    the overrides go to every run; FOLDER=... puts all of it elsewhere than multirun/NAME
#   sweep override ...           trains; a second call keeps what is complete and goes on with the rest
#   report                       tables, pictures and a page in the folder; fails if a run failed
set -euo pipefail

begin() {
    local name=$1 corpus='' override
    shift
    given=("$@")
    scale=paper
    for override in "$@"; do
        case $override in
        scale=*) scale=${override#scale=} && name+=-$scale ;;
        data=*) corpus=${corpus:-${override#data=}} ;;
        data.name=*) corpus=${override#data.name=} ;;
        esac
    done
    name+=${corpus:+-$corpus}
    folder=${FOLDER:-multirun/$name}
    status=0
}

sweep() {
    local ended=0
    # Folders are named by what is in them, so that a further seed or row goes beside those that are there.
    lightrnn-train -m "hydra.sweep.dir=$folder" 'hydra.sweep.subdir=${name}-seed${seed}' "$@" "${given[@]}" || ended=$?
    [ "$ended" -lt 128 ] || exit "$ended" # interrupted
    [ "$ended" = 0 ] || status=$ended
}

report() {
    lightrnn-report "$folder" "output=$folder/report" || status=$?
    exit "$status"
}
