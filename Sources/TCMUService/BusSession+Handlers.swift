import BlockCore
import CSystemd
import Glibc
import LinuxIO
import Logging
import SystemPackage

/// What clients ask of a handler.
extension BusSession {
  /// `CheckConfig(s) → (b, s)`.
  func checkConfigCalled(_ raw: OpaquePointer?, _ error: UnsafeMutablePointer<sd_bus_error>?) -> Int32 {
    guard let raw else { return -EINVAL }
    let call = BusMessage(retaining: raw)
    guard let export = export(called: call.lastPathElement) else {
      return sd_bus_error_set(error, "org.freedesktop.DBus.Error.UnknownObject", "There is no such handler.")
    }
    do throws(BlockError) {
      guard let config = try call.readString(atMost: Limits.backstoreConfigBytes) else {
        call.answer(
          .invalid(
            "the configuration has more than \(Limits.backstoreConfigBytes) bytes, the kernel's limit"),
          log)
        return 1
      }
      guard !pending.isFull else { return Self.refuse(error) }
      if export.isExternal {
        try forward(call, config, to: export.handler.subtype)
      } else {
        check(call, config)
      }
      return 1
    } catch {
      return Self.code(of: error)
    }
  }

  private func check(_ call: consuming BusMessage, _ config: String) {
    let number = pending.add(call, limit: checks.limit)
    let check = checks.check
    let mailbox = mailbox
    Task(executorPreference: checks.executor) {
      mailbox.post(.answer(call: number, await check(config)))
    }
  }

  /// The check of a call's configuration has ended.
  func answer(_ number: UInt64, _ check: ConfigCheck) {
    guard let call = pending.takeCall(of: number) else { return }
    call.answer(check, log)
  }

  /// The property `ConfigDesc`.
  func configDescription(_ path: UnsafePointer<CChar>?, _ reply: OpaquePointer?) -> Int32 {
    guard let reply,
      let export = export(
        called: path.map { String(cString: $0) }?.split(separator: "/").last.map(String.init))
    else { return -ENOENT }
    return export.handler.configDescription.withCString {
      sd_bus_message_append_basic(reply, CChar(SD_BUS_TYPE_STRING), $0)
    }
  }

  /// The handler whose object has a path that ends in an element.
  func export(called element: String?) -> Export? {
    guard let element else { return nil }
    do throws(BlockError) {
      return exports[try HandlerSubtype(element)]
    } catch {
      log.debug("\(error)")
      return nil
    }
  }

  /// Turns down a call because too many wait already.
  static func refuse(_ error: UnsafeMutablePointer<sd_bus_error>?) -> Int32 {
    sd_bus_error_set(
      error, "org.freedesktop.DBus.Error.LimitsExceeded",
      "More than \(Limits.pendingBusCalls) calls wait for an answer; try again later.")
  }

  /// What a callback returns to sd-bus for an error: it answers with that number's D-Bus error.
  static func code(of error: BlockError) -> Int32 {
    -(error.errno?.rawValue ?? EINVAL)
  }
}
