# Functions shared by the scripts in this folder, which source this file.
#
#   begin NAME [override ...]    sets the output folder (FOLDER, or multirun/NAME...) and the overrides for every run
#   sweep override ...           trains; when called again, keeps completed runs and resumes the others
#   report                       writes tables, plots and a page to the output folder; fails if a run failed
#
# begin also sets `languages` to an override that sweeps over the languages of ACLW. LANGUAGES=cs,fr selects a subset.
# With another corpus (data=ptb), `languages` is empty, so that each model is trained only once.
set -euo pipefail

begin() {
    local name=$1 corpus='' override
    shift
    given=("$@")
    scale=paper
    languages=data.language=${LANGUAGES:-es,fr,en,cs,de,ru}
    for override in "$@"; do
        case $override in
        scale=*) scale=${override#scale=} && name+=-$scale ;;
        data=*)
            corpus=${corpus:-${override#data=}}
            [ "$override" = data=aclw ] || languages=''
            ;;
        data.name=*) corpus=${override#data.name=} ;;
        esac
    done
    name+=${corpus:+-$corpus}
    folder=${FOLDER:-multirun/$name}
    status=0
}

sweep() {
    local argument experiments='' experiment ended
    local others=()
    for argument in "$@"; do
        case $argument in
        experiment=*) experiments=${argument#experiment=} ;;
        *) others+=("$argument") ;;
        esac
    done
    # One sweep per experiment: Hydra checks overrides such as data.root=... against the configuration without swept
    # options, and a swept experiment would not have selected its corpus yet.
    for experiment in ${experiments//,/ }; do
        ended=0
        # Run folders are named by experiment and seed, so that further seeds and rows are added to the same folder.
        lightrnn-train -m "hydra.sweep.dir=$folder" 'hydra.sweep.subdir=${name}-seed${seed}' \
            "experiment=$experiment" "${others[@]}" "${given[@]}" || ended=$?
        [ "$ended" -lt 128 ] || exit "$ended" # interrupted
        [ "$ended" = 0 ] || status=$ended
    done
}

report() {
    lightrnn-report "$folder" "output=$folder/report" || status=$?
    exit "$status"
}
