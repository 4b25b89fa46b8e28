import BlockCore
import Glibc
import SystemPackage

/// What a program is given by the system as bytes and sees as text.
///
/// Swift puts U+FFFD in the place of bytes that are not UTF-8: a path would be another file's.
public enum ProgramText {
  /// Refuses arguments that are not UTF-8; to be called first by every program.
  ///
  /// The program's own name is not looked at.
  ///
  /// - Throws: `invalidArgument`, with the first of them.
  public static func checkArguments() throws(BlockError) {
    for number in 1..<max(Int(CommandLine.argc), 1) {
      guard let argument = CommandLine.unsafeArgv[number] else { continue }
      if String(validatingCString: argument) == nil { throw notUTF8(String(cString: argument)) }
    }
    for name in ["ASHLAR_ROOT", "ASHLAR_RUN"] {
      guard let value = getenv(name) else { continue }
      if String(validatingCString: value) == nil { throw notUTF8("\(name)=\(String(cString: value))") }
    }
  }

  /// The working directory, which relative paths count from.
  ///
  /// - Throws: `invalidArgument` if its path is not UTF-8, others by errno.
  public static func workingDirectory() throws(BlockError) -> String {
    guard let path = getcwd(nil, 0) else { throw .lastErrno(step: "find", object: "the working directory") }
    defer { free(path) }
    return try text(path)
  }

  /// A path as a user writes it, made absolute: the working directory, which may be gone, is asked for only if need be.
  ///
  /// - Throws: As ``workingDirectory()``.
  public static func absolute(_ path: String) throws(BlockError) -> String {
    path.hasPrefix("/") ? path : FilePath(try workingDirectory()).pushing(FilePath(path)).string
  }

  /// Has the process keep its own rights to what it makes, whatever its umask takes away; to be called first.
  ///
  /// Others' are the umask's business.
  public static func keepRightsOfOwner() {
    umask(umask(0o077) & 0o077)
  }

  /// A path that the system gives.
  ///
  /// - Throws: `invalidArgument` if it is not UTF-8.
  static func text(_ path: UnsafePointer<CChar>) throws(BlockError) -> String {
    guard let text = String(validatingCString: path) else { throw notUTF8(String(cString: path)) }
    return text
  }

  /// The error of a path that is not UTF-8.
  ///
  /// - Parameter shown: The path with its bad bytes replaced.
  public static func notUTF8(_ shown: String) -> BlockError {
    BlockError(
      .invalidArgument, step: "use", object: shown, cause: "the path is not UTF-8",
      remedy: "Give the file, or a link to it, a name in UTF-8, and go to a directory that has one.")
  }
}
