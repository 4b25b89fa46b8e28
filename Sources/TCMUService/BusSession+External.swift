import BlockCore
import CSystemd
import Glibc
import LinuxIO
import Logging

/// Handlers of other processes.
///
/// Such a process has the bus name ``ServiceNames/externalName(of:)`` and answers for the handler; its devices
/// are its own matter. Its handler is there as long as the name is.
extension BusSession {
  /// How long the bus daemon may take for an answer.
  private static let daemonLimit = Duration.seconds(5)

  // MARK: RegisterHandler, UnregisterHandler

  /// A method of the object that handlers register with was called.
  func managerCalled(_ raw: OpaquePointer?, _ error: UnsafeMutablePointer<sd_bus_error>?) -> Int32 {
    guard let raw else { return -EINVAL }
    if sd_bus_message_is_method_call(raw, "org.freedesktop.DBus.Introspectable", "Introspect") > 0 {
      return Self.introspectManager(raw)
    }
    let isRegistration = sd_bus_message_is_method_call(raw, ServiceNames.manager, "RegisterHandler") > 0
    guard isRegistration || sd_bus_message_is_method_call(raw, ServiceNames.manager, "UnregisterHandler") > 0
    else {
      // sd-bus answers that there is no such method.
      return 0
    }
    // Root, or who we are.
    guard sd_bus_query_sender_privilege(raw, -1) > 0 else {
      return sd_bus_error_set(
        error, "org.freedesktop.DBus.Error.AccessDenied", "Only root may change handlers.")
    }
    guard sd_bus_message_has_signature(raw, isRegistration ? "ss" : "s") > 0 else {
      return sd_bus_error_set(
        error, "org.freedesktop.DBus.Error.InvalidArgs", "The arguments must be strings.")
    }
    let call = BusMessage(retaining: raw)
    do throws(BlockError) {
      return isRegistration ? try register(call, error) : try unregister(call)
    } catch {
      return Self.code(of: error)
    }
  }

  /// `RegisterHandler(ss) → (bs)`: subtype and description.
  private func register(
    _ call: consuming BusMessage, _ error: UnsafeMutablePointer<sd_bus_error>?
  ) throws(BlockError) -> Int32 {
    guard !pending.isFull else { return Self.refuse(error) }
    guard let name = try call.readString(atMost: Limits.handlerSubtypeBytes),
      let text = try call.readString(atMost: Limits.handlerSummaryBytes)
    else {
      call.answer(.invalid("the subtype or its description is too long"), log)
      return 1
    }
    let kept = call.another()
    do throws(BlockError) {
      let handler = try newExternalHandler(name, text)
      try ask(nameHasOwner(handler.subtype), .registration(handler), for: call, atMost: Self.daemonLimit)
    } catch {
      kept.answer(.invalid("\(error)"), log)
    }
    return 1
  }

  private func newExternalHandler(_ name: String, _ text: String) throws(BlockError) -> HandlerDescription {
    let handler = try HandlerDescription(subtype: name, configDescription: text)
    guard exports[handler.subtype] == nil else { throw Self.conflict(handler.subtype) }
    guard handler.subtype.isBusNameElement else {
      throw BlockError(
        .invalidArgument, step: "register the handler", object: name,
        cause: "an element of a bus name cannot begin with a digit")
    }
    guard exports.values.lazy.filter(\.isExternal).count < Limits.externalHandlers else {
      throw BlockError(
        .exhausted, step: "register the handler", object: name,
        cause: "there are \(Limits.externalHandlers) handlers of other processes")
    }
    return handler
  }

  private func nameHasOwner(_ subtype: HandlerSubtype) throws(BlockError) -> BusMessage {
    let question = try BusMessage.call(
      connection, to: "org.freedesktop.DBus", path: "/org/freedesktop/DBus",
      interface: "org.freedesktop.DBus", "NameHasOwner")
    try question.append(ServiceNames.externalName(of: subtype))
    return question
  }

  /// `UnregisterHandler(s) → (bs)`: subtype.
  private func unregister(_ call: consuming BusMessage) throws(BlockError) -> Int32 {
    if let name = try call.readString(atMost: Limits.handlerSubtypeBytes),
      let export = export(called: name), export.isExternal
    {
      withdraw(export.handler.subtype)
      log.notice("the handler \(name) of another process is unregistered")
      call.answer(Self.succeeded, log)
    } else {
      call.answer(.invalid("no other process has registered a handler of that name"), log)
    }
    return 1
  }

  /// As tcmu-runner says it.
  private static let succeeded = ConfigCheck(isValid: true, message: "succeeded")

  // MARK: Questions to others

  /// Passes a check of a configuration on to the process of its handler.
  func forward(_ call: consuming BusMessage, _ config: String, to subtype: HandlerSubtype) throws(BlockError)
  {
    let question = try BusMessage.call(
      connection, to: ServiceNames.externalName(of: subtype), path: ServiceNames.externalPath(of: subtype),
      interface: ServiceNames.service, "CheckConfig")
    try question.append(config)
    try ask(question, .check(subtype), for: call, atMost: checks.limit)
  }

