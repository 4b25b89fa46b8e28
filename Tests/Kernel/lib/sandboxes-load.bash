# Many sandboxes; to be sourced by Tests/Kernel/sandboxes.

all_of_one_base() {
    local count number small=$scratch/small load=(python3 Tests/Kernel/lib/sandbox_load.py "$ASHLAR_RUN/ashlard.sock")
    count=$(amount 10 200)
    truncate -s 4M "$small"
    mkfs.ext4 -q "$small"
    "${load[@]}" many "$small" "$count"
    equal "devices" "$(dmsetup ls | wc -l)" "$count"
    equal "loop devices of the base" "$(losetup -j "$small" | wc -l)" 1
    equal "loop devices" "$(losetup -a | wc -l)" $((count + 1))
    for number in $(seq "$count"); do
        mkdir "$scratch/mnt/$number"
        mount "$(device "load-$number")" "$scratch/mnt/$number"
        echo "I am $number" > "$scratch/mnt/$number/who"
    done
    # All are mounted, and what is read comes from the devices.
    sync
    echo 3 > /proc/sys/vm/drop_caches
    for number in $(seq "$count"); do
        equal "who is $number" "$(cat "$scratch/mnt/$number/who")" "I am $number"
        umount "$scratch/mnt/$number"
        rmdir "$scratch/mnt/$number"
    done
    "${load[@]}" remove "$count"
    rm "$small"
    nothing_is_left
}

twenty_processes() {
    local pids=() pid number
    for number in {1..20}; do
        ashlar sandbox create "process-$number" --base "$base" > "$scratch/process-$number" & pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    for number in {1..20}; do
        equal "what process $number prints" "$(cat "$scratch/process-$number")" "$(device "process-$number")"
        remove "process-$number"
        rm "$scratch/process-$number"
    done
    nothing_is_left
}

many_cycles() {
    local manager before
    manager=$(cat "$scratch/manager")
    create warm
    remove warm
    before=$(ls "/proc/$manager/fd" | wc -l)
    python3 Tests/Kernel/lib/sandbox_load.py "$ASHLAR_RUN/ashlard.sock" cycles "$base" "$(amount 20 1000)"
    [ "$(ls "/proc/$manager/fd" | wc -l)" -le $((before + 4)) ] || { ls -l "/proc/$manager/fd"; return 1; }
    echo "memory now: $(grep VmRSS "/proc/$manager/status")"
    equal "semaphores" "$(ipcs -s | sed -n '/^0x/p')" ""
    nothing_is_left
}
