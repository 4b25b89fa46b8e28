import BlockCore
import Foundation
import LinuxIO
import Logging
import TCMUService
import TestKit
import Testing

/// Handlers of other processes: here a Python program with the usual binding.
@Suite struct ExternalHandlerTests {
  private static let manager = "org.kernel.TCMUService1.HandlerManager1"
  private static let managerPath = "/org/kernel/TCMUService1/HandlerManager1"
  private static let handlerPath = "/org/kernel/TCMUService1/ext"

  /// Owns the name of the handler `ext` and answers for it; `behaviour` is the body of its CheckConfig.
  private static func startHandler(_ bus: PrivateBus, _ behaviour: String) throws -> Int32 {
    let script = try bus.scratch.write(
      "handler.py",
      text: """
        import dbus.bus, dbus.service, dbus.mainloop.glib, sys
        from gi.repository import GLib
        dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
        bus = dbus.bus.BusConnection(sys.argv[1])
        class Handler(dbus.service.Object):
          @dbus.service.method('org.kernel.TCMUService1', in_signature='s', out_signature='bs')
          def CheckConfig(self, config):
            \(behaviour)
        handler = Handler(bus, '\(managerPath)/ext')
        bus.request_name('\(manager).ext')
        print('ready', flush=True)
        GLib.MainLoop().run()
        """)
    return try ChildProcess.start(
      .init(program: "/usr/bin/python3", arguments: [script, bus.address], descriptors: [:]))
  }

  private static func register(_ bus: PrivateBus, _ subtype: String = "ext") async throws -> Program.Outcome {
    try await bus.call(managerPath, manager, "RegisterHandler", "ss", subtype, "\(subtype)/ANYTHING")
  }

  /// Starts a handler and registers it once its name is there.
  private static func startAndRegister(_ bus: PrivateBus, _ behaviour: String) async throws -> Int32 {
    let process = try startHandler(bus, behaviour)
    try await PrivateBus.wait("the handler is registered") {
      try await register(bus).line == #"bs true "succeeded""#
    }
    return process
  }

  private static func end(_ process: Int32) {
    kill(process, SIGKILL)
    _ = ChildProcess.waitForEnd(of: process)
  }

  private static func check(_ bus: PrivateBus, _ config: String) async throws -> Program.Outcome {
    try await bus.call(handlerPath, "org.kernel.TCMUService1", "CheckConfig", "s", config)
  }

