import Attachments
import BlockCore
import LinuxIO
import Synchronization

/// The course of an attach: what was done when, for the one who asked for it, whether it succeeds or not.
///
/// It belongs to a task and to those that this one starts; what nobody asked for records nothing.
public final class AttachCourse: Sendable {
  @TaskLocal static var current: AttachCourse?

  private let recorded = Mutex<[AttachStep]>([])

  /// Makes one in which nothing has happened yet.
  public init() {}

  /// What has happened so far, in order.
  public var steps: [AttachStep] { recorded.withLock { $0 } }

  /// Runs a body whose steps are recorded here.
  ///
  /// - Throws: What the body throws.
  public func recording<Value: Sendable>(
    _ body: () async throws(BlockError) -> Value
  ) async throws(BlockError) -> Value {
    let outcome = await Self.$current.withValue(self) { () async -> Result<Value, BlockError> in
      do throws(BlockError) {
        return .success(try await body())
      } catch {
        return .failure(error)
      }
    }
    return try outcome.get()
  }

  /// Notes a step, if somebody wants to know.
  static func note(_ text: @autoclosure () -> String) {
    guard let current else { return }
    let now = LinuxClock().sinceEpoch / .seconds(1)
    let step = AttachStep(at: now, text: text())
    current.recorded.withLock { $0.append(step) }
  }
}
