#!/bin/bash
#SBATCH --job-name=@NAME@
#SBATCH --time=@TIME@
#SBATCH --signal=B:USR1@@SETTLE@
# Add what your cluster requires (nodes, tasks, account) and the modules that VASP needs. Submit it from its own folder.
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")}" || exit 1
if [ ! -f run-vasp.sh ]; then
    echo "no run-vasp.sh in $PWD: cd to the folder of job.sh, then sbatch job.sh" >&2
    exit 1
fi

# shortly before the end of the job a STOPCAR stops VASP after its step, and the job is queued again
stopped=no
trap 'stopped=yes; echo "LSTOP = .TRUE." > STOPCAR' USR1
sh run-vasp.sh &
while true; do
    wait $!
    status=$?
    kill -0 $! 2>/dev/null || break
done
if [ "$status" -eq @MORE@ ] && [ "$stopped" = yes ]; then
    sbatch job.sh
fi
exit "$status"
