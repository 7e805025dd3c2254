#!/bin/sh
# Written by stem2sim. Runs VASP in this folder, from where an earlier part of it ended, if any did.
# Ends with 0 when everything is done, with @MORE@ when VASP was stopped and this script goes on, else with VASP's status.
cd "$(dirname "$0")" || exit 1
@COMMAND@
steps=@STEPS@

done_steps() { cat parts/[0-9]*/OSZICAR OSZICAR 2>/dev/null | grep -c '^ *[0-9][0-9]* *[FT]='; }

if [ -s OSZICAR ] && grep -q '^ *[0-9][0-9]* *[FT]=' OSZICAR; then
    source=CONTCAR
    [ "$(grep -c . CONTCAR 2>/dev/null || echo 0)" -ge @LINES@ ] || source=CONTCAR.kept
    if [ ! -s "$source" ]; then
        echo "no whole CONTCAR to go on from" >&2
        echo 1 > vasp.status
        exit 1
    fi
    number=$(ls -d parts/[0-9]* 2>/dev/null | grep -c .)
    part=$(printf 'parts/%03d' $((number + 1)))
    rm -rf parts/.new && mkdir -p parts/.new
    cp -p INCAR KPOINTS POSCAR parts/.new/
    cp -p "$source" parts/.new/CONTCAR
    mv vasprun.xml OSZICAR XDATCAR vasp.out OUTCAR parts/.new/ 2>/dev/null
    mv parts/.new "$part"
    # byte for byte: what follows the positions is what dynamics go on from
    cp "$part/CONTCAR" POSCAR
    rm -f CONTCAR CONTCAR.kept
    left=$((steps - $(done_steps)))
    [ "$left" -ge 1 ] || left=1
    grep -v '^ *NSW *=' INCAR > INCAR.new
    echo "NSW = $left" >> INCAR.new
    mv INCAR.new INCAR
fi

rm -f STOPCAR vasp.status
: > vasp.checkpoint
"$@" > vasp.out 2>&1
status=$?
if grep -q 'General timing and accounting' OUTCAR 2>/dev/null; then
    if grep -q 'reached required accuracy' OUTCAR vasp.out || [ "$(done_steps)" -ge "$steps" ]; then
        status=0
    elif grep -q '^ *[0-9][0-9]* *[FT]=' OSZICAR; then # ended by itself in between: a STOPCAR told it to
        status=@MORE@
    elif [ "$status" -eq 0 ]; then
        status=1
    fi
elif [ "$status" -eq 0 ]; then
    status=1
fi
echo "$status" > vasp.status
exit "$status"
