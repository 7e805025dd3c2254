#!/bin/bash
#SBATCH --job-name=@NAME@
#SBATCH --time=@TIME@
#SBATCH --signal=B:USR1@@SETTLE@
# Add what your cluster asks for (nodes, tasks, account) and the modules that VASP needs.
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")}" || exit 1

# shortly before the end of the job VASP is told to stop after its step, and the job is queued again
trap 'echo "LSTOP = .TRUE." > STOPCAR' USR1
sh run-vasp.sh &
while true; do
    wait $!
    status=$?
    kill -0 $! 2>/dev/null || break
done
if [ "$status" -eq @MORE@ ]; then
    sbatch job.sh
fi
exit "$status"
