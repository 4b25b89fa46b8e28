import Foundation
import LinuxIO
import TestKit
import Testing

/// A message bus of a test's own: Debian's dbus-daemon.
///
/// Proof for `@unchecked Sendable`: its one variable is the daemon's process, which a test starts and stops on one task,
/// while others only use the constants.
final class PrivateBus: @unchecked Sendable {
  let scratch: Scratch
  /// Its address, which stays when it is started again.
  let address: String
  private let configuration: String
  private var daemon: Int32?

  /// Starts a bus.
  ///
  /// - Parameter policy: What its configuration says beside that everybody may do everything; `nil` for a bus
  ///   that reads nothing else than a policy file of this repository.
  init(policy: String = PrivateBus.everything) throws {
    scratch = try Scratch()
    address = "unix:path=\(scratch("bus"))"
    configuration = try scratch.write(
      "bus.conf",
      text: """
        <!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
         "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
        <busconfig>
          <type>system</type>
          <listen>\(address)</listen>
          <auth>EXTERNAL</auth>
          \(policy)
        </busconfig>
        """)
    // Users other than ours speak to it too.
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: scratch.path)
    try start()
  }

  deinit { stop() }

  /// Everybody may do everything.
  static let everything = """
    <policy context="default">
      <allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
      <allow send_requested_reply="true"/><allow receive_type="method_call"/>
      <allow receive_type="signal"/><allow receive_requested_reply="true"/>
    </policy>
    """

  /// What the system's bus says before it reads the policies of services.
  static let distribution = """
    <policy context="default">
      <allow user="*"/><deny own="*"/><deny send_type="method_call"/><allow send_type="signal"/>
      <allow send_requested_reply="true" send_type="method_return"/>
      <allow send_requested_reply="true" send_type="error"/>
      <allow receive_type="method_call"/><allow receive_type="method_return"/>
      <allow receive_type="error"/><allow receive_type="signal"/>
      <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    </policy>
    """

  /// Starts the daemon, and returns when it listens.
  func start() throws {
    // Not with Foundation's Process, whose own way to learn of another child's end this one would inherit.
    let pid = try ChildProcess.start(
      .init(
        program: "/usr/bin/dbus-daemon",
        arguments: ["--config-file=\(configuration)", "--nofork", "--nopidfile"],
        descriptors: [:]))
    daemon = pid
    for _ in 0..<400 where try !UnixStream.isListening(at: scratch("bus")) { usleep(50_000) }
    try #require(try UnixStream.isListening(at: scratch("bus")), "dbus-daemon does not listen")
  }

  /// Ends the daemon, and with it every connection.
  func stop() {
    guard let daemon else { return }
    kill(daemon, SIGTERM)
    _ = ChildProcess.waitForEnd(of: daemon)
    self.daemon = nil
  }

  /// Calls a method with busctl, and prints what it answers as busctl does.
  func call(
    _ object: String, _ interface: String, _ method: String, _ arguments: String..., prefix: [String] = [],
    destination: String = "org.kernel.TCMUService1"
  ) async throws -> Program.Outcome {
    try await busctl(
      ["call", destination, object, interface, method] + arguments, prefix: prefix)
  }

  /// Runs busctl on this bus.
  func busctl(_ arguments: [String], prefix: [String] = []) async throws -> Program.Outcome {
    try await Program.running(
      prefix + ["busctl", "--address=\(address)", "--no-pager", "--timeout=100"] + arguments)
  }

  /// Waits until something holds that happens somewhere else.
  static func wait(_ what: String, until holds: () async throws -> Bool) async throws {
    for _ in 0..<400 {
      if try await holds() { return }
      try await Task.sleep(for: .milliseconds(50))
    }
    Issue.record("not within 20 s: \(what)")
  }
}
