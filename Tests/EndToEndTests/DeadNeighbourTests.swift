import Foundation
import TestKit
import Testing

extension SerialEndToEndTests {
  /// What others have on file systems that do not answer holds up nobody who has nothing to do with it.
  @Suite struct DeadNeighbourTests {
    /// Runs a script in the instance's scratch directory, which has to succeed.
    ///
    /// There, `mnt` is a file system with the file `disk.img`, whose server is the process `$server`; what `$loop` is set
    /// to is taken apart at the end.
    private func run(_ instance: Instance, _ script: String) throws {
      let source = Fixtures.path("../Tests/Kernel/lib/stallfs.c")
      let outcome = try instance.shell(
        """
        set -euo pipefail; cd \(instance.scratch(""))
        says() { local text=$1 said; shift; if said=$("$@" 2>&1); then echo "it succeeded: $*"; exit 1; fi
          [[ $said == *"$text"* ]] || { echo "$* says: $said"; exit 1; }; }
        truncate -s 16M backing.img own.img; mkdir mnt; loop=
        cc -o stallfs \(source) $(pkg-config --cflags --libs fuse3)
        ./stallfs backing.img mnt -f & server=$!
        end() { kill -CONT ${server:-}; umount -l mnt; umount -l mnt; kill ${server:-}; [ -z "$loop" ] || losetup -d $loop; }
        trap 'end 2> /dev/null || true' EXIT
        until [ -e mnt/disk.img ]; do kill -0 $server; done
        \(script)
        """)
      #expect(outcome.status == 0, "\(outcome.output)\(outcome.errors)")
    }

    @Test func aLoopDeviceOnADeadFileSystem() throws {
      let instance = try Instance()
      try run(
        instance,
        """
        loop=$(losetup --read-only --find --show mnt/disk.img)
        kill -STOP $server
        timeout 50 ashlar attach --id a raw:own.img; ashlar detach --id a
        # No path tells any more what it is on: it is asked, but not for ever.
        mount -t tmpfs none mnt
        timeout 50 ashlar attach --id a raw:own.img 2> notice; ashlar detach --id a
        grep "$loop (.*/mnt/disk.img) could not be asked what it shows" notice
        umount mnt
        kill -KILL $server; wait $server || true; server=
        ashlar attach --id a raw:own.img; ashlar detach --id a
        mount -t tmpfs none mnt
        ashlar attach --id a raw:own.img 2> notice; ashlar detach --id a
        grep "$loop (.*/mnt/disk.img) could not be asked what it shows" notice
        """)
      #expect(try instance.attachments().isEmpty && instance.serverPids().isEmpty)
    }

    @Test func aSandboxOnADeadFileSystem() throws {
      let instance = try Instance()
      try run(
        instance,
        """
        ashlar ls; ashlar daemon stop
        sqlite3 "$ASHLAR_ROOT/sandboxes.sqlite" "INSERT INTO sandbox (name, id, state, driver, store, storeID, thinID, \
        base, baseSHA256, baseSize, size, quota, bootID, createdAt) VALUES ('s', '0123456789abcdef', 'paused', \
        'snapshot', '$PWD/mnt/s.store', '0123456789abcdef0123456789abcdef', 0, '$PWD/mnt/disk.img', '', 4096, 4096, 0, \
        '', 0)"
        ashlar ls
        says "the sandbox s stands on it" ashlar attach --id a raw:mnt/disk.img
        kill -STOP $server
        timeout 50 ashlar attach --id a raw:own.img; ashlar detach --id a
        """)
      #expect(try instance.attachments().isEmpty && instance.serverPids().isEmpty)
    }

    /// One that was being removed when the manager died, and whose store is not to be reached: the next manager answers
    /// all the same, and who asks for it again and again takes no more threads.
    @Test func aSandboxThatCannotBeTakenOver() throws {
      let instance = try Instance()
      try run(
        instance,
        """
        ashlar ls; ashlar daemon stop
        add() { sqlite3 "$ASHLAR_ROOT/sandboxes.sqlite" "INSERT INTO sandbox (name, id, state, driver, store, storeID, thinID, \
        base, baseSHA256, baseSize, size, quota, bootID, createdAt) VALUES ('$1', '0123456789abcde$2', '$3', \
        'snapshot', '$PWD/mnt/$1.store', '0123456789abcdef0123456789abcde$2', 0, '$PWD/mnt/disk.img', '', 4096, 4096, 0, \
        '', 0)"; }
        add going 0 removing; add paused 1 paused
        kill -STOP $server
        timeout 50 ashlar ls
        timeout 50 ashlar attach --id a raw:own.img; timeout 50 ashlar detach --id a
        timeout 50 ashlar sandbox ls --json > listed
        jq -e 'map(.name) == ["going", "paused"] and all(.[]; .store.allocated == null)' listed
        manager=$(cut -d ' ' -f 1 "$ASHLAR_RUN/ashlard.lock"); before=$(ls /proc/$manager/task | wc -l)
        for i in {1..40}; do
          curl -sS -m 20 --unix-socket "$ASHLAR_RUN/ashlard.sock" http://ashlar/v1/sandboxes > /dev/null
        done
        after=$(ls /proc/$manager/task | wc -l)
        [ $after -le $((before + 8)) ] || { echo "$before threads, then $after"; exit 1; }
        kill -CONT $server
        gone() { ashlar sandbox ls --json | jq -e 'map(.name) == ["paused"]' > /dev/null; }
        for i in {1..100}; do ! gone || break; sleep 0.1; done; gone
        """)
      #expect(try instance.attachments().isEmpty && instance.serverPids().isEmpty)
    }

