import BlockCore
import Glibc
import Synchronization
import SystemPackage

/// The reads of sysfs and procfs that failed for another reason than that a thing is not there: at the limit of open
/// files, or without memory.
///
/// Most of those who read these files only show what they found. Whoever decides by it asks here whether what was not
/// found may only not have been seen.
public enum FailedReads {
  private final class Record: Sendable {
    let first = Mutex<BlockError?>(nil)
  }

  @TaskLocal private static var record: Record?

  /// Runs a look at such files.
  ///
  /// - Returns: What it has found, and the first read that failed in it; `nil` if all that could be there was seen.
  public static func during<Value>(_ look: () -> Value) -> (found: Value, failed: BlockError?) {
    let record = Record()
    let found = $record.withValue(record) { look() }
    return (found, record.first.withLock { $0 })
  }

  /// Whether something is so, or may be: what could not be seen is.
  public static func mayBe(_ isSo: () -> Bool) -> Bool {
    let (isSeen, failed) = during(isSo)
    return isSeen || failed != nil
  }

  /// Takes note of a read that failed, if somebody decides by it.
  static func note(_ error: BlockError) {
    guard let record, let errno = error.errno, !meansAbsence(errno) else { return }
    record.first.withLock { first in if first == nil { first = error } }
  }

  private static func meansAbsence(_ errno: Errno) -> Bool {
    switch errno {
    case .noSuchFileOrDirectory, .notDirectory, .noSuchProcess, .noSuchAddressOrDevice,
      .operationNotSupportedByDevice:
      true
    // The mounts of a process that has ended and not been waited for.
    case .invalidArgument: true
    // What is not shown to us: all is told as far as `/proc` shows it.
    case .permissionDenied, .notPermitted: true
    default: false
    }
  }
}
