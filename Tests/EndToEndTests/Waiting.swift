import Foundation

/// Waiting for what nothing tells of.
enum Waiting {
  /// Whether something comes true within some seconds.
  static func until(seconds: Double = 20, _ isTrue: () -> Bool) -> Bool {
    let end = Date(timeIntervalSinceNow: seconds)
    while !isTrue() {
      guard Date() < end else { return false }
      usleep(10_000)
    }
    return true
  }
}
