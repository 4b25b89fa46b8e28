import Foundation
import LinuxIO
import TestKit
import Testing

/// The files that make install puts beside the programs, held against those who read them.
@Suite struct PackagingTests {
  private static let tree = Fixtures.root.replacing("/fixtures", with: "")

  /// Installs everything but the programs under a prefix that begins with a scratch directory.
  private static func install(_ scratch: Scratch, prefix: String) async throws {
    let outcome = try await Program.running(
      ["\(tree)/scripts/install", prefix], environment: ["DESTDIR": scratch("root"), "FILES_ONLY": "1"])
    try #require(outcome.status == 0, "\(outcome)")
  }

  @Test func systemdTakesTheUnit() async throws {
    let scratch = try Scratch()
    try await Self.install(scratch, prefix: "/usr/local")
    let unit = scratch("root/usr/local/lib/systemd/system/ashlard.service")
    let text = try String(contentsOfFile: unit, encoding: .utf8)
    #expect(text.contains("ExecStart=/usr/local/bin/ashlard manage --serve-backstores all"))
    // Whatever crashes tells where.
    #expect(text.contains("LimitCORE=infinity"))
    #expect(text.contains("swift-backtrace=/usr/local/libexec/ashlar/swift-backtrace") && !text.contains("@"))
    // However often it fails, systemd goes on trying.
    #expect(text.contains("Restart=always") && text.contains("StartLimitIntervalSec=0"))
    // systemd-analyze looks for the program; the one that stands beside this test is as good.
    let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let programs = own.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 }
    try scratch.write(
      "ashlard.service", text: text.replacing("/usr/local/bin/", with: "\(programs)/"))
    let outcome = try await Program.running(
      ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", scratch("ashlard.service")])
    #expect(outcome.status == 0 && outcome.errors.isEmpty, "\(outcome)")
    // It does say what is wrong with one.
    try scratch.write(
      "bad.service",
      text: text.replacing("Type=notify", with: "Type=nothing").replacing(
        "KillMode=process", with: "KillMode=none-such"))
    let bad = try await Program.running(
      ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", scratch("bad.service")])
    #expect(bad.errors.contains("KillMode") || bad.errors.contains("none-such"), "\(bad)")
  }

  @Test func theBusFindsTheServiceAndKeepsItForRoot() async throws {
    let scratch = try Scratch()
    try await Self.install(scratch, prefix: "/usr/local")
    let activation = try String(
      contentsOfFile: scratch("root/usr/local/share/dbus-1/system-services/org.kernel.TCMUService1.service"),
      encoding: .utf8)
    #expect(activation.contains("SystemdService=ashlard.service") && !activation.contains("@"))

    let bus = try PrivateBus(
      policy: """
        \(PrivateBus.distribution)
        <servicedir>\(scratch("root/usr/local/share/dbus-1/system-services"))</servicedir>
        <includedir>\(scratch("root/etc/dbus-1/system.d"))</includedir>
        """)
    let names = try await bus.busctl(["list", "--activatable", "--acquired"])
    #expect(names.output.contains("org.kernel.TCMUService1"), "\(names)")

    let service = try await BusServiceTests.start(bus)
    let nobody = ["setpriv", "--reuid=nobody", "--clear-groups"]
    let check = try await bus.call(
      "\(BusServiceTests.root)/file", BusServiceTests.service, "CheckConfig", "s", "file//x", prefix: nobody)
    #expect(check.line == #"bs true "success""#, "\(check)")
    await service.stop()

    for name in [BusServiceTests.service, "\(BusServiceTests.manager).ext"] {
      let root = try await Self.own(name, on: bus)
      #expect(root.line == "1", "\(root)")
      let other = try await Self.own(name, on: bus, prefix: nobody)
      #expect(other.errors.contains("AccessDenied"), "\(other)")
    }
    let elsewhere = try await Self.own("org.kernel.Other", on: bus)
    #expect(elsewhere.errors.contains("AccessDenied"), "\(elsewhere)")
  }

  /// Asks for a name; prints 1 for one that is ours now.
  private static func own(
    _ name: String, on bus: PrivateBus, prefix: [String] = []
  ) async throws -> Program.Outcome {
    try await Program.running(
      prefix + [
        "/usr/bin/python3", "-c",
        "import dbus.bus, sys; print(dbus.bus.BusConnection(sys.argv[1]).request_name(sys.argv[2]))",
        bus.address, name,
      ])
  }

  /// Without the policy nothing may be owned, root or not: the test above tests the policy.
  @Test func withoutThePolicyTheNameIsDenied() async throws {
    let bus = try PrivateBus(policy: PrivateBus.distribution)
    let error = await #expect(throws: (any Error).self) { _ = try await BusServiceTests.start(bus) }
    #expect("\(String(describing: error))".contains("policy"), "\(String(describing: error))")
  }
}
