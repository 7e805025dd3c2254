#!/bin/sh
# Written by stem2sim. Runs VASP in this folder, from where an earlier part of it ended, if there is one.
# Exit status: 0 when everything is done, @MORE@ when VASP was stopped and this script can resume, else that of VASP.
# It may be interrupted anywhere and started again: the output of VASP is linked away first, and removed last.
cd "$(dirname "$0")" || exit 1
@COMMAND@
steps=@STEPS@
moving=@MOVING@ # 1 for dynamics, which continues from velocities

answers="vasprun.xml OSZICAR XDATCAR vasp.out CONTCAR CONTCAR.kept OUTCAR"

count() { # ionic steps that an OSZICAR has complete
    n=$(grep -c '^ *[0-9][0-9]* *[FT]=' "$1" 2>/dev/null)
    echo "${n:-0}"
}

number() { # that a file holds; 0 where there is none
    n=$(cat "$1" 2>/dev/null)
    echo "${n:-0}"
}

whole() { # CONTCAR and POSCAR of a part: is the first written to its end?
    [ -s "$1" ] && [ -z "$(tail -c 1 "$1")" ] || return 1
    # where there was a predictor-corrector block before, a file without it is truncated
    beside=$(dirname "$1")
    block=$(awk 'FNR > 9 && NF == 1 && $1 == "1" { print 1; exit }' "$2" "$beside/CONTCAR" "$beside/CONTCAR.kept" \
        2>/dev/null)
    awk -v moving="$moving" -v block="${block:-0}" '
        NR == 7 { for (i = 1; i <= NF; i++) n += $i }
        NR == 8 { first = $1 ~ /^[Ss]/ ? 10 : 9 }
        NR > 8 && NR >= first && NR < first + n { rows++; if (NF < 3) torn = 1 }
        NR > 8 && NR >= first + n { if (NF == 3) more++; if (NF == 1 && $1 == "1") flag = 1 }
        END {
            if (torn || n == 0 || rows != n) exit 1
            if (flag) exit more != 4 * n
            if (block) exit 1
            exit !(more == n || (!moving && more == 0))
        }' "$1"
}

ended() {
    grep -q 'General timing and accounting' OUTCAR 2>/dev/null ||
        tail -c 200 vasprun.xml 2>/dev/null | grep -q '</modeling>'
}

complete() {
    ended || return 1
    grep -q 'reached required accuracy' OUTCAR vasp.out 2>/dev/null && return 0
    [ $(($(number vasp.begin) + $(count OSZICAR))) -ge "$steps" ]
}

configuration() { # CONTCAR and XDATCAR: the last configuration of the second that is the first; 0 for none
    [ -f "$2" ] || { echo 0; return; }
    awk '
        FNR == 1 { file++ }
        file == 1 && FNR == 2 { scale = $1 }
        file == 1 && FNR > 2 && FNR < 6 { for (i = 1; i < 4; i++) cell[FNR - 3, i] = $i * scale }
        file == 1 && FNR == 7 { for (i = 1; i <= NF; i++) n += $i }
        file == 1 && FNR == 8 { first = $1 ~ /^[Ss]/ ? 10 : 9 }
        file == 1 && FNR > 8 && FNR >= first && FNR < first + n { for (i = 1; i < 4; i++) x[FNR - first, i] = $i }
        file == 2 && /^ *Direct/ { # a header stands before the first, and before each where the cell changes
            for (k = 0; h > 6 && k < 3; k++) for (i = 1; i < 4; i++) lattice[k, i] = head[h - 5 + k, i] * head[h - 6, 1]
            frame++; row = 0; same = 1; h = 0
            for (k = 0; k < 3; k++) for (i = 1; i < 4; i++) {
                d = lattice[k, i] - cell[k, i]
                if (d > 1e-5 || d < -1e-5) same = 0
            }
            next
        }
        file == 2 && (!frame || row == n) { for (i = 1; i < 4; i++) head[h, i] = $i; h++; next }
        file == 2 && frame && row < n {
            for (i = 1; i < 4; i++) {
                d = $i - x[row, i]
                d -= int(d + (d < 0 ? -0.5 : 0.5))
                if (d > 3e-8 || d < -3e-8) same = 0
            }
            row++
            if (row == n && same) found = frame
        }
        END { print found + 0 }' "$1" "$2"
}

