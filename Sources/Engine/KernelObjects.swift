import Attachments
import BlockCore
import LinuxIO

/// What stands in the kernel for an attachment besides its data server: made and removed by the manager, one kind
/// for each transport.
///
/// All of it follows from the attachment's row in the journal, so that the next manager finds it again. Every
/// function may be called again after it failed or after the manager has died in it.
protocol KernelObjects: Sendable {
  /// Whether we have a data server for it.
  var hasServer: Bool { get }
  /// Whether it stays when its data server dies, so that a new one can take over with what is outstanding.
  var outlivesServer: Bool { get }
  /// Whether anything of it is in the kernel; what cannot be seen is.
  var isPresent: Bool { get }
  /// Whether the kernel may wait for answers that only a data server gives, also while it is taken apart.
  var awaitsAnswers: Bool { get }

  /// Makes what a data server needs to find.
  ///
  /// - Throws: What kept it from being made; what was made is left for ``remove()``.
  func prepare() async throws(BlockError)

  /// Makes the device of what the data server serves.
  ///
  /// - Parameter status: What the data server says that it serves.
  /// - Returns: The device's path; `nil` if the attachment is to have none.
  /// - Throws: What kept it from being made; what was made is left for ``remove()``.
  func makeDevice(_ status: ServerStatus) async throws(BlockError) -> String?

  /// Whether a path is this attachment's device still: its number may have gone to another disk. What cannot be seen is.
  func owns(_ device: String) -> Bool

  /// Removes what does not go by itself with the data server.
  ///
  /// - Throws: By errno, with what could not be removed.
  func remove() async throws(BlockError)

  /// Gives an error to everybody who waits for a data server that hangs.
  func abort() throws(BlockError)
}

/// A FUSE connection and the loop device on its file: the data server makes both, and they go with it.
struct LoopObjects: KernelObjects {
  /// The name of the exported file.
  let exportName: String
  /// The number of the FUSE connection, once it is known.
  let connection: UInt32?

  var hasServer: Bool { true }

  var outlivesServer: Bool { false }

  var awaitsAnswers: Bool { false }

  var isPresent: Bool { FailedReads.mayBe { LoopDevice.number(backedBy: exportName) != nil } }

  func prepare() async throws(BlockError) {}

  func makeDevice(_ status: ServerStatus) async throws(BlockError) -> String? { status.device }

  func owns(_ device: String) -> Bool {
    FailedReads.mayBe { LoopDevice.isBacked(device, by: exportName) }
  }

  func remove() async throws(BlockError) {}

  func abort() throws(BlockError) {
    guard let connection else { return }
    try FUSEControl.abort(connection)
  }
}
