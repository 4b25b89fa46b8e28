import Foundation
import TestKit
import Testing

extension SerialEndToEndTests {
  /// What mount and umount take, and what they say when the kernel refuses.
  @Suite struct MountTests {
    /// An instance with the directories m and n, and disks made by a script in its directory.
    private func instance(_ script: String) throws -> Instance {
      let instance = try Instance()
      let made = try instance.shell("set -e; cd \(instance.scratch.path); mkdir m n; \(script)")
      try #require(made.status == 0, "\(made.errors)")
      return instance
    }

    /// Runs a script in the instance's directory.
    private func run(_ instance: Instance, _ script: String) throws -> Program.Outcome {
      try instance.shell("cd \(instance.scratch.path); \(script)")
    }

    /// A disk that was copied while it was mounted: its journal is to be replayed.
    private func dirty(_ type: String) throws -> Instance {
      let instance = try instance("truncate -s 320M disk; mkfs.\(type) -q disk")
      let copied = try run(
        instance,
        """
        set -e
        ashlar attach --id clean raw:disk > /dev/null
        ashlar mount clean m; echo x > m/x; sync -f m/x; cp disk dirty; ashlar umount clean
        ashlar detach --id clean; ashlar attach --id dirty --read-only raw:dirty > /dev/null
        """)
      try #require(copied.status == 0, "\(copied.errors)")
      return instance
    }

    /// What LVM writes at the beginning of a disk: in its second sector, a label with a checksum.
    private static var labelOfAPhysicalVolume: [UInt8] {
      var sector = [UInt8](repeating: 0, count: 512)
      sector.replaceSubrange(0..<8, with: "LABELONE".utf8)
      sector[8] = 1
      sector[20] = 32
      sector.replaceSubrange(24..<32, with: "LVM2 001".utf8)
      sector.replaceSubrange(32..<64, with: "OgwRG2kEL8xqeKMPglzDp5QTWhDKqNP5".utf8)
      var checksum: UInt32 = 0xF597_A6CF
      for byte in sector[20...] {
        checksum ^= UInt32(byte)
        for _ in 0..<8 { checksum = checksum >> 1 ^ (checksum & 1 == 1 ? 0xEDB8_8320 : 0) }
      }
      for index in 0..<4 { sector[16 + index] = UInt8(truncatingIfNeeded: checksum >> (8 * index)) }
      return [UInt8](repeating: 0, count: 512) + sector
    }

    /// What helps is said, and helps.
    @Test(arguments: [("ext4", "noload"), ("xfs", "norecovery")])
    func aJournalOnAReadOnlyDisk(type: String, option: String) throws {
      let instance = try dirty(type)
      let refused = try run(instance, "ashlar mount dirty m")
      #expect(refused.status == 1 && refused.errors.contains("-o \(option)"), "\(refused.errors)")
      // The kernel's own reason, and nothing of a broken disk.
      #expect(refused.errors.contains("recovery required"), "\(refused.errors)")
      #expect(!refused.errors.contains("fsck"), "\(refused.errors)")
      let mounted = try run(instance, "ashlar mount dirty m -o \(option) && ashlar umount dirty")
      #expect(mounted.status == 0, "\(mounted.errors)")
      try instance.detach("dirty")
    }

    @Test func aSecondXFSOfOneUUID() throws {
      let instance = try instance("truncate -s 320M one; mkfs.xfs -q one; cp one two")
      _ = try instance.attach("one", "raw:\(instance.scratch("one"))")
      _ = try instance.attach("two", "raw:\(instance.scratch("two"))")
      let refused = try run(instance, "ashlar mount one m; ashlar mount two n")
      #expect(refused.status == 1 && refused.errors.contains("-o nouuid"), "\(refused.errors)")
      let mounted = try run(
        instance, "ashlar mount two n -o nouuid && ashlar umount two && ashlar umount one")
      #expect(mounted.status == 0, "\(mounted.errors)")
      for id in ["one", "two"] { try instance.detach(id) }
    }

