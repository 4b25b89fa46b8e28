import Foundation
import Glibc
import LinuxIO
import TestKit
import Testing

extension SerialEndToEndTests {
  /// One writer at a time, and who has a device mounted: as users come upon it.
  @Suite struct WriterTests {
    /// Runs a script in the instance's scratch directory, which has to succeed.
    private func run(_ instance: Instance, _ script: String) throws {
      let outcome = try instance.shell("set -euo pipefail; cd \(instance.scratch("")); \(script)")
      #expect(outcome.status == 0, "\(outcome.output)\(outcome.errors)")
    }

    /// `says TEXT COMMAND...`: it has to fail and to say this.
    private let says = """
      says() { local text=$1 said; shift; if said=$("$@" 2>&1); then echo "it succeeded: $*"; exit 1; fi
        [[ $said == *"$text"* ]] || { echo "$* says: $said"; exit 1; }; }
      """

    @Test func aMountedDiskIsNotAttachedForWriting() throws {
      let instance = try Instance()
      try run(
        instance,
        """
        \(says)
        truncate -s 32M b.img; mkfs.ext4 -q b.img; mkdir m
        loop=$(losetup --find --show b.img); trap 'umount m || true; losetup -d $loop || true' EXIT
        mount "$loop" m
        says "it is mounted at $PWD/m" ashlar attach --id x "raw:$loop"
        says "through $loop" ashlar attach --id x raw:b.img
        ashlar attach --id x "raw:$loop" --read-only; ashlar detach --id x
        # Who knows that all writers know of each other says so.
        device=$(ashlar attach --id x raw:b.img --shared); ashlar attach --id x raw:b.img --shared
        says "it is shared with other writers" ashlar attach --id x raw:b.img
        [ "$(blockdev --getro "$device")" = 0 ]; ashlar detach --id x
        umount m
        says "through $loop" ashlar attach --id x raw:b.img
        losetup -d "$loop"; until [ -z "$(losetup -j b.img)" ]; do :; done; trap - EXIT
        ashlar attach --id x raw:b.img; ashlar detach --id x
        e2fsck -fn b.img
        """)
      #expect(try instance.attachments().isEmpty && instance.serverPids().isEmpty)
    }

    @Test func aFileAndItsLoopDeviceHaveOneWriter() throws {
      let instance = try Instance()
      try run(
        instance,
        """
        \(says)
        truncate -s 32M d.img
        ashlar attach --id h1 raw:d.img
        loop=$(losetup --find --show d.img); trap 'losetup -d $loop' EXIT
        says "$loop shows $PWD/d.img, which somebody uses" ashlar attach --id h2 "raw:$loop"
        ashlar detach --id h1
        ashlar attach --id h2 "raw:$loop"
        says "locked it" ashlar attach --id h1 raw:d.img
        says "in use" mkfs.ext4 -q "$loop" || says "busy" mkfs.ext4 -q "$loop"
        ashlar detach --id h2
        """)
      #expect(try instance.attachments().isEmpty && instance.serverPids().isEmpty)
    }

    /// Its mounts have an anonymous device number.
    @Test func aMountedBtrfsIsSeen() throws {
      let instance = try Instance()
      try run(
        instance,
        """
        \(says)
        truncate -s 128M disk.img; mkfs.btrfs -q disk.img; mkdir mnt sub
        ashlar attach --id b raw:disk.img; ashlar mount b mnt
        trap 'umount mnt sub 2> /dev/null || true' EXIT
        grep -q " 0:[0-9]* / $PWD/mnt .* btrfs " /proc/self/mountinfo
        [ "$(ashlar ls --json | jq -c '.[0].mounts[] | [.directory, .type]')" = "[\\"$PWD/mnt\\",\\"btrfs\\"]" ]
        says "mounted at $PWD/mnt" ashlar detach --id b
        btrfs -q subvolume create mnt/s; mount -o subvol=s "$(ashlar inspect b --json | jq -r .device)" sub
        [ "$(ashlar ls --json | jq '.[0].mounts | length')" = 2 ]
        ashlar umount b
        [ "$(grep -c "$PWD" /proc/mounts)" = 0 ]
        # In a namespace of somebody else's.
        ashlar mount b mnt
        unshare --mount --propagation private sh -c 'echo; exec sleep 60' > ready & other=$!
        until [ -s ready ]; do :; done
        ashlar umount b
        says "mounted at $PWD/mnt in the namespace of sleep (pid $other)" ashlar detach --id b
        kill -KILL $other; wait $other || true
        ashlar detach --id b
        """)
      #expect(try instance.attachments().isEmpty && instance.serverPids().isEmpty)
    }