    /// The attacher asks the manager, who has a deadline, and gives up as it does for whatever fails.
    @Test func aConfigurationOnADeadFileSystem() throws {
      let instance = try Instance()
      try run(
        instance,
        """
        kill -STOP $server
        ln -s "$(command -v ashlar)" overlaybd-attacher
        status=0
        timeout 150 ./overlaybd-attacher attach --id 7 --transport fuse --config mnt/disk.img 2> said || status=$?
        cat said; [ $status = 1 ]
        grep 'try 1 of 5 failed' said; grep 'mnt/disk.img does not answer' said
        """)
      #expect(try instance.attachments().isEmpty && instance.serverPids().isEmpty)
    }

    /// As in a container that may open some devices only.
    @Test func aLoopDeviceThatMayNotBeOpened() throws {
      let instance = try Instance()
      try run(
        instance,
        """
        truncate -s 16M other.img; loop=$(losetup --find --show other.img); export loop; export -f says
        unshare --mount --propagation private bash -euc '
          mkdir nodev; mount -t tmpfs -o nodev none nodev; cp -a $loop nodev/loop; mount --bind nodev/loop $loop
          ashlar attach --id a raw:own.img; ashlar detach --id a
          says "through $loop" ashlar attach --id a raw:other.img
          rm other.img
          ashlar attach --id a raw:own.img 2> notice; ashlar detach --id a
          grep "$loop (.*) could not be asked what it shows" notice
          ashlar daemon stop'
        """)
    }

    /// Overlayfs has locks and inodes of its own.
    @Test func aFileOnOverlayfsComesWithANotice() throws {
      let instance = try Instance()
      let outcome = try instance.shell(
        """
        set -euo pipefail; cd \(instance.scratch("")); mkdir base; mount -t tmpfs none base
        trap 'umount base/merged; umount base' EXIT
        mkdir base/{lower,upper,work,merged}; truncate -s 16M base/lower/d.img
        mount -t overlay -o lowerdir=base/lower,upperdir=base/upper,workdir=base/work none base/merged
        ashlar attach --id a raw:base/merged/d.img 2> notice; ashlar detach --id a
        grep "d.img: it is on overlayfs" notice
        ashlar attach --id a --read-only raw:base/merged/d.img 2> notice; ashlar detach --id a
        [ ! -s notice ]
        """)
      #expect(outcome.status == 0, "\(outcome.output)\(outcome.errors)")
    }

    /// A name that is there stands for its base as it was, not for whatever has its path.
    @Test func aSandboxWhoseBaseWasReplacedIsAConflict() throws {
      let instance = try Instance()
      let outcome = try instance.shell(
        """
        set -euo pipefail; cd \(instance.scratch("")); head -c 1M /dev/urandom > base.img
        ashlar ls; ashlar daemon stop
        sum=$(sha256sum base.img | cut -d ' ' -f 1)
        sqlite3 "$ASHLAR_ROOT/sandboxes.sqlite" "INSERT INTO sandbox (name, id, state, driver, store, storeID, thinID, \
        base, baseSHA256, baseSize, size, quota, bootID, createdAt) VALUES ('s', '0123456789abcdef', 'running', \
        'snapshot', '$PWD/s.store', '0123456789abcdef0123456789abcdef', 0, '$PWD/base.img', '$sum', 1048576, 1048576, 0, \
        '$(cat /proc/sys/kernel/random/boot_id)', 0)"
        create() { ashlar sandbox create --base base.img s; }
        create
        cp base.img copy.img; mv copy.img base.img; create
        conflicts() { if create 2> said; then exit 1; fi; grep "has been replaced or changed since" said; }
        cp base.img kept.img
        printf x | dd of=base.img conv=notrunc status=none; conflicts
        truncate -s 512K base.img; conflicts
        mv kept.img base.img; create
        """)
      #expect(outcome.status == 0, "\(outcome.output)\(outcome.errors)")
    }
  }
}
