# Sandboxes against the tools that do the same; to be sourced by Tests/Kernel/sandboxes.

verbs_against_tools() {
    python3 Tests/Kernel/lib/sandbox_load.py "$ASHLAR_RUN/ashlard.sock" race "$base" "${ROUNDS:-30}" | tee "$scratch/figures"
}

# 1 GiB with 200 MiB of changes, by turns.
flatten_against_dd() {
    local large=$scratch/large round begin ours=() theirs=()
    truncate -s 1G "$large"
    api POST /v1/sandboxes "{\"name\": \"f\", \"base\": \"$large\"}" > /dev/null
    for round in {0..9}; do
        dd if=/dev/urandom of="$(device f)" bs=1M count=20 seek=$((round * 100)) oflag=direct conv=notrunc status=none
    done
    for round in {1..5}; do
        begin=${EPOCHREALTIME/./}
        api POST /v1/sandboxes/f/flatten "{\"target\": \"$scratch/flat\"}" > /dev/null
        ours+=($(((${EPOCHREALTIME/./} - begin) / 1000)))
        rm "$scratch/flat"
        echo 3 > /proc/sys/vm/drop_caches
        begin=${EPOCHREALTIME/./}
        dd if="$(device f)" of="$scratch/flat" bs=4M conv=sparse status=none
        theirs+=($(((${EPOCHREALTIME/./} - begin) / 1000)))
        rm "$scratch/flat"
        echo 3 > /proc/sys/vm/drop_caches
    done
    remove f
    rm "$large"
    middle() { printf '%s\n' "$@" | sort -n | sed -n 3p; }
    echo "flatten: $(middle "${ours[@]}") ms, dd: $(middle "${theirs[@]}") ms (medians of 5)" >> "$scratch/figures"
}