    @Test func aFeatureThatTheKernelLacks() throws {
      // A bit of s_feature_incompat that has no meaning yet.
      let instance = try instance(
        """
        truncate -s 16M disk; mkfs.ext4 -q -O ^metadata_csum disk
        printf '\\200' | dd of=disk bs=1 seek=$((1024 + 0x63)) conv=notrunc status=none
        """)
      _ = try instance.attach("new", "raw:\(instance.scratch("disk"))")
      let refused = try run(instance, "ashlar mount new m --fs ext4")
      #expect(
        refused.status == 1 && refused.errors.contains("features that this kernel lacks"), "\(refused.errors)"
      )
      try instance.detach("new")
    }

    @Test(arguments: [
      ("mkswap -q disk", "swap space", "swapon"),
      (
        "printf 'LUKS\\272\\276\\0\\001' | dd of=disk conv=notrunc status=none", "encrypted",
        "cryptsetup open"
      ),
      ("cp label disk; truncate -s 16M disk", "an LVM physical volume", "vgchange -ay"),
    ])
    func whatIsNoFileSystem(script: String, what: String, remedy: String) throws {
      let instance = try instance("truncate -s 16M disk")
      try instance.scratch.write("label", Self.labelOfAPhysicalVolume)
      #expect(try run(instance, script).status == 0)
      _ = try instance.attach("no", "raw-bytes:\(instance.scratch("disk"))")
      let refused = try run(instance, "ashlar mount no m")
      #expect(refused.status == 1, "\(refused.errors)")
      for words in ["that is no file system", what, remedy] {
        #expect(refused.errors.contains(words), "\(refused.errors)")
      }
      try instance.detach("no")
    }

    @Test func takesOptionsAsMountDoes() throws {
      let instance = try instance("truncate -s 16M disk; mkfs.ext4 -q disk")
      _ = try instance.attach("disk", "raw:\(instance.scratch("disk"))")
      for (options, shown) in [
        ("noatime,nosuid,nodev,noexec,defaults,nofail,x-systemd.automount", "nosuid,nodev,noexec,noatime"),
        (
          "users,exec,errors=remount-ro,commit=7",
          "nosuid,nodev,relatime.*errors=remount-ro.*commit=7|nosuid,nodev,relatime.*commit=7.*errors=remount-ro"
        ),
        ("rw,ro,noload", "^[^-]*\\bro\\b.* - ext4 \\S+ ro"), ("sync,lazytime,nodiratime", "nodiratime.*sync"),
      ] {
        let mounted = try run(
          instance,
          "ashlar mount disk m -o \(options) && grep -F ' \(instance.scratch("m")) ' /proc/self/mountinfo | "
            + "cut -d ' ' -f 6- && ashlar umount disk")
        #expect(mounted.status == 0, "\(options): \(mounted.errors)")
        #expect(try Regex(shown).firstMatch(in: mounted.line) != nil, "\(options): \(mounted.line)")
      }
      for (options, named) in [
        ("noatime,bogus=1", "bogus=1"), ("bogus", "bogus"), ("data=bogus", "data"), ("remount", "remount"),
      ] {
        let refused = try run(instance, "ashlar mount disk m -o \(options)")
        #expect(refused.status == 1 && refused.errors.contains(named), "\(options): \(refused.errors)")
        // A typo does not send anybody to check a sound disk.
        #expect(!refused.errors.contains("fsck"), "\(options): \(refused.errors)")
      }
      try instance.detach("disk")
    }

    @Test func unmountingWhatIsNotMountedIsAnError() throws {
      let instance = try instance("truncate -s 16M disk; mkfs.ext4 -q disk; cp disk more; mkdir other")
      _ = try instance.attach("disk", "raw:\(instance.scratch("disk"))")
      for target in ["disk", "n", "./n", "nobody"] {
        let refused = try run(instance, "ashlar umount \(target)")
        #expect(refused.status == 1 && refused.errors != "", "\(target)")
      }
      // An ID comes before a directory of its name: what is mounted there is another's.
      _ = try instance.attach("other", "raw:\(instance.scratch("more"))")
      let kept = try run(
        instance,
        """
        mount -t tmpfs none other && ashlar mount disk m && ashlar umount disk
        ashlar umount other; status=$?
        grep -c ' \(instance.scratch("other")) ' /proc/self/mountinfo; umount other; exit $status
        """)
      #expect(kept.status == 1 && kept.line == "1" && kept.errors.contains("./other"), "\(kept.errors)")
      for id in ["disk", "other"] { try instance.detach(id) }
    }
  }
}
