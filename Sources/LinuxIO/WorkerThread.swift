import BlockCore
import CLinux
import Glibc
import SystemPackage

/// A thread of the kernel's, for work that waits in system calls and must not hold up Swift's own pool.
///
/// This is its owner, who may wait for its end. A thread whose owner goes ends by itself: its stack is given back
/// either way.
public struct WorkerThread: ~Copyable, Sendable {
  private let handle: pthread_t

  /// Carries a body to the thread that runs it.
  private final class Start {
    let name: String
    let body: @Sendable () -> Void

    init(name: String, body: @escaping @Sendable () -> Void) {
      self.name = name
      self.body = body
    }
  }

  /// Bytes of a thread's stack.
  ///
  /// Pages that were never touched take no memory, but each stack takes addresses, and the usual 8 MiB are too many for
  /// hundreds of threads under a limit.
  static let stackByteCount = 1 << 20

  /// Starts a thread whose end somebody may wait for.
  ///
  /// - Parameters:
  ///   - name: What `top -H` shows; 15 bytes of it.
  ///   - body: What it does.
  /// - Throws: `exhausted` if the kernel has no thread to give.
  public init(name: String, _ body: @escaping @Sendable () -> Void) throws(BlockError) {
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setstacksize(&attributes, Self.stackByteCount)
    let start = Unmanaged.passRetained(Start(name: name, body: body))
    var handle = pthread_t()
    let code = pthread_create(
      &handle, &attributes,
      { argument in
        // pthread_create hands over the pointer it was given, which is the retained Start.
        guard let argument else { return nil }
        let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
        Self.nameCurrent(start.name)
        start.body()
        return nil
      }, start.toOpaque())
    guard code == 0 else {
      start.release()
      throw BlockError(errno: Errno(rawValue: code), step: "start the thread", object: name)
    }
    self.handle = handle
  }

  deinit { pthread_detach(handle) }

  /// Starts a thread that nobody waits for.
  ///
  /// The parameters are those of ``init(name:_:)``.
  ///
  /// - Throws: `exhausted` if the kernel has no thread to give.
  public static func start(name: String, _ body: @escaping @Sendable () -> Void) throws(BlockError) {
    _ = try WorkerThread(name: name, body)
  }

  /// Waits, on the calling thread, until the thread has ended.
  public consuming func join() {
    pthread_join(handle, nil)
    discard self
  }

  /// Gives the calling thread a name: 15 bytes of it show in `top -H`.
  static func nameCurrent(_ name: String) {
    clinux_name_thread(String(decoding: name.utf8.prefix(15), as: UTF8.self))
  }
}
