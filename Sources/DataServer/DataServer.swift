import Attachments
import BlockCore
import CLinux
import Glibc
import Handlers
import LinuxIO
import Logging
import Synchronization

/// The process that serves a device.
///
/// It is started by the manager with a listening socket, over which the manager, and after a crash the next
/// one, speaks to it. Until the manager has committed the device to its journal the two live and die
/// together; from then on the server goes on by itself until the device is detached.
public struct DataServer {
  private enum Event: Sendable {
    case connected(Peer)
    case message(Incoming<ManagerMessage>, from: Peer)
    case disconnected(Peer)
    case exported(UInt32, CheckedContinuation<Void, Never>)
    case made(Result<any ServedDevice, BlockError>)
    case changed(BlockError?, request: UInt64?, for: Peer)
    case statusChanged
    case deviceOwed(Peer)
    case deviceEnded(ServedEnd)
    case nobodyCame
  }

  /// A connection to a manager.
  private final class Peer: Sendable {
    let socket: MessageSocket
    /// The version of the messages that it has told; 1 knows no hello.
    let version = Atomic<Int>(1)

    init(_ socket: consuming MessageSocket) {
      self.socket = socket
    }
  }

  /// How long to wait for the first order: the manager that started us may have died meanwhile.
  private static let orderDeadline = Duration.seconds(10)

  /// The pause before something is tried again for which descriptors, threads or memory were short.
  private static let pauseInShortage = Duration.milliseconds(500)

  private let log: Logger
  private let handler: (any Handler)?
  /// Where a flush that fails is written down; `nil` before there is a socket.
  private var record: FlushRecord?
  private let events: AsyncStream<Event>
  private let post: AsyncStream<Event>.Continuation
  private var peer: Peer?
  private var order: ServerOrder?
  private var device: (any ServedDevice)?
  private var isCommitted = false
  /// What `oom_score_adj` is to be again, while this process is the first to go.
  private var memoryRank: String?
  /// Whether another data server goes on when this one has done what it has taken.
  private var isHandingOver = false
  /// The number of the FUSE connection, once there is one.
  private var connection: UInt32?
  /// The number of the request by which this server ends.
  private var endRequest: UInt64?
  /// What the first message of a connection says of us.
  private var hello = ServerHello()

  /// Serves until the device is gone.
  ///
  /// - Parameters:
  ///   - listener: The listening socket's descriptor.
  ///   - log: Where trouble goes.
  ///   - handler: What opens the disk; `nil` for the engine's own images.
  /// - Returns: The process's exit status.
  public static func run(listener: Int32, log: Logger, handler: (any Handler)? = nil) async -> Int32 {
    prepareProcess(log)
    var server = DataServer(log, handler)
    do {
      try server.listen(Descriptor(owning: listener))
    } catch {
      log.error("\(error)")
      return 1
    }
    // It waits for the manager to take what it is told, and for the kernel to let things go.
    return await withTaskExecutorPreference(Blocking.executor) { await server.serve() }
  }

  private init(_ log: Logger, _ handler: (any Handler)?) {
    self.log = log
    self.handler = handler
    let identity = ProcessIdentity(pid: getpid())
    hello.pid = identity?.pid
    hello.startTime = identity?.startTime
    (events, post) = AsyncStream.makeStream()
  }

  /// A process that a disk depends on: not to be stopped by the way, not the first to go when memory is
  /// short, and not to wait for its own disk to get some.
  private static func prepareProcess(_ log: Logger) {
    for number in [SIGTERM, SIGINT, SIGHUP, SIGPIPE] { signal(number, SIG_IGN) }
    if clinux_become_io_flusher() != 0 {
      log.debug("the kernel does not let this process mark itself as an I/O flusher (errno \(errno))")
    }
    do {
      try LinuxProcess.goLastWhenMemoryIsShort()
    } catch {
      log.debug("\(error)")
    }
    do throws(BlockError) {
      try LinuxProcess.raiseFileSizeLimit()
    } catch {
      log.warning("writes behind it fail: \(error)")
    }
    LinuxProcess.raiseOpenFileLimit()
  }

  private mutating func listen(_ listener: consuming Descriptor) throws(BlockError) {
    let raw = listener.release()
    let post = self.post
    let log = self.log
    let socket = try ControlSocket(owning: Descriptor(owning: raw))
    record = FlushRecord(beside: socket.path)
    try WorkerThread.start(name: "control") {
      var isShort = false
      while true {
        do throws(BlockError) {
          let peer = Peer(try socket.accept { message in log.notice("\(message)") })
          try WorkerThread.start(name: "control peer") {
            post.yield(.connected(peer))
            Self.read(peer, post, log)
          }
          isShort = false
        } catch {
          if !isShort { log.error("no manager can connect until this is over: \(error)") }
          isShort = true
          // A shortage passes, and the device is to be reached then.
          usleep(UInt32(Self.pauseInShortage / .microseconds(1)))
        }
      }
    }
  }

