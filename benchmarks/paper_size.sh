#!/bin/sh
# Trains a `paper` recipe on a GPU that is lent for a few minutes at a time: each call goes on where the last was stopped,
# and stops itself after MINUTES (9 if not given).
#
#     sh benchmarks/paper_size.sh TASK OUT [DATA] [MINUTES]
#     sh benchmarks/paper_size.sh image runs/image-paper cifar10_gray.npz     # again until it says "test accuracy"
#
# DATA is the task's official layout, an archive or .npz of it; the first call makes the cache from it. Nothing of it is
# larger than 64 MiB: the grey pictures of Image, as bytes in a compressed .npz (x_train, y_train, x_test, y_test), are
# 47 MiB, 37,500 reviews of Text in a .tar.xz 14. ListOps is generated on every call (seconds), Pathfinder on the
# first, whole and outside the minutes: twenty minutes of one core, 80 seconds of sixteen. A stage of shorter contours
# is drawn when it begins, and again, with the two before it, by a call that goes on within it: up to three times 25,600
# pictures.
set -eu
task=$1 out=$2 data=${3:-} minutes=${4:-9}
cache=${RMAAT_DATA:-data}/$task
if [ ! -d "$cache" ]; then
    case $task in
    listops) ;;
    pathfinder) rmaat data prepare pathfinder --train 100000 --validation 2000 --test 5000 ;;
    *)
        if [ -z "$data" ]; then
            echo "DATA: got '', expected a folder, an archive or an .npz of $task, the third argument" >&2
            exit 2
        fi
        rmaat data prepare "$task" --folder "$data"
        ;;
    esac
fi
code=0
timeout "${minutes}m" rmaat train --task "$task" --config "$task-paper" --resume --out "$out" || code=$?
if [ "$code" -eq 124 ]; then echo "stopped after $minutes minutes; call again to go on"; else exit "$code"; fi
