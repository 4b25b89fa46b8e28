import BlockCore
import CSystemd
import Glibc
import LinuxIO
import SystemPackage

/// The owner of a connection to a message bus; for one thread.
struct BusConnection: ~Copyable {
  /// How long the bus may take for a call that we wait for, in microseconds.
  private static let callMicroseconds: UInt64 = 5_000_000

  private static let messagesAtOnce = 64

  let raw: OpaquePointer

  deinit { sd_bus_close_unref(raw) }

  /// Connects to a bus.
  ///
  /// - Parameter address: As `DBUS_SYSTEM_BUS_ADDRESS` has it; `nil` for the system's bus.
  /// - Throws: `unavailable` if no bus answers there.
  init(address: String?) throws(BlockError) {
    let object = address ?? "the system's message bus"
    func failure(_ code: Int32) -> BlockError {
      BlockError(
        .unavailable, step: "connect to", object: object, cause: Errno(rawValue: -code).description,
        remedy: "Install and start a D-Bus daemon (Debian: dbus).", errno: Errno(rawValue: -code))
    }
    var made: OpaquePointer?
    let code: Int32
    if let address {
      code = sd_bus_new(&made)
      if let made {
        let steps: [() -> Int32] = [
          { sd_bus_set_address(made, address) }, { sd_bus_set_bus_client(made, 1) }, { sd_bus_start(made) },
        ]
        for step in steps {
          let result = step()
          guard result >= 0 else {
            sd_bus_unref(made)
            throw failure(result)
          }
        }
      }
    } else {
      code = sd_bus_open_system(&made)
    }
    guard code >= 0, let made else { throw failure(code) }
    raw = made
    sd_bus_set_exit_on_disconnect(raw, 0)
    sd_bus_set_method_call_timeout(raw, Self.callMicroseconds)
  }

  /// The error of an sd-bus call, which returns its number negated.
  static func error(_ code: Int32, step: String, object: String) -> BlockError {
    BlockError(errno: Errno(rawValue: -code), step: step, object: object)
  }

  /// Asks for a name; waits for the answer.
  ///
  /// - Throws: `busy` with the owner if somebody has it, `permissionDenied` if the bus's policy forbids it.
  func requestName(_ name: String) throws(BlockError) {
    let code = sd_bus_request_name(raw, name, 0)
    guard code < 0 else { return }
    switch Errno(rawValue: -code) {
    case .fileExists:
      throw BlockError(
        .busy, step: "take the bus name", object: name, cause: owner(of: name),
        remedy: "Stop it (systemctl stop tcmu-runner), or go on without the D-Bus service.",
        errno: .fileExists)
    case .permissionDenied, .notPermitted:
      throw BlockError(
        .permissionDenied, step: "take the bus name", object: name, cause: "the bus's policy forbids it",
        remedy: "Run it as root, and install its bus policy (make install).", errno: .permissionDenied)
    default:
      throw Self.error(code, step: "take the bus name", object: name)
    }
  }

  /// Who has a name, as a sentence.
  private func owner(of name: String) -> String {
    var credentials: OpaquePointer?
    var pid: pid_t = 0
    defer { sd_bus_creds_unref(credentials) }
    guard sd_bus_get_name_creds(raw, name, UInt64(SD_BUS_CREDS_PID), &credentials) >= 0,
      sd_bus_creds_get_pid(credentials, &pid) >= 0
    else { return "another process has it" }
    let program = SmallFile.text("/proc/\(pid)/comm").map { " (\($0))" } ?? ""
    return "process \(pid)\(program) has it"
  }

  /// Gives a name back; waits for the answer.
  func releaseName(_ name: String) throws(BlockError) {
    let code = sd_bus_release_name(raw, name)
    guard code >= 0 else { throw Self.error(code, step: "give back the bus name", object: name) }
  }

  /// Handles what has come, without waiting for more, and not all of it at once: callers who never pause must not
  /// keep this thread from its orders.
  ///
  /// - Throws: `disconnected` when the bus has gone.
  func process() throws(BlockError) {
    for _ in 0..<Self.messagesAtOnce {
      let code = sd_bus_process(raw, nil)
      guard code >= 0 else {
        throw BlockError(
          .disconnected, step: "speak to", object: "the message bus",
          cause: Errno(rawValue: -code).description,
          errno: Errno(rawValue: -code))
      }
      if code == 0 { return }
    }
  }

  /// What `poll` is to wait for, and how long at most.
  ///
  /// - Throws: `disconnected` when the bus has gone.
  func interest() throws(BlockError) -> (raw: Int32, events: Int16, limit: Duration?) {
    let descriptor = sd_bus_get_fd(raw)
    let events = sd_bus_get_events(raw)
    // A time of CLOCK_MONOTONIC in microseconds, or UINT64_MAX for none.
    var deadline = UInt64.max
    let code = sd_bus_get_timeout(raw, &deadline)
    for code in [descriptor, events, code] where code < 0 {
      throw BlockError(
        .disconnected, step: "speak to", object: "the message bus", cause: Errno(rawValue: -code).description,
        errno: Errno(rawValue: -code))
    }
    guard deadline != .max else { return (descriptor, Int16(truncatingIfNeeded: events), nil) }
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    let passed = UInt64(now.tv_sec) * 1_000_000 + UInt64(now.tv_nsec) / 1000
    let left = deadline > passed ? deadline - passed : 0
    return (descriptor, Int16(truncatingIfNeeded: events), .microseconds(Int64(clamping: left)))
  }
}

/// The owner of something that is registered with a connection; it goes with its owner.
struct BusSlot: ~Copyable {
  private let raw: OpaquePointer
  /// The table that sd-bus looks into until the slot is gone.
  private let table: InterfaceTable?

  /// Takes what an sd-bus call has returned.
  ///
  /// - Parameters:
  ///   - table: The table that is registered, if one is.
  ///   - register: Makes the call, which writes the slot and returns a negative number on failure.
  init(
    step: String, object: String, table: InterfaceTable? = nil,
    _ register: (UnsafeMutablePointer<OpaquePointer?>) -> Int32
  ) throws(BlockError) {
    var slot: OpaquePointer?
    let code = register(&slot)
    guard code >= 0, let slot else { throw BusConnection.error(code, step: step, object: object) }
    raw = slot
    self.table = table
  }

  deinit { sd_bus_slot_unref(raw) }
}

/// The owner of an interface's table.
final class InterfaceTable {
  private let entries: UnsafeMutablePointer<sd_bus_vtable>

  /// Makes a table.
  ///
  /// - Parameter fill: Writes its `CSYSTEMD_INTERFACE_ENTRIES` entries.
  init(_ fill: (UnsafeMutablePointer<sd_bus_vtable>) -> Void) {
    let count = Int(CSYSTEMD_INTERFACE_ENTRIES)
    entries = .allocate(capacity: count)
    entries.initialize(repeating: sd_bus_vtable(), count: count)
    fill(entries)
  }

  deinit { entries.deallocate() }

  /// The table; it stays until the last slot that was made with it is gone.
  var start: UnsafePointer<sd_bus_vtable> { UnsafePointer(entries) }
}
