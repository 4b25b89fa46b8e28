import BlockCore
import Foundation
import Logging
import Synchronization
import TCMUService
import TestKit
import Testing

/// The service on a bus of its own, asked by the clients that people use.
@Suite struct BusServiceTests {
  static let root = "/org/kernel/TCMUService1"
  static let service = "org.kernel.TCMUService1"
  static let manager = "org.kernel.TCMUService1.HandlerManager1"

  static func handlers() throws -> [HandlerDescription] {
    [
      try HandlerDescription(subtype: "file", configDescription: "file/PATH: a raw file"),
      try HandlerDescription(subtype: "overlaybd", configDescription: "overlaybd/CONFIG[;ID]"),
    ]
  }

  /// Starts a service; a check may take as long as a busy machine lets it.
  static func start(
    _ bus: PrivateBus, checkLimit: Duration = .seconds(100),
    checkConfig: @escaping TCMUBusService.ConfigChecker = { config in
      config.hasPrefix("file//") ? .valid : .invalid("\(config) has no absolute path")
    }
  ) async throws -> TCMUBusService {
    try await TCMUBusService.start(
      address: bus.address, handlers: handlers(), checkConfig: checkConfig, checkLimit: checkLimit,
      log: Logger(label: "test"))
  }

  @Test func handlersAreListedAndChecked() async throws {
    let bus = try PrivateBus()
    let service = try await Self.start(bus)
    let objects = try await bus.call(Self.root, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    #expect(objects.output.contains(#""/org/kernel/TCMUService1/file""#), "\(objects)")
    #expect(objects.output.contains(#""ConfigDesc" s "file/PATH: a raw file""#))
    #expect(objects.output.contains(#""/org/kernel/TCMUService1/overlaybd""#))
    // targetcli takes every managed object for a handler.
    #expect(!objects.output.contains("HandlerManager1"))

    let valid = try await bus.call("\(Self.root)/file", Self.service, "CheckConfig", "s", "file//tmp/a")
    #expect(valid.line == #"bs true "success""#, "\(valid)")
    let invalid = try await bus.call("\(Self.root)/file", Self.service, "CheckConfig", "s", "file/a")
    #expect(invalid.line == #"bs false "file/a has no absolute path""#, "\(invalid)")
    let long = try await bus.call(
      "\(Self.root)/file", Self.service, "CheckConfig", "s", "file//" + String(repeating: "x", count: 250))
    #expect(long.line.hasPrefix("bs false \"the configuration has more than 255 bytes"), "\(long)")
    let missing = try await bus.call("\(Self.root)/qcow", Self.service, "CheckConfig", "s", "qcow//a")
    #expect(missing.status != 0)
    let wrong = try await bus.call("\(Self.root)/file", Self.service, "CheckConfig", "u", "1")
    #expect(wrong.status != 0)
    await service.stop()
  }

  @Test func standardInterfacesAnswer() async throws {
    let bus = try PrivateBus()
    let service = try await Self.start(bus)
    let tree = try await bus.busctl(["tree", "--list", Self.service])
    for path in [Self.root, "\(Self.root)/file", "\(Self.root)/overlaybd", "\(Self.root)/HandlerManager1"] {
      #expect(tree.output.split(separator: "\n").contains { $0 == path }, "\(tree)")
    }
    let property = try await bus.busctl([
      "get-property", Self.service, "\(Self.root)/file", Self.service, "ConfigDesc",
    ])
    #expect(property.line == #"s "file/PATH: a raw file""#)
    let readOnly = try await bus.busctl(
      ["set-property", Self.service, "\(Self.root)/file", Self.service, "ConfigDesc", "s", "x"])
    #expect(readOnly.status != 0)
    for path in [Self.root, "\(Self.root)/file", "\(Self.root)/HandlerManager1"] {
      let ping = try await bus.call(path, "org.freedesktop.DBus.Peer", "Ping")
      #expect(ping.status == 0, "\(ping)")
    }
    let gdbus = try await Program.running(
      [
        "gdbus", "introspect", "--xml", "--dest", Self.service, "--object-path",
        "\(Self.root)/HandlerManager1",
        "--address", bus.address,
      ])
    #expect(gdbus.status == 0, "\(gdbus)")
    #expect(gdbus.output.contains("RegisterHandler") && gdbus.output.contains("UnregisterHandler"))
    let handler = try await Program.running(
      [
        "gdbus", "introspect", "--dest", Self.service, "--object-path", "\(Self.root)/file",
        "--address", bus.address,
      ])
    for text in [
      "CheckConfig(in  s configstr,", "out b is_valid,", "out s message)", "readonly s ConfigDesc",
    ] {
      #expect(handler.output.contains(text), "\(handler)")
    }
    let send = try await Program.running(
      [
        "dbus-send", "--bus=\(bus.address)", "--print-reply", "--dest=\(Self.service)", "\(Self.root)/file",
        "\(Self.service).CheckConfig", "string:file//x",
      ])
    #expect(send.output.contains("boolean true") && send.output.contains("success"), "\(send)")
    await service.stop()
  }

  @Test func aTakenNameIsBusy() async throws {
    let bus = try PrivateBus()
    let service = try await Self.start(bus)
    let error = await #expect(throws: BlockError.self) { _ = try await Self.start(bus) }
    #expect(error?.kind == .busy)
    #expect(error?.cause.contains("process \(getpid())") == true, "\(String(describing: error))")
    await service.stop()
    // The name is free when stop() returns.
    let next = try await Self.start(bus)
    await next.stop()
  }

  @Test func noBusIsUnavailable() async throws {
    let scratch = try Scratch()
    let error = await #expect(throws: BlockError.self) {
      _ = try await TCMUBusService.start(
        address: "unix:path=\(scratch("none"))", handlers: [], checkConfig: { _ in .valid },
        log: Logger(label: "test"))
    }
    #expect(error?.kind == .unavailable, "\(String(describing: error))")
  }