    @Test func whatIsAttachedIsUnmountedBesideADirectoryOfItsName() throws {
      let instance = try Instance()
      try run(
        instance,
        """
        \(says)
        truncate -s 32M e.img; mkfs.ext4 -q e.img; mkdir m demo
        mount -t tmpfs none demo; trap 'umount demo m 2> /dev/null || true' EXIT
        ashlar attach --id demo raw:e.img; ashlar mount demo m
        ashlar umount demo
        [ "$(grep -c "$PWD/demo" /proc/mounts)" = 1 ]; [ "$(grep -c "$PWD/m " /proc/mounts)" = 0 ]
        ashlar umount ./demo
        [ "$(grep -c "$PWD/demo" /proc/mounts)" = 0 ]
        ashlar detach --id demo
        mount -t tmpfs none demo
        ashlar umount demo
        [ "$(grep -c "$PWD/demo" /proc/mounts)" = 0 ]
        """)
      #expect(try instance.attachments().isEmpty && instance.serverPids().isEmpty)
    }

    /// As Lustre without -o flock (ENOSYS), and others.
    @Test(arguments: [ENOSYS, EOPNOTSUPP]) func aFileSystemWithoutFlockWillDo(code: Int32) throws {
      let instance = try Instance()
      let source = Fixtures.path("../Tests/Kernel/lib/noflock.c")
      try run(
        instance,
        """
        \(says)
        cc -D_FILE_OFFSET_BITS=64 -o noflock \(source) $(pkg-config --cflags --libs fuse3)
        mkdir src fs; truncate -s 16M src/d.img
        ./noflock \(code) "$PWD/src" fs -f & server=$!
        trap 'umount fs; wait $server' EXIT
        until mountpoint -q fs; do kill -0 $server; done
        ashlar attach --id f raw:fs/d.img 2> notice
        grep -q "refuses flock(2)" notice
        ashlar inspect f > inspected; grep -q "refuses flock(2)" inspected
        says "locked it" ashlar attach --id g raw:fs/d.img
        ashlar detach --id f
        """)
      #expect(try instance.attachments().isEmpty && instance.serverPids().isEmpty)
    }

    /// What somebody writes to, shows or reads keeps its name; a volume is not made of what it stands on.
    @Test func aFileInUseIsNotReplaced() throws {
      let instance = try Instance()
      try run(
        instance,
        """
        \(says)
        truncate -s 4M new.img live.img shown.img read.img
        ashlar attach --id live raw:live.img; ashlar attach --id read raw:read.img --read-only
        loop=$(losetup --find --show --read-only shown.img); trap 'losetup -d $loop' EXIT
        before=$(stat -c %i live.img shown.img read.img)
        says "live is attached and uses it" ashlar image extract --force raw:new.img live.img
        # Also where another manager knows of it.
        says "locked it" ashlar image extract --force raw:new.img live.img --run "$PWD/o" --root "$PWD/p"
        says "it is the disk of $loop" ashlar image extract --force raw:new.img shown.img
        says "read is attached and uses it" ashlar image extract --force raw:new.img read.img
        says "the image itself" ashlar image extract --force raw:new.img new.img
        [ "$(stat -c %i live.img shown.img read.img)" = "$before" ]
        ashlar detach --id live; ashlar detach --id read
        ashlar image extract --force raw:new.img read.img
        [ "$(stat -c %i live.img shown.img read.img)" != "$before" ]
        says "the image $PWD/shown.img is on it" ashlar volume format "$loop" --image "$PWD/shown.img"
        says "the image new.img is on it" ashlar volume format new.img --image new.img
        """)
      try instance.expectNothingLeft()
    }

    /// A block device knows of no holes: all of it is read.
    @Test func aBlockDeviceIsVerifiedAndExtracted() throws {
      let instance = try Instance()
      try run(
        instance,
        """
        truncate -s 4M d.img; echo content | dd of=d.img conv=notrunc bs=1M seek=1 status=none
        loop=$(losetup --find --show --read-only d.img); trap 'losetup -d $loop' EXIT
        ashlar image verify "raw:$loop" | grep -q '^sound'
        ashlar image extract "raw:$loop" copy.img
        cmp d.img copy.img
        """)
    }

    /// Opening one for writing succeeds, and each write fails.
    @Test func aReadOnlyDeviceIsNotAttachedForWriting() throws {
      let instance = try Instance()
      let outcome = try instance.shell(
        """
        set -euo pipefail; cd \(instance.scratch("")); truncate -s 1M own.img
        loop=$(losetup --read-only --find --show own.img); trap 'losetup -d $loop' EXIT
        if ashlar attach --id a raw:$loop 2> said; then exit 1; fi
        grep "the device is read-only. Attach it with --read-only" said
        ashlar attach --id a raw:$loop --read-only; ashlar detach --id a
        """)
      #expect(outcome.status == 0, "\(outcome.output)\(outcome.errors)")
    }
  }
}
