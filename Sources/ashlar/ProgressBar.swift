import BlockCore
import Glibc
import Images
import LinuxIO

/// How far a long piece of work has come, on a terminal; nothing where nobody looks.
struct ProgressBar: Sendable {
  private let title: String
  private let isShown: Bool
  private static let width = 30

  init(_ title: String) {
    self.title = title
    isShown = isatty(STDERR_FILENO) == 1
  }

  /// Runs a body and shows its progress.
  func show<Value: Sendable>(
    _ body: (Progress) async throws(BlockError) -> Value
  ) async throws(BlockError) -> Value {
    let progress = Progress()
    guard isShown else { return try await body(progress) }
    let painter = Task {
      let clock = LinuxClock()
      let start = clock.now
      // Cancelled when the work is done.
      while (try? await clock.sleep(for: .milliseconds(100))) != nil { draw(progress, since: start, clock) }
    }
    defer {
      painter.cancel()
      fputs("\r\u{1B}[K", stderr())
    }
    return try await body(progress)
  }

  private func draw(_ progress: Progress, since start: Duration, _ clock: LinuxClock) {
    let (done, total) = progress.bytes
    guard total > 0 else { return }
    let filled = Int(Double(Self.width) * min(Double(done) / Double(total), 1))
    let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: Self.width - filled)
    let seconds = max(Double((clock.now - start).components.seconds) + 0.1, 0.1)
    let rate = Output.size(UInt64(Double(done) / seconds))
    fputs("\r\u{1B}[K\(title) [\(bar)] \(Output.size(done)) of \(Output.size(total)), \(rate)/s", stderr())
  }

  private func fputs(_ text: String, _ descriptor: Int32) {
    _ = write(descriptor, text, text.utf8.count)
  }

  private func stderr() -> Int32 { STDERR_FILENO }
}