  @Test func handlersComeAndGo() async throws {
    let bus = try PrivateBus()
    let service = try await Self.start(bus)
    let qcow = try HandlerDescription(subtype: "qcow", configDescription: "qcow/PATH")
    try await service.add(qcow)
    let valid = try await bus.call("\(Self.root)/qcow", Self.service, "CheckConfig", "s", "file//tmp/a")
    #expect(valid.line == #"bs true "success""#)
    #expect(await #expect(throws: BlockError.self) { try await service.add(qcow) }?.kind == .conflict)
    try await service.remove(qcow.subtype)
    let gone = try await bus.call("\(Self.root)/qcow", Self.service, "CheckConfig", "s", "file//tmp/a")
    #expect(gone.status != 0)
    #expect(
      await #expect(throws: BlockError.self) { try await service.remove(qcow.subtype) }?.kind == .notFound)
    await service.stop()
    #expect(await #expect(throws: BlockError.self) { try await service.add(qcow) }?.kind == .cancelled)
    await service.stop()
  }

  @Test func theServiceComesBackWithTheBus() async throws {
    let bus = try PrivateBus()
    let service = try await Self.start(bus)
    bus.stop()
    // What is changed while there is no bus is there when it is.
    try await service.add(try HandlerDescription(subtype: "late", configDescription: ""))
    try await service.remove(try HandlerSubtype("overlaybd"))
    try bus.start()
    try await PrivateBus.wait("the name is owned again") {
      try await bus.busctl(["status", Self.service]).status == 0
    }
    let objects = try await bus.call(Self.root, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    #expect(objects.output.contains("\(Self.root)/late") && objects.output.contains("\(Self.root)/file"))
    #expect(!objects.output.contains("overlaybd"))
    await service.stop()
  }

  @Test func aBusThatComesLaterIsWaitedFor() async throws {
    let bus = try PrivateBus()
    bus.stop()
    let service = try await TCMUBusService.start(
      address: bus.address, handlers: Self.handlers(), checkConfig: { _ in .valid }, waitsForBus: true,
      log: Logger(label: "test"))
    try bus.start()
    try await PrivateBus.wait("the name is owned") {
      try await bus.busctl(["status", Self.service]).status == 0
    }
    await service.stop()
  }

  @Test func aServiceWithoutABusCanBeStopped() async throws {
    let bus = try PrivateBus()
    let service = try await Self.start(bus)
    bus.stop()
    await service.stop()
  }

  /// No more than the limit wait at the same time, and the service goes on answering.
  @Test func checksThatWaitAreBounded() async throws {
    let bus = try PrivateBus()
    let gate = Gate()
    let service = try await Self.start(bus) { _ in
      await gate.wait()
      return .valid
    }
    let client = try bus.scratch.write(
      "client.py",
      text: """
        import dbus.bus, dbus.mainloop.glib, sys
        from gi.repository import GLib
        dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
        bus = dbus.bus.BusConnection(sys.argv[1])
        handler = dbus.Interface(bus.get_object('\(Self.service)', '\(Self.root)/file'), '\(Self.service)')
        loop = GLib.MainLoop()
        refused = 0
        def failed(error):
          global refused
          assert error.get_dbus_name() == 'org.freedesktop.DBus.Error.LimitsExceeded', error
          refused += 1
          if refused == 8:
            print('refused', flush=True)
            loop.quit()
        for number in range(\(Limits.pendingBusCalls) + 8):
          handler.CheckConfig('file//x', reply_handler=lambda *a: None, error_handler=failed)
        loop.run()
        """)
    let outcome = try await Program.running(["/usr/bin/python3", client, bus.address], seconds: 60)
    #expect(outcome.line == "refused", "\(outcome)")
    gate.open()
    try await PrivateBus.wait("checks are answered again") {
      try await bus.call("\(Self.root)/file", Self.service, "CheckConfig", "s", "file//x").status == 0
    }
    await service.stop()
  }

  /// The outcome of a check that a connection asked for which is lost meanwhile is nobody's.
  @Test func aLateOutcomeIsNotAnothersAnswer() async throws {
    let bus = try PrivateBus()
    let old = Gate()
    let new = Gate()
    let service = try await Self.start(bus) { config in
      await (config == "old" ? old : new).wait()
      return .invalid(config)
    }
    @Sendable func check(_ config: String) async throws -> Program.Outcome {
      try await bus.call("\(Self.root)/file", Self.service, "CheckConfig", "s", config)
    }
    let first = Task { try await check("old") }
    try await PrivateBus.wait("the first check runs") { old.isWaitedFor }
    bus.stop()
    #expect(try await first.value.status != 0)
    try bus.start()
    try await PrivateBus.wait("the name is owned again") {
      try await bus.busctl(["status", Self.service]).status == 0
    }
    let second = Task { try await check("new") }
    try await PrivateBus.wait("the second check runs") { new.isWaitedFor }
    old.open()
    try await Task.sleep(for: .milliseconds(100))
    new.open()
    #expect(try await second.value.line == #"bs false "new""#)
    await service.stop()
  }

  /// The caller is told, and the late outcome is nobody's.
  @Test func aCheckThatTakesTooLongIsAnswered() async throws {
    let bus = try PrivateBus()
    let gate = Gate()
    let service = try await Self.start(bus, checkLimit: .milliseconds(100)) { config in
      if config == "slow" { await gate.wait() }
      return .valid
    }
    let slow = try await bus.call("\(Self.root)/file", Self.service, "CheckConfig", "s", "slow")
    #expect(slow.line == #"bs false "the check takes too long""#, "\(slow)")
    gate.open()
    try await PrivateBus.wait("a check in time is answered") {
      try await bus.call("\(Self.root)/file", Self.service, "CheckConfig", "s", "fast").line
        == #"bs true "success""#
    }
    await service.stop()
  }

  @Test func subtypesAreChecked() throws {
    for name in ["file", "a_1", "1a", String(repeating: "x", count: Limits.handlerSubtypeBytes)] {
      #expect(try HandlerSubtype(name).description == name)
    }
    for name in ["", "a/b", "a-b", "a.b", "ü", "a b", "HandlerManager1", String(repeating: "x", count: 65)] {
      let error = #expect(throws: BlockError.self) { _ = try HandlerSubtype(name) }
      #expect(error?.kind == .invalidArgument, "\(name)")
    }
    #expect(throws: BlockError.self) {
      _ = try HandlerDescription(subtype: "a", configDescription: String(repeating: "x", count: 4097))
    }
  }
}

/// Lets tasks wait until it is opened.
private final class Gate: Sendable {
  private let state = Mutex<(isOpen: Bool, waiters: [CheckedContinuation<Void, Never>])>((false, []))

  func wait() async {
    await withCheckedContinuation { continuation in
      let isOpen = state.withLock { state in
        if !state.isOpen { state.waiters.append(continuation) }
        return state.isOpen
      }
      if isOpen { continuation.resume() }
    }
  }

  /// Whether somebody waits.
  var isWaitedFor: Bool { state.withLock { !$0.waiters.isEmpty } }

  func open() {
    let waiters = state.withLock { state in
      state.isOpen = true
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.resume() }
  }
}