  private static func read(_ peer: Peer, _ post: AsyncStream<Event>.Continuation, _ log: Logger) {
    do throws(BlockError) {
      while case .message(let bytes, let descriptors) = try peer.socket.receive() {
        // No message of a manager's has any yet.
        for descriptor in descriptors { close(descriptor) }
        post.yield(.message(Incoming(bytes), from: peer))
      }
    } catch {
      log.error("\(error)")
    }
    post.yield(.disconnected(peer))
  }

  private mutating func serve() async -> Int32 {
    let timer = awaitOrder()
    defer { timer.cancel() }
    for await event in events {
      switch event {
      case .connected(let peer): welcome(peer)
      case .message(let incoming, from: let sender):
        if let status = handle(incoming, from: sender) { return status }
        if order != nil { timer.cancel() }
      case .disconnected(let gone):
        guard gone === peer else { continue }
        peer = nil
        if !isCommitted {
          log.notice("the manager went away before the device was committed; giving it up")
          abortConnection()
          return 1
        }
      case .exported(let number, let told):
        connection = number
        // Killed before the device is there, we could not end unless the manager aborts it.
        var status = ServerStatus(exportName: order?.exportName ?? "")
        status.connection = number
        if let peer, peer.version.load(ordering: .relaxed) > 1 { tell(.status(status)) }
        told.resume()
      case .made(.success(let made)):
        device = made
        watch(made)
        tell(.attached(made.status), withDevice: true)
      case .made(.failure(let error)):
        tell(.failed(ErrorMessage(error)))
        return 1
      case .changed(let error, let request, for: let asker):
        if asker === peer { tell(.changed(error.map(ErrorMessage.init)), request: request) }
      case .statusChanged:
        // Before the device is made known, its status says it.
        if let device { tell(.status(device.status)) }
      case .deviceOwed(let debtor):
        if debtor === peer, let device { tell(.status(device.status), withDevice: true) }
      case .deviceEnded(let end):
        guard end == .gone || (end == .stopped && isHandingOver) else {
          // Another one is started for a device that is there still.
          return 1
        }
        await device?.close()
        tell(end == .gone ? .detached : .handedOver, request: endRequest)
        return 0
      case .nobodyCame:
        guard order == nil else { continue }
        log.notice("no manager has given an order; ending")
        return 1
      }
    }
    return 0
  }

  /// Says so when the time for the first order is over, or whoever has started us has died before he gave one: he may
  /// not have written down who we are.
  private func awaitOrder() -> Task<Void, any Error> {
    let post = self.post
    return Task {
      let clock = LinuxClock()
      let end = clock.now + Self.orderDeadline
      let parent = getppid()
      while clock.now < end, getppid() == parent { try await clock.sleep(for: .milliseconds(200)) }
      post.yield(.nobodyCame)
    }
  }

  /// A new manager takes the place of the one before.
  private mutating func welcome(_ newcomer: Peer) {
    peer?.socket.shutDown()
    peer = newcomer
    var status = device?.status ?? ServerStatus(exportName: order?.exportName ?? "")
    hello.isCommitted = isCommitted
    status.hello = hello
    tell(.status(status), withDevice: device != nil)
  }

  /// Does what a manager says, or says that it is not understood; an exit status ends the server.
  private mutating func handle(_ incoming: Incoming<ManagerMessage>, from sender: Peer) -> Int32? {
    // Somebody whose place was taken has nothing to say any more.
    guard sender === peer else { return nil }
    switch incoming {
    case .message(let message, let request): return handle(message, request, from: sender)
    case .notUnderstood(let kind, let request, let reason):
      log.warning("a message \"\(kind)\" of the manager is not understood, and ignored: \(reason)")
      let refusal = BlockError(
        .unsupported, step: kind.isEmpty ? "understand" : kind, object: order?.id.text ?? "a data server",
        cause: "its data server is of another release, which does not understand that: \(reason)",
        remedy: "Detach it and attach it anew when nobody uses it.")
      if kind == "attach", order == nil {
        tell(.failed(ErrorMessage(refusal)))
        return 1
      }
      if let request, sender.version.load(ordering: .relaxed) > 1 {
        tell(.refused(ErrorMessage(refusal)), request: request)
      }
      return nil
    }
  }

