import BlockCore
import CLinux
import Glibc
import SystemPackage

/// The kernel's control of FUSE connections, from outside.
public enum FUSEControl {
  /// Ends a connection: every request that waits in it fails, and so does every later one.
  ///
  /// It goes through a mount of `fusectl` of our own, so that it does not depend on the host's.
  ///
  /// - Parameter connection: The connection's number: the minor number of its file system's device.
  /// - Throws: By errno; a connection that is not there any more is no error.
  public static func abort(_ connection: UInt32) throws(BlockError) {
    let control = try DetachedMount("fusectl", source: "ashlar", options: [])
    let file: Descriptor
    do {
      file = try control.open("\(connection)/abort", O_WRONLY)
    } catch  where error.errno == .noSuchFileOrDirectory {
      return
    }
    guard write(file.raw, "1", 1) == 1 else {
      throw .lastErrno(step: "abort", object: "FUSE connection \(connection)")
    }
  }
}
