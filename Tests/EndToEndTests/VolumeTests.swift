import Foundation
import LinuxIO
import TestKit
import Testing

extension SerialEndToEndTests {
  /// Volumes whose devices are asked for and taken apart at the same time; what devices hold is tested on real kernels.
  @Suite struct VolumeTests {
    /// A manager whose device-mapper is that of Tests/Stress: each table takes a while to be loaded.
    private func start(_ instance: Instance) throws {
      let source = URL(filePath: Fixtures.root).deletingLastPathComponent()
        .appending(path: "Tests/Stress/devicemapper.c").path()
      let emulation = instance.scratch("devicemapper.so")
      let made = try Program.run(["cc", "-shared", "-fPIC", "-o", emulation, source, "-ldl"])
      try #require(made.status == 0, "\(made.errors)")
      let start = try instance.shell(
        """
        set -e; mkdir -p /dev/mapper
        export LD_PRELOAD=\(emulation) DEVICEMAPPER_PAUSE=20000
        unshare --mount --propagation private sh -ec '
          mount -t tmpfs tmpfs /dev/mapper; mknod /dev/mapper/control c 1 3; exec ashlar daemon start'
        """)
      try #require(start.status == 0, "\(start.errors)")
    }

    /// One client wants it mapped, another one does not: each is told how it is, and nobody that the host is at fault.
    @Test func mapAndUnmapTakeTurns() throws {
      let instance = try Instance()
      try start(instance)
      let volume = instance.scratch("volume.img")
      let content = try instance.scratch.write("content.img", [UInt8](repeating: 7, count: 1 << 20))
      #expect(try Program.run(["truncate", "-s", "8M", volume]).status == 0)
      let loop = try Program.run(["losetup", "--find", "--show", volume]).line
      try #require(loop.hasPrefix("/dev/loop"))
      defer { _ = try? Program.run(["losetup", "--detach", loop]) }
      let format = try instance.ashlar("volume", "format", loop, "--image", content)
      try #require(format.status == 0, "\(format.errors)")
      let outcome = try instance.shell(
        """
        ask() { curl -sS -w ' status %{http_code}\n' --unix-socket $ASHLAR_RUN/ashlard.sock "$@"; }
        map() { ask -d '{"name":"virtlet-dm-one","volume":"\(loop)"}' http://ashlar/v1/volumes; }
        unmap() { ask -X DELETE http://ashlar/v1/volumes/virtlet-dm-one; }
        for client in 1 2 3; do
          for i in $(seq 20); do map; done & jobs="$jobs $!"
          for i in $(seq 20); do unmap; done & jobs="$jobs $!"
        done
        for job in $jobs; do wait $job || exit 1; done
        """)
      #expect(outcome.status == 0, "\(outcome.errors)")
      let statuses = outcome.output.matches(of: #/ status ([0-9]+)\n/#).map { String($0.1) }
      #expect(
        statuses.count == 120 && Set(statuses).isSubset(of: ["200", "404", "409"]), "\(outcome.output)")
      #expect(statuses.contains("200"))
      // Whoever comes last decides.
      let last = try instance.shell(
        "curl -sS -X DELETE --unix-socket $ASHLAR_RUN/ashlard.sock http://ashlar/v1/volumes/virtlet-dm-one")
      #expect(last.status == 0 && !last.output.contains("kind"), "\(last.output)")
      #expect(try instance.ashlar("daemon", "stop").status == 0)
    }

    /// What was cut or not fetched takes the place of nothing.
    @Test func anEmptyImageIsNoContent() throws {
      let instance = try Instance()
      let outcome = try instance.shell(
        """
        set -euo pipefail; cd \(instance.scratch("")); truncate -s 8M volume.img
        head -c 1M /dev/urandom > content.img; : > empty.img
        ashlar volume format volume.img --image content.img; sha256sum volume.img > sum
        if ashlar volume format volume.img --image empty.img --force 2> said; then exit 1; fi
        grep "empty.img is empty" said; sha256sum --quiet -c sum
        """)
      #expect(outcome.status == 0, "\(outcome.output)\(outcome.errors)")
    }
  }
}