  private mutating func handle(_ message: ManagerMessage, _ request: UInt64?, from sender: Peer) -> Int32? {
    switch message {
    case .hello(let hello): sender.version.store(hello.version, ordering: .relaxed)
    case .attach(let order):
      guard self.order == nil else { return nil }
      self.order = order
      hello.id = order.id.text
      hello.spec = order.spec
      hello.createdAt = Double(LinuxClock().sinceEpoch.components.seconds)
      if order.start == .fresh { goFirst() }
      make(order)
    case .commit:
      isCommitted = true
      goLast()
    case .report: tell(.counters(device?.counters ?? RequestCounters.Snapshot()), request: request)
    case .detach:
      guard let device else { return 0 }
      endRequest = request
      device.release()
      tell(.released, request: request)
    case .change(let change): apply(change, request, for: sender)
    case .handOver: handOver(request)
    }
    return nil
  }

  /// Until its device is promised to somebody, opening an image may cost this process, and no other.
  private mutating func goFirst() {
    do throws(BlockError) {
      memoryRank = try LinuxProcess.goFirstWhenMemoryIsShort()
    } catch {
      log.debug("\(error)")
    }
  }

  private mutating func goLast() {
    guard let before = memoryRank else { return }
    memoryRank = nil
    do throws(BlockError) {
      try LinuxProcess.goLastWhenMemoryIsShort(orAs: before)
    } catch {
      log.warning("\(error)")
    }
  }

  private func make(_ order: ServerOrder) {
    let post = self.post
    let log = self.log
    let handler = self.handler
    let record = self.record
    Task(executorPreference: Blocking.executor) {
      do throws(BlockError) {
        let made = try await makeServedDevice(
          order, handler, record, log: log,
          onConnection: { number in await withCheckedContinuation { post.yield(.exported(number, $0)) } },
          onStatusChange: { post.yield(.statusChanged) })
        post.yield(.made(.success(made)))
      } catch {
        post.yield(.made(.failure(error)))
      }
    }
  }

  /// Fails what the kernel waits for: a thread of ours that does would keep this process from ending.
  private func abortConnection() {
    guard let connection else { return }
    do throws(BlockError) {
      try FUSEControl.abort(connection)
    } catch {
      log.error("\(error)")
    }
  }

  private func apply(_ change: DeviceChange, _ request: UInt64?, for asker: Peer) {
    let post = self.post
    let device = self.device
    Task(executorPreference: Blocking.executor) {
      do throws(BlockError) {
        guard let device else {
          throw BlockError(.unavailable, step: "change", object: "the device", cause: "it is not there yet")
        }
        try await device.change(change)
        post.yield(.changed(nil, request: request, for: asker))
      } catch {
        post.yield(.changed(error, request: request, for: asker))
      }
    }
  }

  private mutating func handOver(_ request: UInt64?) {
    do throws(BlockError) {
      endRequest = request
      try device?.stop()
      isHandingOver = true
    } catch {
      log.error("\(error)")
    }
  }

  private func watch(_ device: any ServedDevice) {
    let post = self.post
    // Where no thread is to be had now, it waits for one: the end has to be noticed.
    Blocking.start("device end") { post.yield(.deviceEnded(device.waitUntilEnd())) }
  }

  /// Tells the manager, if there is one; what it misses it learns from the status when it is back.
  ///
  /// - Parameter withDevice: Whether the device's descriptor goes along; if there is none to be had now, it follows.
  private func tell(_ message: ServerMessage, request: UInt64? = nil, withDevice: Bool = false) {
    guard let peer else { return }
    do throws(BlockError) {
      if withDevice, try sendWithDevice(message, request, to: peer) { return }
      try peer.socket.send(message, request: request)
    } catch  where error.kind == .disconnected {
      // It has what it wanted, or it is gone; the end of its connection is told of by itself.
      log.debug("the manager did not wait for a message: \(error)")
    } catch {
      log.notice("the manager did not get a message: \(error)")
    }
  }

  /// Sends a message with the device's descriptor.
  ///
  /// - Returns: Whether it is sent; if not, it is to be sent without, and the descriptor follows with a status.
  private func sendWithDevice(
    _ message: ServerMessage, _ request: UInt64?, to peer: Peer
  ) throws(BlockError) -> Bool {
    do throws(BlockError) {
      guard let descriptor = try device?.descriptor() else { return false }
      try peer.socket.send(message, request: request, descriptors: [descriptor.raw])
      return true
    } catch  where error.kind == .disconnected || error.kind == .timedOut {
      throw error
    } catch {
      log.notice("the manager gets the device's descriptor later: \(error)")
    }
    let post = self.post
    Task(executorPreference: Blocking.executor) {
      try await LinuxClock().sleep(for: Self.pauseInShortage)
      post.yield(.deviceOwed(peer))
    }
    return false
  }
}
