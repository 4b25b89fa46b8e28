import BlockCore
import LinuxIO
import SCSI

extension TCMUExport {
  /// Serves a backstore whose server has died, with whatever that one has left in the ring.
  ///
  /// Commands that were in the ring are given back to their initiators, which send them again; new ones are turned
  /// away until the ring is served. The dead server may have done a command that is sent again.
  ///
  /// Opening the device comes first, since that shows that nobody serves it.
  ///
  /// The parameters are those of ``start(_:_:executor:counters:onReport:)``, with the device by its entry.
  ///
  /// - Throws: `busy` if the server lives, others as `start`. Commands are let in again in any case.
  public static func takeOver(
    _ unit: LogicalUnit, _ entry: UIODevice.Entry, executor: BlockingExecutor,
    counters: RequestCounters = RequestCounters(), onReport: @escaping @Sendable (String) -> Void
  ) throws(BlockError) -> TCMUExport {
    let device = try UIODevice(opening: entry)
    let backstore = entry.backstore
    let canBlock = try backstore.setBlocked(true)
    let export: TCMUExport
    do throws(BlockError) {
      if canBlock { try backstore.resetRing() }
      export = try start(unit, device, executor: executor, counters: counters, onReport: onReport)
    } catch {
      do throws(BlockError) {
        if canBlock { try backstore.setBlocked(false) }
      } catch let further {
        throw error.aggravated(by: further, while: "letting commands in again")
      }
      throw error
    }
    do throws(BlockError) {
      if canBlock { try backstore.setBlocked(false) }
    } catch {
      export.stop()
      _ = export.waitUntilEnd()
      throw error
    }
    return export
  }
}

/// A disk of which only size and block size are left: every request fails.
///
/// A backstore whose real volume cannot be had any more is served with it while it is taken apart, so that nobody
/// waits for an answer.
public final class UnservedVolume: Volume {
  public let geometry: VolumeGeometry
  private let reason: BlockError

  /// Makes a disk without content.
  ///
  /// - Parameters:
  ///   - geometry: The size that the kernel knows it by.
  ///   - reason: What every request fails with.
  public init(_ geometry: VolumeGeometry, failingWith reason: BlockError) {
    self.geometry = geometry
    self.reason = reason
  }

  public func serveNow(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) throws(BlockError) -> ServeOutcome { throw reason }

  public func serve(
    _ request: BlockRequest, data: inout MutableRawSpan, using workspace: Workspace
  ) async throws(BlockError) { throw reason }
}
