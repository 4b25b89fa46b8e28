import BlockCore
import CLinux
import Glibc
import SystemPackage

/// A thread of the kernel's, for work that waits in system calls and must not hold up Swift's own pool.
public struct WorkerThread: Sendable {
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

  /// Starts a thread.
  ///
  /// - Parameters:
  ///   - name: What `top -H` shows; 15 bytes of it.
  ///   - body: What it does.
  /// - Throws: `exhausted` if the kernel has no thread to give.
  public init(name: String, _ body: @escaping @Sendable () -> Void) throws(BlockError) {
    let start = Unmanaged.passRetained(Start(name: name, body: body))
    var handle = pthread_t()
    let code = pthread_create(
      &handle, nil,
      { argument in
        // pthread_create hands over the pointer it was given, which is the retained Start.
        guard let argument else { return nil }
        let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
        clinux_name_thread(String(start.name.prefix(15)))
        start.body()
        return nil
      }, start.toOpaque())
    guard code == 0 else {
      start.release()
      throw BlockError(errno: Errno(rawValue: code), step: "start the thread", object: name)
    }
    self.handle = handle
  }

  /// Waits until the thread has ended; to be called exactly once.
  public func join() {
    pthread_join(handle, nil)
  }

  /// Lets the thread end by itself, without anybody who waits for it; to be called at most once, in place of
  /// ``join()``.
  public func detach() {
    pthread_detach(handle)
  }
}