put_next() { # into a part: the POSCAR of the next one, and how many steps are done by then
    source=$1/CONTCAR
    whole "$source" "$1/POSCAR" || source=$1/CONTCAR.kept
    if ! whole "$source" "$1/POSCAR"; then
        echo "there is no complete CONTCAR to continue from; remove OSZICAR, and this part is computed again" >&2
        echo 1 > vasp.status
        exit 1
    fi
    done=$(count "$1/OSZICAR")
    again=$(configuration "$source" "$1/XDATCAR") # a step that is recomputed, where it is behind the last one
    [ "$again" -eq 0 ] || done=$((again - 1))
    echo $(($(number "$1/vasp.begin") + done)) > "$1/next.steps"
    cp "$source" "$1/next.new" && mv "$1/next.new" "$1/next"
}

if complete; then
    echo 0 > vasp.status
    exit 0
fi

last=$(ls -d parts/[0-9]* 2>/dev/null | tail -n 1)
if [ "$(count OSZICAR)" -gt 0 ] && ! { [ -n "$last" ] && cmp -s OSZICAR "$last/OSZICAR"; }; then
    last=$(printf 'parts/%03d' $(($(ls -d parts/[0-9]* 2>/dev/null | grep -c .) + 1)))
    rm -rf parts/.new && mkdir -p parts/.new || exit 1
    for file in INCAR KPOINTS POSCAR vasp.begin; do
        [ ! -f "$file" ] || cp -p "$file" parts/.new/ || exit 1
    done
    [ ! -f INCAR.ran ] || cp -p INCAR.ran parts/.new/INCAR || exit 1
    for file in $answers; do
        [ ! -f "$file" ] || ln "$file" parts/.new/ 2>/dev/null || cp -p "$file" parts/.new/ || exit 1
    done
    put_next parts/.new
    mv parts/.new "$last" || exit 1
fi
if [ -n "$last" ]; then
    [ -f "$last/next" ] && [ -f "$last/next.steps" ] || put_next "$last"
    # byte for byte: dynamics continues from what follows the positions
    cp "$last/next" POSCAR.new && mv POSCAR.new POSCAR || exit 1
    cp "$last/next.steps" vasp.begin || exit 1
    left=$((steps - $(number vasp.begin)))
    [ "$left" -ge 1 ] || left=1
    { grep -v '^ *NSW *=' INCAR; echo "NSW = $left"; } > INCAR.new && mv INCAR.new INCAR || exit 1
fi
rm -f $answers INCAR.ran STOPCAR vasp.status
: > vasp.checkpoint

# VASP rewrites CONTCAR in every step and may be killed while it does: the last complete one is kept
(
    trap 'kill $nap; exit' TERM
    while kill -0 $$ 2>/dev/null; do
        sleep 30 &
        nap=$!
        wait $nap
        cp CONTCAR CONTCAR.new && whole CONTCAR.new POSCAR && mv CONTCAR.new CONTCAR.kept
    done
) > /dev/null 2>&1 &
keeper=$!
vasp=
trap 'kill $vasp $keeper 2>/dev/null; exit 143' TERM HUP INT
"$@" > vasp.out 2>&1 &
vasp=$!
wait $vasp
status=$?
kill $keeper 2>/dev/null
rm -f CONTCAR.new

if complete; then
    status=0
elif ended && [ "$(count OSZICAR)" -gt 0 ]; then # normally, before the last step: after a STOPCAR
    status=@MORE@
elif [ "$status" -eq 0 ]; then
    status=1
fi
echo "$status" > vasp.status
exit "$status"