  /// Sends a question; ``answered(_:)`` gets what is said to it, and be it that nothing was.
  private func ask(
    _ question: consuming BusMessage, _ purpose: PendingCalls.Question.Purpose,
    for call: consuming BusMessage,
    atMost limit: Duration
  ) throws(BlockError) {
    let raw = question.raw
    let bus = connection.raw
    let userdata = userdata
    let slot = try BusSlot(step: "ask", object: "another process over the bus") {
      sd_bus_call_async(
        bus, $0, raw,
        { message, userdata, _ in
          BusSession.of(userdata).answered(message)
          return 0
        }, userdata, max(UInt64(limit / .microseconds(1)), 1))
    }
    pending.add(.init(purpose, for: call, slot), cookie: question.cookie)
  }

  private func answered(_ raw: OpaquePointer?) {
    guard let raw else { return }
    let answer = BusMessage(retaining: raw)
    guard let question = pending.takeQuestion(answer.replyCookie) else { return }
    do throws(BlockError) {
      switch question.purpose {
      case .check(let subtype):
        question.call.answer(Self.check(in: answer, of: subtype), log)
      case .registration(let handler):
        question.call.answer(try finishRegistration(of: handler, answer), log)
      }
    } catch {
      question.call.answer(.invalid("\(error)"), log)
    }
  }

  private static func check(
    in answer: borrowing BusMessage, of subtype: HandlerSubtype
  ) -> ConfigCheck {
    if let text = answer.errorText { return .invalid("the handler \(subtype) does not answer: \(text)") }
    do throws(BlockError) {
      let isValid = try answer.readBool()
      return ConfigCheck(
        isValid: isValid,
        message: try answer.readString(atMost: Limits.handlerMessageBytes) ?? "(its message is too long)")
    } catch {
      return .invalid("the handler \(subtype) does not answer with a boolean and a text")
    }
  }

  private func finishRegistration(
    of handler: HandlerDescription, _ answer: borrowing BusMessage
  ) throws(BlockError) -> ConfigCheck {
    let name = ServiceNames.externalName(of: handler.subtype)
    if let text = answer.errorText { return .invalid("the bus does not say who has \(name): \(text)") }
    guard try answer.readBool() else { return .invalid("Cannot find handler bus name: \(name)") }
    // Another one may have come meanwhile.
    try export(handler, isExternal: true)
    log.notice("the handler \(handler.subtype) of another process is registered")
    return Self.succeeded
  }

  // MARK: Names that vanish

  /// The signal `NameOwnerChanged(sss)`: a name, its old owner, its new one.
  func ownerChanged(_ raw: OpaquePointer?) -> Int32 {
    guard let raw else { return 0 }
    let signal = BusMessage(retaining: raw)
    // The bus daemon's own strings: names, of at most 255 bytes.
    do throws(BlockError) {
      guard let name = try signal.readString(atMost: 255), try signal.readString(atMost: 255) != nil,
        try signal.readString(atMost: 255)?.isEmpty == true,
        let export = export(called: name.split(separator: ".").last.map(String.init)), export.isExternal,
        ServiceNames.externalName(of: export.handler.subtype) == name
      else { return 0 }
      withdraw(export.handler.subtype)
      log.notice("the process of the handler \(export.handler.subtype) is gone, and the handler with it")
    } catch {
      log.warning("\(error)")
    }
    return 0
  }

  // MARK: Introspection

  /// What the object that handlers register with is like, which sd-bus cannot know.
  private static func introspectManager(_ raw: OpaquePointer) -> Int32 {
    do throws(BlockError) {
      let reply = try BusMessage(retaining: raw).reply()
      try reply.append(managerDescription)
      try reply.send()
      return 1
    } catch {
      return code(of: error)
    }
  }

  private static let managerDescription = """
    <!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
    "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
    <node>
     <interface name="org.freedesktop.DBus.Peer">
      <method name="Ping"/>
      <method name="GetMachineId"><arg type="s" name="machine_uuid" direction="out"/></method>
     </interface>
     <interface name="org.freedesktop.DBus.Introspectable">
      <method name="Introspect"><arg name="data" type="s" direction="out"/></method>
     </interface>
     <interface name="\(ServiceNames.manager)">
      <method name="RegisterHandler">
       <arg type="s" name="subtype" direction="in"/>
       <arg type="s" name="cfgstr_desc" direction="in"/>
       <arg type="b" name="succeeded" direction="out"/>
       <arg type="s" name="message" direction="out"/>
      </method>
      <method name="UnregisterHandler">
       <arg type="s" name="subtype" direction="in"/>
       <arg type="b" name="succeeded" direction="out"/>
       <arg type="s" name="message" direction="out"/>
      </method>
     </interface>
    </node>
    """
}