  @Test func aHandlerRegistersAnswersAndVanishes() async throws {
    let bus = try PrivateBus()
    let service = try await BusServiceTests.start(bus)
    let early = try await Self.register(bus)
    #expect(early.line == "bs false \"Cannot find handler bus name: \(Self.manager).ext\"", "\(early)")

    let signals = bus.scratch("signals")
    let monitor = try ChildProcess.start(
      .init(
        program: "/bin/sh",
        arguments: [
          "-c",
          "exec dbus-monitor --address '\(bus.address)' \"interface='org.freedesktop.DBus.ObjectManager'\" > '\(signals)'",
        ], descriptors: [:]))
    defer { Self.end(monitor) }
    try await PrivateBus.wait("the monitor listens") {
      (try? String(contentsOfFile: signals, encoding: .utf8))?.contains("NameLost") == true
    }

    let process = try await Self.startAndRegister(bus, "return (config == 'ext/good', 'said of ' + config)")
    let twice = try await Self.register(bus)
    #expect(twice.line.hasPrefix("bs false") && twice.line.contains("already"), "\(twice)")
    #expect(try await Self.check(bus, "ext/good").line == #"bs true "said of ext/good""#)
    #expect(try await Self.check(bus, "ext/bad").line == #"bs false "said of ext/bad""#)
    let text = try await bus.busctl(
      ["get-property", "org.kernel.TCMUService1", Self.handlerPath, "org.kernel.TCMUService1", "ConfigDesc"])
    #expect(text.line == #"s "ext/ANYTHING""#)
    #expect(
      await #expect(throws: BlockError.self) {
        try await service.add(try HandlerDescription(subtype: "ext", configDescription: ""))
      }?.kind == .conflict)

    Self.end(process)
    try await PrivateBus.wait("the handler is gone") { try await Self.check(bus, "ext/good").status != 0 }
    try await PrivateBus.wait("both signals were sent") {
      let seen = try String(contentsOfFile: signals, encoding: .utf8)
      return seen.contains("member=InterfacesAdded") && seen.contains("member=InterfacesRemoved")
        && seen.contains("object path \"\(Self.handlerPath)\"") && seen.contains("string \"ConfigDesc\"")
    }
    await service.stop()
  }

  @Test func aHandlerIsUnregistered() async throws {
    let bus = try PrivateBus()
    let service = try await BusServiceTests.start(bus)
    let process = try await Self.startAndRegister(bus, "return (True, '')")
    defer { Self.end(process) }
    let own = try await bus.call(Self.managerPath, Self.manager, "UnregisterHandler", "s", "file")
    #expect(own.line.hasPrefix("bs false"), "\(own)")
    let gone = try await bus.call(Self.managerPath, Self.manager, "UnregisterHandler", "s", "ext")
    #expect(gone.line == #"bs true "succeeded""#, "\(gone)")
    #expect(try await Self.check(bus, "ext/good").status != 0)
    // It may come again: the process is still there.
    #expect(try await Self.register(bus).line == #"bs true "succeeded""#)
    await service.stop()
  }

  /// A handler that fails, lies about its types or dies during a call gives a clear answer.
  @Test(arguments: [
    ("raise RuntimeError('broken')", "broken"), ("import os; os._exit(1)", "does not answer"),
    ("return (True, 'x' * 100000)", "too long"),
  ])
  func aBadHandlerIsAnswered(behaviour: String, expected: String) async throws {
    let bus = try PrivateBus()
    let service = try await BusServiceTests.start(bus)
    let process = try await Self.startAndRegister(bus, behaviour)
    defer { Self.end(process) }
    let outcome = try await Self.check(bus, "ext/x")
    #expect(outcome.status == 0 && outcome.output.contains(expected), "\(outcome)")
    let other = try await bus.call(
      "/org/kernel/TCMUService1/file", "org.kernel.TCMUService1", "CheckConfig", "s", "file//x")
    #expect(other.line == #"bs true "success""#)
    await service.stop()
  }

  @Test func badRegistrationsAreTurnedDown() async throws {
    let bus = try PrivateBus()
    let service = try await BusServiceTests.start(bus)
    for name in ["", "a/b", "a.b", "HandlerManager1", "file", "1st", String(repeating: "x", count: 300)] {
      let outcome = try await Self.register(bus, name)
      #expect(outcome.status == 0 && outcome.line.hasPrefix("bs false"), "\(name): \(outcome)")
    }
    for arguments in [["RegisterHandler", "s", "a"], ["RegisterHandler", "uu", "1", "2"], ["Nothing"]] {
      let outcome = try await bus.busctl(
        ["call", "org.kernel.TCMUService1", Self.managerPath, Self.manager] + arguments)
      #expect(outcome.status != 0, "\(arguments): \(outcome)")
    }
    await service.stop()
  }

  @Test func onlyRootRegisters() async throws {
    let bus = try PrivateBus()
    let service = try await BusServiceTests.start(bus)
    let nobody = ["setpriv", "--reuid=nobody", "--clear-groups"]
    let denied = try await bus.call(
      Self.managerPath, Self.manager, "RegisterHandler", "ss", "ext", "x", prefix: nobody)
    #expect(denied.status != 0 && denied.errors.contains("Access denied"), "\(denied)")
    // Everybody may ask.
    let check = try await bus.call(
      "/org/kernel/TCMUService1/file", "org.kernel.TCMUService1", "CheckConfig", "s", "file//x",
      prefix: nobody)
    #expect(check.line == #"bs true "success""#, "\(check)")
    await service.stop()
  }
}
