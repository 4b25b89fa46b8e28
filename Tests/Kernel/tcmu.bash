# What the groups of TCMU tests have in common; sourced by them behind lib.bash.
transport=tcmu
target=/sys/kernel/config/target

# What a distribution loads at boot or through udev; the rest is the engine's to load.
drivers_load() { modprobe -a ext4 xfs erofs sg; }

# --- the engine's processes --------------------------------------------------------

# start_manager OPTION...: starts a manager that stays, with the log that one started by a command has. The program is
# $daemon.
daemon=ashlard
start_manager() {
    mkdir -p "$ASHLAR_ROOT"
    setsid "$daemon" manage "$@" >> "$ASHLAR_ROOT/ashlard.log" 2>&1 < /dev/null &
    wait_until manager_answers
}

manager_answers() { ashlar daemon status > "$scratch/status" 2>&1; }

# The process that is the manager; there has to be one.
manager() { ashlar daemon status --json | jq -e .pid; }

# The process that serves an attachment.
server() { field "$1" .server.pid; }

# Whether an attachment is served by another process than that one.
has_new_server() {
    local pid
    pid=$(field "$1" .server.pid 2> /dev/null) || return 1
    [ "$pid" != "$2" ] && state_is "$1" attached
}

nothing_is_listed() { [ "$(ashlar ls --json | tr -d '[:space:]')" = "[]" ]; }

# in_other COMMAND...: runs a command for a second instance of the engine.
in_other() { ASHLAR_ROOT=$scratch/other ASHLAR_RUN=$scratch/other-run "$@"; }

# --- backstores and targets, by hand --------------------------------------------------

# make_backstore NAME CONFIG [KEY=VALUE...]: user_7/NAME, enabled; what kept it from that is in the status and errors.
make_backstore() {
    local directory=$target/core/user_7/$1 setting
    mkdir -p "$directory"
    for setting in "dev_config=$2" "${@:3}"; do
        echo -n "$setting" > "$directory/control"
    done
    echo -n 1 > "$directory/enable"
}

remove_backstore() { rmdir "$target/core/user_7/$1"; }

# make_lun NAME: exports a backstore, and prints the disk.
make_lun() {
    local group=$target/loopback/$(naa "$1")/tpgt_1 address
    mkdir -p "$group/lun/lun_0"
    naa "$1" > "$group/nexus"
    ln -s "$target/core/user_7/$1" "$group/lun/lun_0/$1"
    address=$(cat "$group/address")
    wait_until compgen -G "/sys/class/scsi_device/$address:0/device/block/*" > "$scratch/disks"
    local disk
    disk=/dev/$(basename "$(tail -n 1 "$scratch/disks")")
    wait_until test -b "$disk"
    echo "$disk"
}

remove_lun() {
    local group=$target/loopback/$(naa "$1")/tpgt_1
    rm "$group/lun/lun_0/$1"
    rmdir "$group/lun/lun_0" "$group" "${group%/*}"
}

# The name of a backstore's target: 16 digits that come from it.
naa() { echo "naa.5$(echo -n "$1" | sha256sum | cut -c -15)"; }

# generic DISK: its other node, which can be written to whatever the disk says.
generic() { echo "/dev/$(ls "/sys/block/${1#/dev/}/device/scsi_generic")"; }

# refused_at_once COMMAND...: it fails, within seconds and not when some deadline has passed, with an errno's text.
refused_at_once() {
    local begin=$SECONDS status=0
    "$@" > "$scratch/said" 2>&1 || status=$?
    [ "$status" -ne 0 ] || die "'$*' succeeds"
    [ $((SECONDS - begin)) -le 30 ] || die "'$*' took $((SECONDS - begin)) s"
    grep -F 'write error: ' "$scratch/said" || die "'$*' failed for another reason: $(cat "$scratch/said")"
}

# The attachment that stands for a backstore of user_7 in what the engine lists.
served_id() { ashlar ls --json | jq -er --arg name "$1" '.[] | select(.backstore.hba == 7 and .backstore.name == $name).id'; }

# --- what fio does ---------------------------------------------------------------------

# fio_verifies FILE [OPTION...]: random writes that are read back and compared; any error is fio's status.
fio_verifies() {
    fio --name=verify --filename="$1" --ioengine=libaio --direct=1 --iodepth=8 --rw=randwrite --bsrange=4k-64k \
        --blockalign=4k --size=16M --io_size=4M --verify=crc32c --verify_fatal=1 --do_verify=1 --randrepeat=0 \
        --verify_state_save=0 --aux-path="$scratch" "${@:2}" > "$scratch/fio" 2>&1 || { cat "$scratch/fio"; die "fio failed"; }
}

# fio_goes_on FILE [OPTION...]: again and again until the file $scratch/enough is there, which is at the end of the
# group at the latest; counts its runs in $scratch/runs. To be run beside the test.
fio_goes_on() {
    local runs=0
    while [ ! -e "$scratch/enough" ]; do
        fio_verifies "$@"
        runs=$((runs + 1))
        echo "$runs" > "$scratch/runs"
    done
}

trap ': > "$scratch/enough"' EXIT

# --- the end of a group -------------------------------------------------------------------

no_backstore_is_left() {
    prints_nothing find "$target/core" -mindepth 1 -maxdepth 1 -name 'user_*'
    if [ -d "$target/loopback" ]; then
        prints_nothing find "$target/loopback" -mindepth 1 -maxdepth 1 -name 'naa.*'
    fi
    prints_nothing find /sys/class/uio -mindepth 1
    prints_nothing find /sys/class/scsi_device -mindepth 1
}

nothing_is_left() {
    # A removed backstore goes when the kernel has nothing to do for it any more.
    wait_until no_task_is_held
    no_backstore_is_left
    nothing_is_attached
}

# end_of_group: the checks that every group ends with.
end_of_group() {
    check "nothing is left" nothing_is_left
    check "the scratch disk unmounts" scratch_disk_unmounts
    check "the kernel has logged no complaint" kernel_has_no_complaints
    check "no disk had an error" disks_had_no_error
}

disks_had_no_error() {
    local messages
    messages=$(dmesg)
    ! grep -E 'I/O error|critical (target|medium) error|EXT4-fs error|XFS .*(Corruption|error)' <<< "$messages"
}
