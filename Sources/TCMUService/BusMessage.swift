import BlockCore
import CSystemd

/// The owner of one reference to a message; for the connection's thread.
struct BusMessage: ~Copyable {
  let raw: OpaquePointer

  /// Takes ownership of what an sd-bus call has made.
  private init(owning raw: OpaquePointer) { self.raw = raw }

  /// Another reference to a message that a callback was given.
  init(retaining raw: OpaquePointer) {
    sd_bus_message_ref(raw)
    self.raw = raw
  }

  deinit { sd_bus_message_unref(raw) }

  /// Another reference to this message.
  func another() -> BusMessage { BusMessage(retaining: raw) }

  private static func made(
    step: String, _ make: (UnsafeMutablePointer<OpaquePointer?>) -> Int32
  ) throws(BlockError) -> BusMessage {
    var message: OpaquePointer?
    let code = make(&message)
    guard code >= 0, let message else {
      throw BusConnection.error(code, step: step, object: "a bus message")
    }
    return BusMessage(owning: message)
  }

  /// Makes a call of another process's method, which does not start that process.
  static func call(
    _ connection: borrowing BusConnection, to name: String, path: String, interface: String, _ method: String
  ) throws(BlockError) -> BusMessage {
    let bus = connection.raw
    let message = try made(step: "make") {
      sd_bus_message_new_method_call(bus, $0, name, path, interface, method)
    }
    sd_bus_message_set_auto_start(message.raw, 0)
    return message
  }

  /// Makes the answer to a call.
  func reply() throws(BlockError) -> BusMessage {
    let call = raw
    return try Self.made(step: "answer") { sd_bus_message_new_method_return(call, $0) }
  }

  // MARK: Reading

  /// Reads the next argument as a string.
  ///
  /// sd-bus has checked that it is UTF-8 without NUL.
  ///
  /// - Parameter limit: The bytes that it may have.
  /// - Returns: `nil` if it has more.
  /// - Throws: By errno if the next argument is none.
  func readString(atMost limit: Int) throws(BlockError) -> String? {
    var text: UnsafePointer<CChar>?
    let code = sd_bus_message_read_basic(raw, CChar(SD_BUS_TYPE_STRING), &text)
    guard code > 0, let text else { throw BusConnection.error(code, step: "read", object: "a bus message") }
    guard strnlen(text, limit + 1) <= limit else { return nil }
    return String(cString: text)
  }

  /// Reads the next argument as a truth value.
  ///
  /// - Throws: By errno if the next argument is none.
  func readBool() throws(BlockError) -> Bool {
    var value: Int32 = 0
    let code = sd_bus_message_read_basic(raw, CChar(SD_BUS_TYPE_BOOLEAN), &value)
    guard code > 0 else { throw BusConnection.error(code, step: "read", object: "a bus message") }
    return value != 0
  }

  /// What a message that says that a call has failed says; `nil` for any other.
  var errorText: String? {
    guard let error = sd_bus_message_get_error(raw) else { return nil }
    let parts = [error.pointee.name, error.pointee.message].compactMap { $0.map { String(cString: $0) } }
    return parts.joined(separator: ": ")
  }

  /// The last element of the path of the object that is called.
  var lastPathElement: String? {
    sd_bus_message_get_path(raw).map { String(cString: $0) }?.split(separator: "/").last.map(String.init)
  }

  /// The number that the answer to this call will bear; only once it is sent.
  var cookie: UInt64 {
    var cookie: UInt64 = 0
    sd_bus_message_get_cookie(raw, &cookie)
    return cookie
  }

  /// The number of the call that this message answers.
  var replyCookie: UInt64 {
    var cookie: UInt64 = 0
    sd_bus_message_get_reply_cookie(raw, &cookie)
    return cookie
  }

  // MARK: Writing

  /// Appends a string.
  func append(_ text: String) throws(BlockError) {
    let code = text.withCString { sd_bus_message_append_basic(raw, CChar(SD_BUS_TYPE_STRING), $0) }
    guard code >= 0 else { throw BusConnection.error(code, step: "write", object: "a bus message") }
  }

  /// Appends a truth value.
  func append(_ value: Bool) throws(BlockError) {
    var number: Int32 = value ? 1 : 0
    let code = sd_bus_message_append_basic(raw, CChar(SD_BUS_TYPE_BOOLEAN), &number)
    guard code >= 0 else { throw BusConnection.error(code, step: "write", object: "a bus message") }
  }

  /// Sends it.
  ///
  /// - Throws: By errno.
  consuming func send() throws(BlockError) {
    let code = sd_bus_message_send(raw)
    guard code >= 0 else { throw BusConnection.error(code, step: "send", object: "a bus message") }
  }
}
