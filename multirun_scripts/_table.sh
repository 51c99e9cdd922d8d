# Functions shared by the scripts in this folder, which source this file.
#
#   begin NAME [override ...]    sets the output folder (FOLDER, or multirun/NAME...) and the overrides for every run
#   sweep experiment=... ...     trains; when called again, keeps completed runs and resumes the others
#   attempt COMMAND ...          runs a command; if it fails, the script goes on, and fails at its end
#   report                       writes tables, plots and a page, titled NAME..., to the output folder; fails if a run
#                                failed
#
# begin also sets `languages` to an override that sweeps over the languages of ACLW. LANGUAGES=cs,fr selects a subset.
# With another corpus (data=ptb), `languages` is empty, so that each model is trained only once.
#
# With -h or --help, sourcing this file prints the comment at the top of the script and exits.
set -euo pipefail

for argument in "$@"; do
    case $argument in
    -h | --help)
        awk 'NR > 1 { if (!sub(/^# ?/, "")) exit; print }' "$0"
        exit 0
        ;;
    esac
done

begin() {
    local corpus='' override
    name=$1
    shift
    given=("$@")
    scale=paper
    languages=data.language=${LANGUAGES:-es,fr,en,cs,de,ru}
    for override in "$@"; do
        case $override in
        scale=*) scale=${override#scale=} ;;
        data=*)
            corpus=${corpus:-${override#data=}}
            [ "$override" = data=aclw ] || languages=''
            ;;
        data.name=*) corpus=${override#data.name=} ;;
        esac
    done
    [ "$scale" = paper ] || name+=-$scale
    name+=${corpus:+-$corpus}
    folder=${FOLDER:-multirun/$name}
    status=0
}

sweep() {
    local ended=0
    # Hydra checks overrides such as data.root=... against the configuration without swept options, so the first
    # experiment is also selected by itself. Run folders are named by experiment and seed, so that further seeds and
    # rows are added to the same folder. Before version 4.4, bash treats an empty array as unset.
    lightrnn-train -m "hydra.sweep.dir=$folder" 'hydra.sweep.subdir=${name}-seed${seed}' \
        "${1%%,*}" "$@" ${given[@]+"${given[@]}"} || ended=$?
    stop_if_interrupted "$ended"
    [ "$ended" = 0 ] || [ -d "$folder" ] || exit "$ended" # the configuration was refused
    [ "$ended" = 0 ] || status=$ended
}

attempt() {
    local ended=0
    "$@" || ended=$?
    stop_if_interrupted "$ended"
    [ "$ended" = 0 ] || status=$ended
}

stop_if_interrupted() {
    [ "$1" -ge 128 ] || return 0
    echo "interrupted; to resume, run the script again with the same arguments and variables" >&2
    exit "$1"
}

report() {
    attempt lightrnn-report "$folder" "output=$folder/report" "title='Report: $name'"
    exit "$status"
}
