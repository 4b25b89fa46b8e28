import BlockCore
import CLinux
import CNetlink
import Glibc
import LinuxIO
import Synchronization
import SystemPackage

/// The kernel's events about backstores, and our answers.
///
/// While a process listens and has said that it answers, whoever enables, changes or removes a backstore waits in
/// the kernel for the answer, out of reach of any signal. So every event must be answered, and never by the one who
/// caused it.
public final class TCMUEvents: Sendable {
  /// The events, in order; for one consumer.
  ///
  /// They end with ``stop()``, or when the kernel cannot be heard any more.
  public let stream: AsyncStream<TCMUEvent>
  private let post: AsyncStream<TCMUEvent>.Continuation
  /// For answers, so that whoever sends one does not disturb the thread that receives.
  private let sender: Mutex<NetlinkSocket>
  private let receiver: NetlinkSocket
  private let bell: Descriptor
  /// What is promised to be served.
  private let subtypes: Set<String>
  /// The number of the group that the events go to.
  let group: Int32
  /// The inode number of the socket that they come to.
  let inode: UInt64

  /// Begins to listen, and tells the kernel that events will be answered.
  ///
  /// That the kernel waits for answers stays so when the process ends: whoever ends for good calls ``endAnswers()``;
  /// the one who follows on a process that has died blocks and resets (``NetlinkBlocking``).
  ///
  /// - Parameters:
  ///   - subtypes: Backstores of these are promised to be served, at once, when others might refuse them: see
  ///     ``AnswerExemption``.
  ///   - onReport: Called, on any thread, with what a log should hold.
  /// - Returns: The events; a thread of its own takes them from the kernel at once, however many come.
  /// - Throws: `unavailable` without the kernel's module, others by errno.
  public static func start(
    promising subtypes: Set<String> = [], onReport: @escaping @Sendable (String) -> Void
  ) throws(BlockError) -> TCMUEvents {
    let events = try TCMUEvents(subtypes)
    try events.declareAnswers()
    try WorkerThread.start(name: "tcmu-events") {
      do throws(BlockError) {
        if !subtypes.isEmpty { try ThreadPriority.raise() }
      } catch {
        onReport("others may answer before us: \(error)")
      }
      events.receive(onReport)
    }
    return events
  }

  private init(_ subtypes: Set<String>) throws(BlockError) {
    self.subtypes = subtypes
    let receiver = try NetlinkSocket()
    let group = try receiver.group()
    try receiver.listen(to: group)
    let sender = try NetlinkSocket()
    let bell = eventfd(0, clinux_EVENTFD_FLAGS)
    guard bell >= 0 else {
      throw BlockError(errno: Errno(rawValue: errno), step: "make", object: "an event descriptor")
    }
    inode = try receiver.inode
    self.group = group
    self.receiver = receiver
    self.sender = Mutex(sender)
    self.bell = Descriptor(owning: bell)
    (stream, post) = AsyncStream.makeStream()
  }

  /// Says that events are answered from now on.
  private func declareAnswers() throws(BlockError) {
    do throws(BlockError) {
      try send(.setFeatures) { nla_put_u8($0, TCMUEvent.Attribute.answersEvents.rawValue, 1) }
    } catch  where error.kind == .unsupported {
      // An old kernel waits for nobody.
      return
    }
  }

  /// Says that nobody answers any more, unless another process listens: for whoever ends and leaves nobody behind.
  ///
  /// Whoever waits for an answer now gets EINTR.
  ///
  /// - Throws: `unavailable` without the kernel's module, others by errno or libnl's code.
  public static func endAnswers() throws(BlockError) {
    guard let others = try otherListeners(), others.isEmpty else { return }
    let socket = try NetlinkSocket()
    try NetlinkBlocking.set(true)
    do throws(BlockError) {
      try socket.send(.setFeatures) { nla_put_u8($0, TCMUEvent.Attribute.answersEvents.rawValue, 0) }
      try NetlinkBlocking.reset()
    } catch {
      try NetlinkBlocking.set(false)
      throw error
    }
    try NetlinkBlocking.set(false)
  }

  /// Answers an event.
  ///
  /// Waits, on the calling thread, only for the kernel to take the answer.
  ///
  /// - Parameters:
  ///   - event: The event; one answer each.
  ///   - status: What whoever waits is to get; `nil` for success.
  /// - Throws: `notFound` if nobody waits for it any more, others by libnl's code.
  public func answer(_ event: TCMUEvent, _ status: Errno? = nil) throws(BlockError) {
    try send(event.answer) { message in
      let code = nla_put_u32(message, TCMUEvent.Attribute.device.rawValue, event.device)
      return code < 0
        ? code : nla_put_s32(message, TCMUEvent.Attribute.status.rawValue, -(status?.rawValue ?? 0))
    }
  }

  private func send(
    _ command: TCMUEvent.Command, _ fill: (OpaquePointer) -> Int32
  ) throws(BlockError) {
    try sender.withLock { sender throws(BlockError) in try sender.send(command, fill) }
  }

  /// Ends the listening; events that come later are not heard, and not answered.
  public func stop() { eventfd_write(bell.raw, 1) }

  private func receive(_ onReport: @Sendable (String) -> Void) {
    defer { post.finish() }
    var waits = [
      pollfd(fd: receiver.raw, events: Int16(POLLIN), revents: 0),
      pollfd(fd: bell.raw, events: Int16(POLLIN), revents: 0),
    ]
    while true {
      let count = poll(&waits, nfds_t(waits.count), -1)
      if count < 0 && errno == EINTR { continue }
      if count < 0 || waits[1].revents != 0 { return }
      do throws(BlockError) {
        try receiver.receive { event in
          guard event.kind != .reconfiguredOtherwise else {
            return answerUnknown(event, onReport)
          }
          post.yield(promised(event, onReport))
        }
      } catch {
        return onReport("events about backstores are not heard any more: \(error)")
      }
    }
  }

  /// Answers at once that a new backstore will be served, if it is one of ours and others would refuse it.
  ///
  /// One that is exempted is answered, too: if that came after the kernel had begun to wait, it keeps a note of the
  /// backstore, which only an answer takes away, beyond the backstore's end.
  private func promised(_ event: TCMUEvent, _ onReport: @Sendable (String) -> Void) -> TCMUEvent {
    guard case .added = event.kind, let entry = event.entry, subtypes.contains(entry.subtype),
      hasOtherListeners
    else { return event }
    var event = event
    event.isAnswered = true
    do throws(BlockError) {
      // First, so that what comes next of it is waited for by nobody.
      if entry.backstore.waitsForAnswers { try entry.backstore.exempt() }
    } catch {
      onReport("\(entry.backstore): others may refuse it: \(error)")
    }
    do throws(BlockError) {
      try answer(event)
    } catch {
      // Not found: nobody waits, since it was exempted in time, or others have answered.
      if error.kind != .notFound { onReport("\(entry.backstore): others may have refused it: \(error)") }
    }
    return event
  }

  /// Whoever waits for what nobody here understands is not to wait.
  private func answerUnknown(_ event: TCMUEvent, _ onReport: @Sendable (String) -> Void) {
    do throws(BlockError) {
      try answer(event, .notSupported)
    } catch {
      onReport(error.description)
    }
  }
}
