import BlockCore
import CSystemd
import Glibc
import LinuxIO
import Logging

/// The service on one connection; for the service's thread.
final class BusSession {
  /// A handler with its object on the bus.
  final class Export {
    let handler: HandlerDescription
    /// Whether another process answers for it.
    let isExternal: Bool
    private let slot: BusSlot

    init(_ handler: HandlerDescription, isExternal: Bool, _ slot: consuming BusSlot) {
      self.handler = handler
      self.isExternal = isExternal
      self.slot = slot
    }
  }

  let connection: BusConnection
  let mailbox: Mailbox
  let checks: ConfigChecks
  let log: Logger
  var exports: [HandlerSubtype: Export] = [:]
  /// The calls that wait for an answer, of a handler of ours or of another process.
  var pending = PendingCalls()

  private let handlerInterface: InterfaceTable
  // What is registered as long as the session lives.
  private var objectManager: BusSlot?
  private var manager: BusSlot?
  private var ownerWatch: BusSlot?

  /// Connects, shows the handlers, and takes the name when all is there.
  init(
    address: String?, handlers: [HandlerDescription], checks: ConfigChecks, mailbox: Mailbox, log: Logger
  ) throws(BlockError) {
    connection = try BusConnection(address: address)
    self.mailbox = mailbox
    self.checks = checks
    self.log = log
    handlerInterface = InterfaceTable { table in
      csystemd_handler_interface(
        table, { BusSession.of($1).checkConfigCalled($0, $2) },
        { _, path, _, _, reply, userdata, _ in BusSession.of(userdata).configDescription(path, reply) })
    }
    try exportManager()
    for handler in handlers { try export(handler, isExternal: false) }
    try connection.requestName(ServiceNames.service)
  }

  /// The session that a callback of sd-bus is for.
  ///
  /// Every slot is a session's own and goes with it, so that no callback comes without a session.
  static func of(_ userdata: UnsafeMutableRawPointer?) -> BusSession {
    guard let userdata else { preconditionFailure("a callback without a session") }
    return Unmanaged<BusSession>.fromOpaque(userdata).takeUnretainedValue()
  }

  /// What callbacks are given to find this session by.
  var userdata: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }

  private func exportManager() throws(BlockError) {
    let bus = connection.raw
    let userdata = userdata
    let path = ServiceNames.managerPath
    objectManager = try BusSlot(step: "export", object: ServiceNames.root) {
      sd_bus_add_object_manager(bus, $0, ServiceNames.root)
    }
    // Not with a table: GetManagedObjects would list the object, and clients take all that it lists for handlers.
    manager = try BusSlot(step: "export", object: path) {
      sd_bus_add_object(
        bus, $0, path, { message, userdata, error in BusSession.of(userdata).managerCalled(message, error) },
        userdata)
    }
    // Before anybody can register, so that no name vanishes unseen.
    ownerWatch = try BusSlot(step: "watch", object: "the handlers' bus names") {
      sd_bus_add_match(
        bus, $0,
        """
        type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',\
        member='NameOwnerChanged',arg0namespace='\(ServiceNames.manager)'
        """, { message, userdata, _ in BusSession.of(userdata).ownerChanged(message) }, userdata)
    }
  }

  // MARK: Handlers

  static func conflict(_ subtype: HandlerSubtype) -> BlockError {
    BlockError(
      .conflict, step: "add the handler", object: "\(subtype)", cause: "there is one of that name already")
  }

  /// Shows a handler.
  ///
  /// - Throws: `conflict` if there is one of that subtype.
  func export(_ handler: HandlerDescription, isExternal: Bool) throws(BlockError) {
    guard exports[handler.subtype] == nil else { throw Self.conflict(handler.subtype) }
    let bus = connection.raw
    let userdata = userdata
    let path = ServiceNames.path(of: handler.subtype)
    let table = handlerInterface.start
    let slot = try BusSlot(step: "export", object: path, table: handlerInterface) {
      sd_bus_add_object_vtable(bus, $0, path, ServiceNames.service, table, userdata)
    }
    exports[handler.subtype] = Export(handler, isExternal: isExternal, slot)
    let code = sd_bus_emit_object_added(bus, path)
    if code < 0 {
      log.warning("\(BusConnection.error(code, step: "announce the handler", object: path))")
    }
  }

  /// Shows a handler no more.
  func withdraw(_ subtype: HandlerSubtype) {
    guard exports[subtype] != nil else { return }
    let path = ServiceNames.path(of: subtype)
    // While its interfaces are still there: the signal lists them.
    let code = sd_bus_emit_object_removed(connection.raw, path)
    if code < 0 {
      log.warning("\(BusConnection.error(code, step: "announce the end of the handler", object: path))")
    }
    exports[subtype] = nil
  }

  // MARK: The thread's work

  /// Handles what has come, and what is overdue.
  ///
  /// - Throws: `disconnected` when the bus has gone.
  func process() throws(BlockError) {
    pending.expire(log)
    try connection.process()
  }

  /// What to wait for, and how long at most.
  ///
  /// - Throws: `disconnected` when the bus has gone.
  func interest() throws(BlockError) -> (descriptor: (raw: Int32, events: Int16), limit: Duration?) {
    let interest = try connection.interest()
    let limits = [interest.limit, pending.nextDeadline.map { $0 - .now }].compactMap(\.self)
    return ((interest.raw, interest.events), limits.min())
  }

  /// Gives the name back, so that the next service can have it at once.
  func end() {
    do throws(BlockError) {
      try connection.releaseName(ServiceNames.service)
    } catch {
      log.warning("\(error)")
    }
  }
}
